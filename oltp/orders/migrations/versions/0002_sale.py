"""The flash sale that an order was placed in.

Revision ID: orders_0002
"""

from alembic import op

revision = "orders_0002"
down_revision = "orders_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column, empty for all other orders, and an index over those of sales alone."""
    op.execute(
        """
        ALTER TABLE orders.orders ADD COLUMN sale jsonb;
        CREATE INDEX ix_orders_sale ON orders.orders ((sale ->> 'sale_id')) WHERE sale IS NOT NULL;
        """
    )

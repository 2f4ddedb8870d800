"""The address that an order was placed from.

Revision ID: orders_0003
"""

from alembic import op

revision = "orders_0003"
down_revision = "orders_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the column; empty where nobody noted it."""
    op.execute("ALTER TABLE orders.orders ADD COLUMN client_ip text NOT NULL DEFAULT ''")

"""Indexes of the order desk: orders by total and by date, each with what the other sorts by, and a product's by time.

Revision ID: orders_0004
"""

from alembic import op

revision = "orders_0004"
down_revision = "orders_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Builds the three anew; while that lasts the saga waits, and orders wait in the log."""
    op.execute(
        """
        CREATE INDEX ix_orders_status_total ON orders.orders (status, total_amount DESC, id DESC) INCLUDE (created_at);
        DROP INDEX orders.ix_orders_status_date;
        CREATE INDEX ix_orders_status_date ON orders.orders (status, created_at DESC, id DESC) INCLUDE (total_amount);
        DROP INDEX orders.ix_order_items_product;
        CREATE INDEX ix_order_items_product ON orders.order_items (product_id, order_id DESC);
        """
    )

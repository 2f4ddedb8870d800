"""What left the shelves for orders of the past, by the month.

Revision ID: inventory_0004
"""

from alembic import op

revision = "inventory_0004"
down_revision = "inventory_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Lets the ledger say in one line what a month's settled orders took: a year of them has no lines of its own."""
    op.execute(
        """
        ALTER TABLE inventory.stock_ledger
            DROP CONSTRAINT stock_ledger_kind_check,
            DROP CONSTRAINT ck_stock_ledger_sign;
        ALTER TABLE inventory.stock_ledger
            ADD CONSTRAINT ck_stock_ledger_kind
                CHECK (kind IN ('initial', 'restock', 'adjustment', 'shipped', 'settled')) NOT VALID,
            ADD CONSTRAINT ck_stock_ledger_sign CHECK (CASE kind
                WHEN 'initial' THEN delta >= 0
                WHEN 'restock' THEN delta > 0
                WHEN 'shipped' THEN delta < 0 AND order_id IS NOT NULL
                WHEN 'settled' THEN delta < 0 AND order_id IS NULL
                ELSE delta <> 0 END) NOT VALID;
        ALTER TABLE inventory.stock_ledger VALIDATE CONSTRAINT ck_stock_ledger_kind;
        ALTER TABLE inventory.stock_ledger VALIDATE CONSTRAINT ck_stock_ledger_sign;
        """
    )

"""Flash sales.

Revision ID: sales_0001
"""

from alembic import op

revision = "sales_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table. That no two sales of a product overlap is the database's business, so it holds under races.

    ``ends_at`` is where the sale really ends: an admin may bring it forward from ``planned_ends_at``. One that was
    ended before it began is an empty range, which overlaps nothing.
    """
    op.execute(
        """
        CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA sales;

        CREATE TABLE sales.sales (
            id uuid PRIMARY KEY,
            product_id uuid NOT NULL,
            price numeric(12, 2) NOT NULL CONSTRAINT ck_sales_price CHECK (price > 0),
            currency char(3) NOT NULL,
            units integer NOT NULL CONSTRAINT ck_sales_units CHECK (units > 0),
            units_per_customer integer NOT NULL CONSTRAINT ck_sales_per_customer CHECK (units_per_customer > 0),
            waiting_places integer NOT NULL CONSTRAINT ck_sales_waiting CHECK (waiting_places >= 0),
            starts_at timestamptz NOT NULL,
            ends_at timestamptz NOT NULL,
            planned_ends_at timestamptz NOT NULL,
            opened_by uuid NOT NULL,
            opened_at timestamptz NOT NULL,
            ended_by uuid,
            CONSTRAINT ck_sales_window CHECK (starts_at <= ends_at AND ends_at <= planned_ends_at
                AND starts_at < planned_ends_at),
            CONSTRAINT ex_sales_overlap EXCLUDE USING gist
                (product_id WITH =, tstzrange(starts_at, ends_at) WITH &&)
        );
        CREATE INDEX ix_sales_ends ON sales.sales (ends_at);
        CREATE INDEX ix_sales_newest ON sales.sales (opened_at DESC, id DESC);
        """
    )

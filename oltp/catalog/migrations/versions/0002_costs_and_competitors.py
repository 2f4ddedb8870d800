"""What products cost the shop, and what competitors ask for them.

Revision ID: catalog_0002
"""

from alembic import op

revision = "catalog_0002"
down_revision = "catalog_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. A cost holds from its moment until the product's next one."""
    op.execute(
        """
        CREATE TABLE catalog.product_costs (
            product_id uuid NOT NULL REFERENCES catalog.products (id),
            unit_cost numeric(12, 2) NOT NULL CONSTRAINT ck_product_costs_cost CHECK (unit_cost >= 0),
            currency char(3) NOT NULL,
            valid_from timestamptz NOT NULL,
            PRIMARY KEY (product_id, valid_from)
        );

        CREATE TABLE catalog.competitor_prices (
            product_id uuid NOT NULL REFERENCES catalog.products (id),
            competitor text NOT NULL,
            price numeric(12, 2) NOT NULL CONSTRAINT ck_competitor_prices_price CHECK (price > 0),
            currency char(3) NOT NULL,
            observed_at timestamptz NOT NULL,
            PRIMARY KEY (product_id, competitor, observed_at)
        );
        """
    )

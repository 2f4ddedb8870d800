"""Flash sales: how many of a sale's units are taken, by whom, and who waits for one.

Revision ID: inventory_0002
"""

from alembic import op

revision = "inventory_0002"
down_revision = "inventory_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. The checks have the last word: no unit above a sale's, none above a customer's share.

    ``sales`` and ``sale_customers`` are updated by every batch of a sale's orders: room on their pages keeps that
    short. A claim keeps its ``inventory.reserve`` as long as it waits: that is answered when its turn comes.
    """
    op.execute(
        """
        ALTER TABLE inventory.reservations ADD COLUMN sale_id uuid;
        ALTER TABLE inventory.reservations DROP CONSTRAINT reservations_status_check;
        ALTER TABLE inventory.reservations ADD CONSTRAINT reservations_status_check
            CHECK (status IN ('queued', 'held', 'refused', 'released', 'fulfilled')) NOT VALID;
        ALTER TABLE inventory.reservations VALIDATE CONSTRAINT reservations_status_check;

        CREATE TABLE inventory.sales (
            sale_id uuid PRIMARY KEY,
            product_id uuid NOT NULL,
            units integer NOT NULL CHECK (units > 0),
            units_per_customer integer NOT NULL CHECK (units_per_customer > 0),
            taken integer NOT NULL DEFAULT 0,
            paid integer NOT NULL DEFAULT 0,
            waiting integer NOT NULL DEFAULT 0 CONSTRAINT ck_sales_waiting CHECK (waiting >= 0),
            last_place bigint NOT NULL DEFAULT 0,
            ends_at timestamptz NOT NULL,
            closed_at timestamptz,
            CONSTRAINT ck_sales_taken CHECK (taken BETWEEN 0 AND units),
            CONSTRAINT ck_sales_paid CHECK (paid BETWEEN 0 AND taken)
        ) WITH (fillfactor = 50);
        CREATE INDEX ix_sales_open ON inventory.sales (ends_at) WHERE closed_at IS NULL;

        CREATE TABLE inventory.sale_customers (
            sale_id uuid NOT NULL REFERENCES inventory.sales (sale_id),
            customer_id uuid NOT NULL,
            units integer NOT NULL,
            most integer NOT NULL,
            PRIMARY KEY (sale_id, customer_id),
            CONSTRAINT ck_sale_customers_share CHECK (units BETWEEN 0 AND most)
        ) WITH (fillfactor = 80);

        CREATE TABLE inventory.sale_claims (
            order_id uuid PRIMARY KEY REFERENCES inventory.reservations (order_id),
            sale_id uuid NOT NULL REFERENCES inventory.sales (sale_id),
            customer_id uuid NOT NULL,
            units integer NOT NULL CHECK (units > 0),
            place bigint NOT NULL,
            command jsonb,
            CONSTRAINT uq_sale_claims_place UNIQUE (sale_id, place)
        );
        CREATE INDEX ix_sale_claims_waiting ON inventory.sale_claims (sale_id, place) WHERE command IS NOT NULL;
        """
    )

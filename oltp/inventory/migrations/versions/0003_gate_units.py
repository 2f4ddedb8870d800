"""The units that the Postgres gate claims.

Revision ID: inventory_0003
"""

from alembic import op

revision = "inventory_0003"
down_revision = "inventory_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables; they stay empty unless the gate is Postgres'.

    Units come and go all the time: dead ones have to be swept before claims have to step over many of them.
    """
    op.execute(
        """
        CREATE TABLE inventory.gate_products (product_id uuid PRIMARY KEY);

        CREATE TABLE inventory.gate_units (
            product_id uuid NOT NULL REFERENCES inventory.gate_products (product_id),
            unit bigint GENERATED ALWAYS AS IDENTITY,
            order_id uuid,
            PRIMARY KEY (product_id, unit)
        ) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
        CREATE INDEX ix_gate_units_free ON inventory.gate_units (product_id, unit) WHERE order_id IS NULL;
        CREATE INDEX ix_gate_units_order ON inventory.gate_units (order_id) WHERE order_id IS NOT NULL;
        """
    )

"""Warehouses, stock levels, reservations with their lines, and the stock ledger.

Revision ID: inventory_0001
"""

from alembic import op

revision = "inventory_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. The equations that hold between them are in ``oltp/inventory/repository.py``.

    ``inventory`` and ``reservations`` are updated in place all the time: room on their pages keeps those updates short.
    """
    op.execute(
        """
        CREATE TABLE inventory.warehouses (
            id uuid PRIMARY KEY,
            code text NOT NULL CONSTRAINT uq_warehouses_code UNIQUE,
            name text NOT NULL,
            country char(2) NOT NULL,
            latitude double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
            longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180),
            priority integer NOT NULL DEFAULT 0
        );

        CREATE TABLE inventory.inventory (
            product_id uuid NOT NULL,
            warehouse_id uuid NOT NULL REFERENCES inventory.warehouses (id),
            quantity integer NOT NULL,
            reserved_quantity integer NOT NULL DEFAULT 0,
            updated_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (product_id, warehouse_id),
            CONSTRAINT ck_inventory_reserved CHECK (reserved_quantity BETWEEN 0 AND quantity)
        ) WITH (fillfactor = 70);

        CREATE TABLE inventory.reservations (
            order_id uuid PRIMARY KEY,
            status text NOT NULL CHECK (status IN ('held', 'refused', 'released', 'fulfilled')),
            reason text NOT NULL DEFAULT '',
            refused_product_ids uuid[] NOT NULL DEFAULT '{}',
            expires_at timestamptz,
            confirmed_at timestamptz,
            asked_at timestamptz,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT ck_reservations_expires CHECK (status NOT IN ('held', 'fulfilled') OR expires_at IS NOT NULL)
        ) WITH (fillfactor = 80);
        CREATE INDEX ix_reservations_held ON inventory.reservations (order_id) WHERE status = 'held';
        CREATE INDEX ix_reservations_unpaid ON inventory.reservations (expires_at)
            WHERE status = 'held' AND confirmed_at IS NULL;

        CREATE TABLE inventory.reservation_lines (
            order_id uuid NOT NULL REFERENCES inventory.reservations (order_id),
            product_id uuid NOT NULL,
            warehouse_id uuid NOT NULL,
            quantity integer NOT NULL CHECK (quantity > 0),
            PRIMARY KEY (order_id, product_id, warehouse_id)
        );

        CREATE TABLE inventory.stock_ledger (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            product_id uuid NOT NULL,
            warehouse_id uuid NOT NULL,
            kind text NOT NULL CHECK (kind IN ('initial', 'restock', 'adjustment', 'shipped')),
            delta integer NOT NULL,
            balance integer NOT NULL CHECK (balance >= 0),
            reason text NOT NULL DEFAULT '',
            actor_id uuid,
            order_id uuid,
            idempotency_key text,
            occurred_at timestamptz NOT NULL,
            CONSTRAINT ck_stock_ledger_sign CHECK (CASE kind
                WHEN 'initial' THEN delta >= 0
                WHEN 'restock' THEN delta > 0
                WHEN 'shipped' THEN delta < 0 AND order_id IS NOT NULL
                ELSE delta <> 0 END)
        );
        CREATE INDEX ix_stock_ledger_product ON inventory.stock_ledger (product_id, id);
        CREATE UNIQUE INDEX uq_stock_ledger_idempotency ON inventory.stock_ledger (actor_id, idempotency_key)
            WHERE idempotency_key IS NOT NULL;
        """
    )

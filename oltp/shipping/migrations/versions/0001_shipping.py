"""Fulfilments, their shipments, and the places of the warehouses.

Revision ID: shipping_0001
"""

from alembic import op

revision = "shipping_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. A scan on a parcel's way changes no indexed column of it: it is a HOT update."""
    op.execute(
        """
        CREATE TABLE shipping.warehouse_locations (
            warehouse_id uuid PRIMARY KEY,
            name text NOT NULL,
            latitude double precision NOT NULL CHECK (latitude BETWEEN -90 AND 90),
            longitude double precision NOT NULL CHECK (longitude BETWEEN -180 AND 180)
        );

        CREATE TABLE shipping.fulfilments (
            order_id uuid PRIMARY KEY,
            user_id uuid,
            state text NOT NULL CHECK (state IN ('unbooked', 'booked', 'dispatched', 'delivered', 'cancelled')),
            attempt integer NOT NULL DEFAULT 0,
            destination jsonb,
            replies jsonb NOT NULL DEFAULT '[]',
            correlation_id text NOT NULL DEFAULT '',
            traceparent text NOT NULL DEFAULT '',
            next_event_at timestamptz,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT ck_fulfilments_customer CHECK (user_id IS NOT NULL OR state = 'cancelled'),
            CONSTRAINT ck_fulfilments_at_rest CHECK (next_event_at IS NULL OR state IN ('booked', 'dispatched'))
        );
        CREATE INDEX ix_fulfilments_next_event ON shipping.fulfilments (next_event_at)
            WHERE next_event_at IS NOT NULL;

        CREATE TABLE shipping.shipments (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES shipping.fulfilments (order_id),
            user_id uuid NOT NULL,
            warehouse_id uuid NOT NULL,
            carrier text NOT NULL,
            service_level text NOT NULL,
            tracking_number text NOT NULL,
            status text NOT NULL CHECK (status IN ('booked', 'in_transit', 'delayed', 'delivered', 'cancelled')),
            items jsonb NOT NULL,
            origin_latitude double precision,
            origin_longitude double precision,
            destination_latitude double precision,
            destination_longitude double precision,
            legs smallint NOT NULL CHECK (legs > 0),
            progress smallint NOT NULL DEFAULT 0 CHECK (progress >= 0),
            transit_seconds double precision NOT NULL CHECK (transit_seconds >= 0),
            estimated_delivery timestamptz NOT NULL,
            delay_seconds double precision NOT NULL DEFAULT 0 CHECK (delay_seconds >= 0),
            next_event_at timestamptz,
            dispatched_at timestamptz,
            delivered_at timestamptz,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT ck_shipments_delivered CHECK ((status = 'delivered') = (delivered_at IS NOT NULL)),
            CONSTRAINT ck_shipments_at_rest CHECK (
                (status IN ('delivered', 'cancelled')) = (next_event_at IS NULL)
            )
        ) WITH (fillfactor = 80);
        CREATE INDEX ix_shipments_order ON shipping.shipments (order_id);
        CREATE INDEX ix_shipments_status ON shipping.shipments (status, id);
        CREATE INDEX ix_shipments_carrier ON shipping.shipments (carrier, id);
        CREATE INDEX ix_shipments_late ON shipping.shipments (id) WHERE delay_seconds > 0;
        """
    )

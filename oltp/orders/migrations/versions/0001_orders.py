"""Orders, their items, transitions and parked messages.

Revision ID: orders_0001
"""

from alembic import op

revision = "orders_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the order tables with the specification's columns and composite indexes."""
    op.execute(
        """
        CREATE TABLE orders.orders (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'awaiting_payment', 'confirmed', 'processing',
                'shipped', 'delivered', 'cancelling', 'cancelled')),
            total_amount numeric(12, 2) NOT NULL CHECK (total_amount >= 0),
            currency char(3) NOT NULL,
            cancel_reason text,
            payment_method text NOT NULL,
            payment_token text NOT NULL DEFAULT '',
            shipping_address jsonb NOT NULL,
            allocations jsonb NOT NULL DEFAULT '[]',
            idempotency_key text NOT NULL,
            request_hash text NOT NULL DEFAULT '',
            queue_position integer NOT NULL DEFAULT 0,
            sequence integer NOT NULL,
            outstanding jsonb NOT NULL DEFAULT '[]',
            correlation_id text NOT NULL DEFAULT '',
            due_at timestamptz,
            deadline timestamptz,
            log_partition integer,
            log_offset bigint,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT uq_orders_idempotency UNIQUE (user_id, idempotency_key),
            CONSTRAINT ck_orders_cancel_reason
                CHECK ((status IN ('cancelling', 'cancelled')) = (cancel_reason IS NOT NULL))
        );
        CREATE INDEX ix_orders_user_date ON orders.orders (user_id, created_at DESC, id DESC);
        CREATE INDEX ix_orders_status_date ON orders.orders (status, created_at DESC, id DESC);
        CREATE INDEX ix_orders_due ON orders.orders (due_at) WHERE due_at IS NOT NULL;

        CREATE TABLE orders.order_items (
            id uuid PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES orders.orders (id),
            product_id uuid NOT NULL,
            sku text NOT NULL,
            product_name text NOT NULL,
            category text NOT NULL,
            quantity integer NOT NULL CHECK (quantity > 0),
            price_at_purchase numeric(12, 2) NOT NULL CHECK (price_at_purchase >= 0)
        );
        CREATE INDEX ix_order_items_order ON orders.order_items (order_id);
        CREATE INDEX ix_order_items_product ON orders.order_items (product_id);

        CREATE TABLE orders.order_transitions (
            order_id uuid NOT NULL REFERENCES orders.orders (id),
            sequence integer NOT NULL,
            message_id text NOT NULL,
            message_type text NOT NULL,
            previous_status text NOT NULL,
            status text NOT NULL,
            reason text NOT NULL DEFAULT '',
            outputs jsonb NOT NULL DEFAULT '[]',
            occurred_at timestamptz NOT NULL,
            PRIMARY KEY (order_id, sequence),
            CONSTRAINT uq_order_transitions_message UNIQUE (order_id, message_id)
        );

        CREATE TABLE orders.parked_messages (
            order_id uuid NOT NULL,
            message_id text NOT NULL,
            envelope jsonb NOT NULL,
            parked_at timestamptz NOT NULL,
            PRIMARY KEY (order_id, message_id)
        );
        """
    )

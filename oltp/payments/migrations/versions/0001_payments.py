"""Payments, the calls made for them, refunds, disputes, and the webhooks that were processed.

Revision ID: payments_0001
"""

from alembic import op

revision = "payments_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the payment tables; indexes serve the admin's filters and the resolver."""
    op.execute(
        """
        CREATE TABLE payments.payments (
            order_id uuid PRIMARY KEY,
            payment_id uuid NOT NULL UNIQUE,
            user_id uuid,
            provider text NOT NULL DEFAULT '',
            method text NOT NULL DEFAULT '',
            token text NOT NULL DEFAULT '',
            amount numeric(12, 2) NOT NULL DEFAULT 0 CHECK (amount >= 0),
            currency text NOT NULL DEFAULT '',
            status text NOT NULL CHECK (status IN ('pending', 'unknown', 'succeeded', 'failed', 'voided',
                'refunding', 'refunded')),
            reason text NOT NULL DEFAULT '',
            obstacle text NOT NULL DEFAULT '',
            tombstone boolean NOT NULL DEFAULT false,
            answer text NOT NULL DEFAULT '' CHECK (answer IN ('', 'succeeded', 'failed')),
            attempt smallint NOT NULL DEFAULT 1,
            attempts integer NOT NULL DEFAULT 0,
            tries integer NOT NULL DEFAULT 0,
            duration_ms integer NOT NULL DEFAULT 0,
            provider_reference text NOT NULL DEFAULT '',
            waiting jsonb NOT NULL DEFAULT '[]',
            next_attempt_at timestamptz,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT ck_payments_kept CHECK (NOT (status = 'succeeded' AND tombstone))
        );
        CREATE INDEX ix_payments_date ON payments.payments (created_at DESC, order_id DESC);
        CREATE INDEX ix_payments_status_date ON payments.payments (status, created_at DESC, order_id DESC);
        CREATE INDEX ix_payments_method_date ON payments.payments (method, created_at DESC, order_id DESC);
        CREATE INDEX ix_payments_reason_date ON payments.payments (reason, created_at DESC, order_id DESC)
            WHERE reason <> '';
        CREATE INDEX ix_payments_reference ON payments.payments (provider_reference) WHERE provider_reference <> '';
        CREATE INDEX ix_payments_due ON payments.payments (next_attempt_at) WHERE next_attempt_at IS NOT NULL;

        CREATE TABLE payments.payment_attempts (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            order_id uuid NOT NULL REFERENCES payments.payments (order_id),
            action text NOT NULL CHECK (action IN ('charge', 'void', 'refund')),
            provider text NOT NULL,
            idempotency_key text NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('captured', 'declined', 'voided', 'refunded', 'refused',
                'unknown')),
            detail text NOT NULL DEFAULT '',
            duration_ms integer NOT NULL,
            attempted_at timestamptz NOT NULL
        );
        CREATE INDEX ix_payment_attempts_order ON payments.payment_attempts (order_id, id);

        CREATE TABLE payments.refunds (
            order_id uuid PRIMARY KEY REFERENCES payments.payments (order_id),
            payment_id uuid NOT NULL,
            provider text NOT NULL,
            amount numeric(12, 2) NOT NULL CHECK (amount > 0),
            currency text NOT NULL,
            status text NOT NULL CHECK (status IN ('pending', 'succeeded')),
            provider_reference text NOT NULL DEFAULT '',
            requested_at timestamptz NOT NULL,
            completed_at timestamptz,
            CONSTRAINT ck_refunds_completed CHECK ((status = 'succeeded') = (completed_at IS NOT NULL))
        );

        CREATE TABLE payments.disputes (
            provider text NOT NULL,
            dispute_id text NOT NULL,
            order_id uuid NOT NULL REFERENCES payments.payments (order_id),
            payment_id uuid NOT NULL,
            amount numeric(12, 2) NOT NULL,
            currency text NOT NULL,
            reason text NOT NULL,
            status text NOT NULL CHECK (status IN ('open', 'won', 'lost')),
            opened_at timestamptz NOT NULL,
            closed_at timestamptz,
            updated_at timestamptz NOT NULL,
            PRIMARY KEY (provider, dispute_id)
        );
        CREATE INDEX ix_disputes_order ON payments.disputes (order_id);
        CREATE INDEX ix_disputes_date ON payments.disputes (opened_at DESC);

        CREATE TABLE payments.webhook_events (
            provider text NOT NULL,
            event_id text NOT NULL,
            type text NOT NULL,
            received_at timestamptz NOT NULL,
            PRIMARY KEY (provider, event_id)
        );
        CREATE INDEX ix_webhook_events_date ON payments.webhook_events (received_at);
        """
    )

"""Contacts, preferences, what is known of orders, notifications, and the recordings of simulated channels.

Revision ID: notifications_0001
"""

from alembic import op

revision = "notifications_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. Ids are UUIDv7, so that keys sort by time and old rows are found without another index."""
    op.execute(
        """
        CREATE TABLE notifications.contacts (
            user_id uuid PRIMARY KEY,
            email text NOT NULL,
            name text NOT NULL,
            phone text NOT NULL DEFAULT '',
            as_of timestamptz NOT NULL
        );

        CREATE TABLE notifications.preferences (
            user_id uuid NOT NULL,
            category text NOT NULL CHECK (category IN ('account', 'orders', 'shipping')),
            channel text NOT NULL CHECK (channel IN ('email', 'sms', 'push')),
            enabled boolean NOT NULL,
            updated_at timestamptz NOT NULL,
            PRIMARY KEY (user_id, category, channel)
        );

        CREATE TABLE notifications.orders (
            order_id uuid PRIMARY KEY,
            user_id uuid,
            lines jsonb,
            parcels jsonb,
            created_at timestamptz NOT NULL
        );

        CREATE TABLE notifications.notifications (
            id uuid PRIMARY KEY,
            user_id uuid,
            order_id uuid,
            channel text NOT NULL CHECK (channel IN ('email', 'sms', 'push')),
            template text NOT NULL,
            cause_id text NOT NULL,
            correlation_id text NOT NULL DEFAULT '',
            params jsonb NOT NULL DEFAULT '{}',
            status text NOT NULL CHECK (status IN ('pending', 'sent', 'failed', 'skipped')),
            attempts integer NOT NULL DEFAULT 0,
            next_attempt_at timestamptz,
            reason text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL,
            sent_at timestamptz,
            CONSTRAINT uq_notifications_cause UNIQUE (cause_id, channel),
            CONSTRAINT ck_notifications_due CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
            CONSTRAINT ck_notifications_sent CHECK ((status = 'sent') = (sent_at IS NOT NULL))
        );
        CREATE INDEX ix_notifications_due ON notifications.notifications (next_attempt_at)
            WHERE status = 'pending';
        CREATE INDEX ix_notifications_user ON notifications.notifications (user_id, id);
        CREATE INDEX ix_notifications_unsent ON notifications.notifications (status, id) WHERE status <> 'sent';
        CREATE INDEX ix_notifications_channel ON notifications.notifications (channel, id) WHERE channel <> 'email';

        CREATE TABLE notifications.recordings (
            notification_id uuid PRIMARY KEY,
            channel text NOT NULL,
            recipient text NOT NULL,
            body text NOT NULL,
            recorded_at timestamptz NOT NULL
        );
        """
    )

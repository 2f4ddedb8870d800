"""The outbox table.

Revision ID: outbox_0001
"""

from alembic import op

revision = "outbox_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the table that Debezium's event router reads."""
    op.execute(
        """
        CREATE TABLE outbox.outbox (
            id uuid PRIMARY KEY,
            aggregatetype text NOT NULL,
            aggregateid text NOT NULL,
            type text NOT NULL,
            payload jsonb NOT NULL
        )
        """
    )

"""Experiments and who takes part in which variant.

Revision ID: experiments_0001
"""

from alembic import op

revision = "experiments_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the tables. A customer keeps the variant that they were assigned as long as the experiment runs."""
    op.execute(
        """
        CREATE TABLE experiments.experiments (
            key text PRIMARY KEY,
            name text NOT NULL,
            variants jsonb NOT NULL,
            started_at timestamptz NOT NULL,
            ended_at timestamptz,
            CONSTRAINT ck_experiments_time CHECK (ended_at > started_at)
        );

        CREATE TABLE experiments.assignments (
            experiment text NOT NULL REFERENCES experiments.experiments (key),
            user_id uuid NOT NULL,
            variant text NOT NULL,
            assigned_at timestamptz NOT NULL,
            PRIMARY KEY (experiment, user_id)
        );
        CREATE INDEX ix_assignments_user ON experiments.assignments (user_id);
        """
    )

"""Users, addresses and sign-ins.

Revision ID: accounts_0001
"""

from alembic import op

revision = "accounts_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the account tables; one address a user is the default, one refresh token a family is unused."""
    op.execute(
        """
        CREATE TABLE accounts.users (
            id uuid PRIMARY KEY,
            name text NOT NULL,
            email text NOT NULL,
            password_hash text NOT NULL,
            role text NOT NULL DEFAULT 'customer' CONSTRAINT ck_users_role CHECK (role IN ('customer', 'admin')),
            phone text NOT NULL DEFAULT '',
            status text NOT NULL DEFAULT 'active' CONSTRAINT ck_users_status CHECK (status IN ('active', 'disabled')),
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL
        );
        CREATE UNIQUE INDEX uq_users_email ON accounts.users (lower(email));

        CREATE TABLE accounts.addresses (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
            label text NOT NULL DEFAULT '',
            name text NOT NULL,
            line1 text NOT NULL,
            line2 text NOT NULL DEFAULT '',
            city text NOT NULL,
            region text NOT NULL DEFAULT '',
            postal_code text NOT NULL,
            country char(2) NOT NULL,
            phone text NOT NULL DEFAULT '',
            latitude double precision,
            longitude double precision,
            is_default boolean NOT NULL,
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL,
            CONSTRAINT ck_addresses_position CHECK ((latitude IS NULL) = (longitude IS NULL))
        );
        CREATE INDEX ix_addresses_user ON accounts.addresses (user_id, id);
        CREATE UNIQUE INDEX uq_addresses_default ON accounts.addresses (user_id) WHERE is_default;

        CREATE TABLE accounts.token_families (
            id uuid PRIMARY KEY,
            user_id uuid NOT NULL REFERENCES accounts.users (id) ON DELETE CASCADE,
            user_agent text NOT NULL DEFAULT '',
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            revoked_at timestamptz,
            revoked_because text,
            CONSTRAINT ck_token_families_revoked CHECK ((revoked_at IS NULL) = (revoked_because IS NULL))
        );
        CREATE INDEX ix_token_families_user ON accounts.token_families (user_id, id);

        CREATE TABLE accounts.refresh_tokens (
            family_id uuid NOT NULL REFERENCES accounts.token_families (id) ON DELETE CASCADE,
            generation integer NOT NULL,
            token_hash bytea NOT NULL CONSTRAINT uq_refresh_tokens_hash UNIQUE,
            issued_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            rotated_at timestamptz,
            PRIMARY KEY (family_id, generation)
        );
        CREATE UNIQUE INDEX uq_refresh_tokens_current ON accounts.refresh_tokens (family_id) WHERE rotated_at IS NULL;
        """
    )

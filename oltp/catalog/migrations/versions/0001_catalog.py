"""Products, categories and the history of prices.

Revision ID: catalog_0001
"""

from alembic import op

revision = "catalog_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Creates the catalog's tables, with one index for each way in which the public list is sorted.

    ``version`` and ``changed_xid`` are kept by a trigger, so that no writer can change a product without it being seen:
    ``changed_xid`` is the transaction that made the row's present state, by which the directory finds what changed.
    """
    op.execute(
        """
        CREATE TABLE catalog.categories (
            id uuid PRIMARY KEY,
            slug text NOT NULL CONSTRAINT uq_categories_slug UNIQUE,
            name text NOT NULL CONSTRAINT uq_categories_name UNIQUE
        );

        CREATE TABLE catalog.products (
            id uuid PRIMARY KEY,
            sku text NOT NULL CONSTRAINT uq_products_sku UNIQUE,
            name text NOT NULL,
            description text NOT NULL DEFAULT '',
            price numeric(12, 2) NOT NULL CONSTRAINT ck_products_price CHECK (price > 0),
            currency char(3) NOT NULL,
            category_id uuid NOT NULL REFERENCES catalog.categories (id),
            image_url text NOT NULL DEFAULT '',
            active boolean NOT NULL DEFAULT true,
            version integer NOT NULL DEFAULT 1,
            changed_xid bigint NOT NULL DEFAULT (pg_current_xact_id()::text::bigint),
            created_at timestamptz NOT NULL,
            updated_at timestamptz NOT NULL
        );
        CREATE INDEX ix_products_changed ON catalog.products (changed_xid);
        CREATE INDEX ix_products_admin ON catalog.products (created_at DESC, id DESC);
        CREATE INDEX ix_products_newest ON catalog.products (created_at DESC, id DESC) WHERE active;
        CREATE INDEX ix_products_price ON catalog.products (price, id) WHERE active;
        CREATE INDEX ix_products_name ON catalog.products (lower(name), id) WHERE active;
        CREATE INDEX ix_products_category_newest ON catalog.products (category_id, created_at DESC, id DESC)
            WHERE active;
        CREATE INDEX ix_products_category_price ON catalog.products (category_id, price, id) WHERE active;
        CREATE INDEX ix_products_category_name ON catalog.products (category_id, lower(name), id) WHERE active;

        CREATE FUNCTION catalog.stamp_product() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.version := OLD.version + 1;
            NEW.changed_xid := pg_current_xact_id()::text::bigint;
            RETURN NEW;
        END
        $$;
        CREATE TRIGGER stamp_product BEFORE UPDATE ON catalog.products
            FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION catalog.stamp_product();

        CREATE TABLE catalog.price_history (
            product_id uuid NOT NULL REFERENCES catalog.products (id),
            version integer NOT NULL,
            old_price numeric(12, 2) NOT NULL,
            new_price numeric(12, 2) NOT NULL,
            currency char(3) NOT NULL,
            reason text NOT NULL,
            actor_id text NOT NULL,
            changed_at timestamptz NOT NULL,
            PRIMARY KEY (product_id, version)
        );
        """
    )

"""Settings of the catalog. The process that serves its routes, or looks products up, reads them beside its own."""

from pydantic import Field

from kit.settings import Settings


class CatalogSettings(Settings):
    """Freshness of product cards and bounds of lists."""

    catalog_cache_seconds: float = Field(
        default=0.4, ge=0, le=0.45, description="How long a process trusts a card that it has read."
    )
    catalog_cache_products: int = Field(default=20_000, ge=1, description="Cards that a process keeps.")
    catalog_poll_seconds: float = Field(
        default=0.4, gt=0, le=0.45, description="How often changes are looked for that nobody wrote to Redis."
    )
    catalog_load_seconds: float = Field(
        default=2.0, gt=0, description="Longest wait for Postgres for a product that Redis does not know."
    )
    catalog_page_depth: int = Field(default=10_000, ge=100, description="Products that can be paged through.")
    catalog_count_cap: int = Field(default=10_000, ge=100, description="Where counting a list's products stops.")
    catalog_categories_seconds: float = Field(default=5.0, ge=0, description="How old category counts may be.")
    catalog_low_stock: int = Field(default=10, ge=0, description="Units below which stock is called low.")

"""What other services may know of a product, and how they ask for it."""

from collections.abc import Iterable
from typing import Protocol

import msgspec


class ProductCard(msgspec.Struct, frozen=True, kw_only=True):
    """A product as a buyer sees it. ``unit_price`` is in minor units of ``currency``; inactive ones can't be bought."""

    product_id: str
    sku: str
    name: str
    category: str
    unit_price: int
    currency: str
    active: bool
    image_url: str = ""


class ProductDirectory(Protocol):
    """Looks products up; implemented by the catalog, handed to its users where the gateway is put together."""

    async def get_many(self, product_ids: Iterable[str]) -> dict[str, ProductCard]:
        """The cards of those of the products that exist, current to within a second."""
        ...

"""Schema ``catalog``."""

import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

from seed.copy import Table, table
from seed.goods import Goods
from seed.money import dollars
from seed.words import CATEGORIES

CATEGORY_ROWS: Final = table("catalog", "categories", "id slug name")
PRODUCTS: Final = table(
    "catalog", "products", "id sku name description price currency category_id version created_at updated_at"
)
PRICES: Final = table(
    "catalog", "price_history", "product_id version old_price new_price currency reason actor_id changed_at"
)


def rows(
    goods: Goods, *, categories: list[uuid.UUID], currency: str, actor_id: uuid.UUID
) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The categories, the products, and the price changes of the past; ``actor_id`` made them."""
    yield (
        CATEGORY_ROWS,
        [(categories[n], slug(category.name), category.name) for n, category in enumerate(CATEGORIES)],
    )
    ids = {category.name: categories[n] for n, category in enumerate(CATEGORIES)}
    products: list[tuple[Any, ...]] = []
    prices: list[tuple[Any, ...]] = []
    for product in goods.products:
        version = 2 if product.repriced_at else 1
        named = (product.product_id, product.sku, product.name, product.description)
        sold = (dollars(product.price), currency, ids[product.category], version)
        products.append((*named, *sold, product.created_at, product.repriced_at or product.created_at))
        if product.repriced_at:
            change = (dollars(product.old_price), dollars(product.price), currency, "seasonal price")
            prices.append((product.product_id, version, *change, str(actor_id), product.repriced_at))
    yield PRODUCTS, products
    yield PRICES, prices


def slug(name: str) -> str:
    """A category's name in a URL."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower().replace("'", "")).strip("-")

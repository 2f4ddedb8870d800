"""Products in fifty categories: prices from $5 to $500, scaled so that an average order comes to its target."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seed.ids import uuid7s
from seed.plan import GOODS, Plan
from seed.words import BRANDS, CATEGORIES, QUALITIES

ORDER_VALUE: Final = 75.0
"""Dollars that an average order comes to (specification)."""

LINES: Final = (0.26, 0.30, 0.23, 0.12, 0.06, 0.03)
"""How often an order has 1 … 6 lines: 2.51 on average."""

QUANTITIES: Final = (0.87, 0.10, 0.03)
"""How often a line has 1 … 3 units."""

REPRICED_SHARE: Final = 0.15
"""Products whose price changed once during the history."""

CHEAPEST, DEAREST = 500, 50_000
"""Cents."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the catalog knows it. ``price`` is today's, ``old_price`` that before ``repriced_at``; cents."""

    product_id: uuid.UUID
    sku: str
    name: str
    description: str
    category: str
    price: int
    old_price: int
    created_at: dt.datetime
    repriced_at: dt.datetime | None


@dataclass(frozen=True)
class Goods:
    """All products. ``popularity`` sums to 1; the most popular ones are spread over all categories.

    ``repriced_ms`` is when today's price came into force (Unix milliseconds; 0: it always held).
    """

    products: list[Product]
    prices: npt.NDArray[np.int64]
    old_prices: npt.NDArray[np.int64]
    repriced_ms: npt.NDArray[np.int64]
    popularity: npt.NDArray[np.float64]

    def prices_at(self, product: npt.NDArray[np.int64], moment_ms: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """What products cost at moments; the two shapes are broadcast."""
        return np.where(moment_ms >= self.repriced_ms[product], self.prices[product], self.old_prices[product])


def mean_units() -> float:
    """Units in an average order."""
    lines = sum((n + 1) * share for n, share in enumerate(LINES))
    return lines * sum((n + 1) * share for n, share in enumerate(QUANTITIES))


def goods(plan: Plan) -> Goods:
    """The plan's products; names are unique while there are words for it."""
    generator = plan.generator(GOODS)
    count = plan.products
    categories = np.arange(count) % len(CATEGORIES)
    popularity = 1 / np.sqrt(generator.permutation(count) + 8.0)
    popularity /= popularity.sum()
    base = np.array([category.price for category in CATEGORIES])[categories] ** 0.7
    wished = base * 100 * generator.lognormal(0, 0.35, count)
    prices = _scaled(wished, popularity, ORDER_VALUE * 100 / mean_units())
    start = int(plan.start.timestamp() * 1000)
    created = start - generator.integers(30, 700, count) * 86_400_000
    ids = uuid7s(created, generator)
    year = int(plan.now.timestamp() * 1000) - start
    repriced = np.where(
        generator.random(count) < REPRICED_SHARE,
        start + (generator.uniform(0.1, 0.9, count) * year).astype(np.int64),
        0,
    )
    old_prices = np.where(repriced > 0, _rounded(prices * generator.uniform(0.8, 1.25, count)), prices)
    names = _names(categories, generator)
    products = []
    for n in range(count):
        category = CATEGORIES[categories[n]]
        products.append(
            Product(
                product_id=ids[n],
                sku=f"{''.join(c for c in category.name.upper() if c.isalpha())[:4]}-{n + 1:06d}",
                name=names[n],
                description=f"{names[n]}, from our {category.name.lower()} range.",
                category=category.name,
                price=int(prices[n]),
                old_price=int(old_prices[n]),
                created_at=_moment(int(created[n])),
                repriced_at=_moment(int(repriced[n])) if repriced[n] else None,
            )
        )
    return Goods(products, prices, old_prices, repriced, popularity)


def _scaled(wished: npt.NDArray[np.float64], popularity: npt.NDArray[np.float64], mean: float) -> npt.NDArray[np.int64]:
    """Prices in proportion to the wished ones, within bounds, whose mean by popularity is ``mean``."""
    low, high = 0.001, 100.0
    for _ in range(60):
        factor = (low + high) / 2
        if float(np.clip(wished * factor, CHEAPEST, DEAREST) @ popularity) < mean:
            low = factor
        else:
            high = factor
    return _rounded(wished * high)


def _rounded(prices: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Prices as shops like them: a cent below a half or whole dollar."""
    return np.clip((np.round(prices / 50) * 50).astype(np.int64) - 1, CHEAPEST, DEAREST)


def _moment(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)


def _names(categories: npt.NDArray[np.int64], generator: np.random.Generator) -> list[str]:
    taken: dict[str, int] = {}
    names = []
    brands = generator.integers(0, len(BRANDS), len(categories))
    qualities = generator.integers(0, len(QUALITIES), len(categories))
    articles = generator.random(len(categories))
    for n, number in enumerate(categories):
        words = CATEGORIES[number].articles
        article = int(articles[n] * len(words))
        brand, quality = int(brands[n]), int(qualities[n])
        for _ in range(len(QUALITIES)):
            name = f"{BRANDS[brand]} {QUALITIES[quality]} {words[article]}"
            if name not in taken:
                break
            quality = (quality + 1) % len(QUALITIES)
        edition = taken[name] = taken.get(name, 0) + 1
        names.append(name if edition == 1 else f"{name} {edition}")
    return names

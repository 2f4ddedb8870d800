"""Products in fifty categories, and a year of prices between $5 and $500, set so that orders come to their mean."""

import datetime as dt
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt

from seed import calendar
from seed.ids import Bytes, as_uuids, uuid7_bytes
from seed.naming import Description, described
from seed.plan import DAY_MS, GOODS, WEEK_MS, Plan
from seed.taste import GROUPS, category_weights, elasticities
from seed.words import CATEGORIES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

ORDER_VALUE: Final = 75.0
ORDER_DEVIATION: Final = 50.0
"""Dollars that an order comes to: mean and standard deviation (specification)."""

LINES: Final = (0.26, 0.30, 0.23, 0.12, 0.06, 0.03)
"""How often an order has 1 … 6 lines: 2.51 on average."""

QUANTITIES: Final = (0.87, 0.10, 0.03)
"""How often a line has 1 … 3 units."""

REPRICED_SHARE: Final = 0.15
"""Products whose price changed for good during the history."""

PROMOTED_SHARE: Final = 0.025
"""Products that go on offer in a week, for one or two weeks; on Black Friday it is :data:`BLACK_FRIDAY_SHARE`."""

BLACK_FRIDAY_SHARE: Final = 0.25
NEW_SHARE: Final = 0.08
"""Products that were launched during the history."""

OUT_SHARE: Final = 0.10
LOW_SHARE: Final = 0.20
"""Of the products: sold out by now, and 10–50 units left (specification)."""

CHEAPEST, DEAREST = 500, 50_000
"""Cents."""

PREMIUM_SHARE: Final = 0.12
"""Products that cost several times as much as others of their kind; they are looked at more often than bought."""

_PREMIUM_APPEAL: Final = 0.012

FLASH_SALES: Final = 24
FLASH_FACTOR: Final = 50.0
"""How many flash sales a year has, and how much more of the product is sold in one's two hours (specification)."""
FLASH_MS: Final = 2 * 3_600_000
FLASH_DISCOUNT: Final = 0.35


@dataclass(frozen=True, slots=True)
class Repricing:
    """A change of price; cents."""

    at_ms: int
    old: int
    new: int
    reason: str


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the catalog knows it. ``price`` is today's, in cents; ``repricings`` led to it, oldest first."""

    product_id: uuid.UUID
    sku: str
    name: str
    description: str
    category: str
    price: int
    created_at: dt.datetime
    repricings: Sequence[Repricing] = ()


@dataclass(frozen=True, slots=True)
class FlashSale:
    """Two hours in which a product costs less and sells :data:`FLASH_FACTOR` times as often."""

    product: int
    start_ms: int
    price: int = 0

    @property
    def end_ms(self) -> int:
        return self.start_ms + FLASH_MS


@dataclass(frozen=True)
class Draft:
    """Everything about the products but what they cost in cents.

    ``worth`` orders them by price; ``ratio`` is weeks × products: a week's price against the product's usual one.
    ``flat`` is one cumulative table of what is bought, for each week and category, over the products in ``ranked``.
    ``by_worth`` lists the products from the cheapest on, ``cheaper`` which part of what is bought is no dearer.
    ``available`` says from which week to before which week a product is sold.
    """

    ids: Bytes
    descriptions: list[Description]
    category: Ints
    created_ms: Ints
    worth: Floats
    ratio: Floats
    reasons: npt.NDArray[np.int8]
    popularity: Floats
    elasticity: Floats
    flat: Floats
    ranked: Ints
    companions: Ints
    available: Ints
    sold_out: Flags
    by_worth: Ints
    cheaper: Floats
    flash_sales: tuple[FlashSale, ...]

    @property
    def count(self) -> int:
        return len(self.worth)

    def draw(self, week: Ints, category: Ints, chance: Floats) -> Ints:
        """A product of a category, as popular as it is in that week at that week's price."""
        key = week * len(CATEGORIES) + category + chance * (1 - 1e-9)
        row = np.searchsorted(self.flat, key, side="right") - week * self.count
        found: Ints = self.ranked[np.minimum(row, self.count - 1)]
        return found

    def worth_at(self, share: Floats) -> Ints:
        """The products that are dearer than such parts of all that is bought."""
        place = np.searchsorted(self.cheaper, share * self.cheaper[-1], side="right")
        found: Ints = self.by_worth[np.minimum(place, self.count - 1)]
        return found

    def sold_in(self, product: Ints, week: Ints) -> Flags:
        """Whether products are for sale in weeks."""
        sold: Flags = (self.available[product, 0] <= week) & (week < self.available[product, 1])
        return sold


@dataclass(frozen=True)
class Goods:
    """All products with their prices in cents; ``prices`` is weeks × products."""

    draft: Draft
    products: list[Product]
    prices: npt.NDArray[np.int32]
    flash_sales: tuple[FlashSale, ...]

    def prices_at(self, product: Ints, week: Ints, moment_ms: Ints) -> Ints:
        """What products cost at moments of weeks."""
        price = self.prices[week, product].astype(np.int64)
        for sale in self.flash_sales:
            inside = (moment_ms >= sale.start_ms) & (moment_ms < sale.end_ms)
            if inside.any():
                price[inside & (product == sale.product)] = sale.price
        return price


def mean_units() -> float:
    """Units in an average order."""
    lines = sum((n + 1) * share for n, share in enumerate(LINES))
    return lines * sum((n + 1) * share for n, share in enumerate(QUANTITIES))


def draft(plan: Plan) -> Draft:
    """The plan's products, before they have prices."""
    generator = plan.generator(GOODS)
    count, weeks = plan.products, plan.weeks
    category = np.arange(count) % len(CATEGORIES)
    created = plan.start_ms - generator.integers(30, 700, count) * DAY_MS
    out = _sold_out(count, generator)
    launched = np.where(
        ~out & (generator.random(count) < NEW_SHARE), generator.integers(1, max(2, weeks - 4), count), 0
    )
    created = np.where(launched > 0, plan.first_week_ms + launched * WEEK_MS - DAY_MS, created)
    # what is sold out was so before the orders that still hold stock were placed
    until = np.where(out, weeks - generator.integers(8, 14, count), weeks)
    ids = uuid7_bytes(created, generator)
    base = np.array([entry.price for entry in CATEGORIES])[category] ** 0.7
    premium = generator.random(count) < PREMIUM_SHARE
    worth = base * generator.lognormal(0, 0.4, count) * np.where(premium, generator.uniform(3, 10, count), 1.0)
    popularity = np.where(premium, _PREMIUM_APPEAL, 1.0) / np.sqrt(generator.permutation(count) + 8.0)
    popularity = np.where(out, popularity * 0.5, popularity)
    popularity /= popularity.sum()
    ratio, reasons = _ratios(plan, generator)
    elasticity = np.clip(elasticities()[category] + generator.normal(0, 0.2, count), 0.3, 3.0)
    week = np.arange(weeks)[:, None]
    growth = generator.normal(0, 0.35, count)
    demand = popularity * np.exp(growth * (week / weeks - 0.5)) * generator.lognormal(0, 0.12, (weeks, count))
    demand *= ratio**-elasticity
    demand *= (launched <= week) & (week < until)
    ranked = np.argsort(category, kind="stable")
    draws = Draft(
        ids=ids,
        descriptions=described(category, generator),
        category=category,
        created_ms=created,
        worth=worth,
        ratio=ratio,
        reasons=reasons,
        popularity=popularity,
        elasticity=elasticity,
        flat=_cumulative(demand[:, ranked], category[ranked]),
        ranked=ranked,
        companions=_companions(category, popularity, generator),
        available=np.stack([launched, until], axis=1),
        sold_out=out,
        by_worth=np.argsort(worth, kind="stable"),
        cheaper=np.cumsum((popularity * category_weights()[category])[np.argsort(worth, kind="stable")]),
        flash_sales=(),
    )
    return replace(draws, flash_sales=_flash_sales(plan, draws, generator))


def _sold_out(count: int, generator: np.random.Generator) -> Flags:
    out = np.zeros(count, dtype=bool)
    out[generator.permutation(count)[: round(count * OUT_SHARE)]] = True
    return out


def _ratios(plan: Plan, generator: np.random.Generator) -> tuple[Floats, npt.NDArray[np.int8]]:
    """Each week's price against the usual one, and what made the last difference: 1 an offer, 2 for good."""
    weeks, count = plan.weeks, plan.products
    days = [dt.datetime.fromtimestamp((plan.first_week_ms + w * WEEK_MS) / 1000, dt.UTC).date() for w in range(weeks)]
    rush = np.array([0 <= (calendar.black_friday(day.year) - day).days < 7 for day in days])
    offered = generator.random((weeks, count)) < np.where(rush, BLACK_FRIDAY_SHARE, PROMOTED_SHARE)[:, None]
    discount = np.round(generator.uniform(0.10, 0.30, (weeks, count)), 2)
    longer = generator.random((weeks, count)) < 0.4
    off = np.where(offered, discount, 0.0)
    off[1:] = np.maximum(off[1:], np.where(longer[:-1], off[:-1] * offered[:-1], 0.0))
    level = np.ones((weeks, count))
    changed = generator.random(count) < REPRICED_SHARE
    at = generator.integers(4, max(5, weeks - 3), count)
    old = generator.uniform(0.82, 1.22, count)
    before = (np.arange(weeks)[:, None] < at) & changed
    level[before] = np.broadcast_to(old, level.shape)[before]
    reasons = np.where(off > 0, 1, 2).astype(np.int8)
    return level * (1 - off), reasons


def _cumulative(demand: Floats, category: Ints) -> Floats:
    """For each week and category, the running share of its products, counted on from block to block."""
    weeks, count = demand.shape
    table = np.empty((weeks, count))
    blocks = np.arange(weeks) * len(CATEGORIES)
    for number in range(len(CATEGORIES)):
        start, stop = np.searchsorted(category, [number, number + 1])
        if start == stop:
            continue
        part = np.cumsum(demand[:, start:stop], axis=1)
        table[:, start:stop] = (blocks + number)[:, None] + part / part[:, -1:]
        # nothing is drawn beyond the last product that is for sale
        last = stop - start - 1 - np.argmax(demand[:, start:stop][:, ::-1] > 0, axis=1)
        for week in range(weeks):
            table[week, start + last[week] : stop] = blocks[week] + number + 1
    return table.reshape(-1)


def _companions(category: Ints, popularity: Floats, generator: np.random.Generator) -> Ints:
    """Three products that go with each one: two of its own room of the shop, one of its own category."""
    count = len(category)
    result = np.empty((count, 3), dtype=np.int64)
    for numbers in GROUPS.values():
        room = np.flatnonzero((category >= numbers.start) & (category < numbers.stop))
        if not len(room):
            continue
        weights = popularity[room] / popularity[room].sum()
        result[room] = generator.choice(room, (len(room), 3), p=weights)
    own = np.arange(count)
    same = (result == own[:, None]).any(axis=1)
    result[same] = (own[same, None] + np.array([1, 2, 3]) * len(CATEGORIES)) % count
    return result


def _flash_sales(plan: Plan, goods: Draft, generator: np.random.Generator) -> tuple[FlashSale, ...]:
    """Evening sales of popular products that are for sale all year, spread over the history."""
    liked = np.argsort(-goods.popularity)
    liked = liked[(goods.available[liked, 0] == 0) & (goods.available[liked, 1] == plan.weeks)][:200]
    days = (plan.now_ms - plan.start_ms) // DAY_MS - 2
    sales = []
    for n in range(min(FLASH_SALES, len(liked))):
        day = 1 + (n * days + int(generator.integers(0, max(1, days)))) // FLASH_SALES
        start = plan.first_week_ms + day * DAY_MS + 19 * 3_600_000
        sales.append(FlashSale(int(liked[generator.integers(0, len(liked))]), start))
    return tuple(sales)


def priced(plan: Plan, goods: Draft, bought: "Bought") -> Goods:
    """The products with prices such that the orders of a sample have their mean value and deviation."""
    spread, scale = 1.0, 1.0
    for _ in range(12):
        worth = goods.worth**spread
        scale = _solve(partial(bought.mean_of, worth, goods.ratio), ORDER_VALUE * 100)
        deviation = bought.deviation(scale * goods.worth**spread, goods.ratio)
        if abs(deviation / (ORDER_DEVIATION * 100) - 1) < 0.002:
            break
        spread *= (ORDER_DEVIATION * 100 / deviation) ** 0.7
    scale = _solve(partial(bought.mean_of, goods.worth**spread, goods.ratio), ORDER_VALUE * 100)
    usual = scale * goods.worth**spread
    prices = _rounded(usual * goods.ratio).astype(np.int32)
    sales = tuple(
        replace(
            sale,
            price=int(_rounded(np.array([prices[_week(plan, sale.start_ms), sale.product] * (1 - FLASH_DISCOUNT)]))[0]),
        )
        for sale in goods.flash_sales
    )
    changes = _repricings(plan, prices, goods.reasons, goods.available[:, 0], sales)
    products = [
        Product(
            product_id=product_id,
            sku=text.sku,
            name=text.name,
            description=text.description,
            category=CATEGORIES[category].name,
            price=price,
            created_at=dt.datetime.fromtimestamp(at / 1000, dt.UTC),
            repricings=changes.get(n, ()),
        )
        for n, (product_id, text, category, price, at) in enumerate(
            zip(
                as_uuids(goods.ids),
                goods.descriptions,
                goods.category.tolist(),
                prices[-1].tolist(),
                goods.created_ms.tolist(),
                strict=True,
            )
        )
    ]
    return Goods(goods, products, prices, sales)


@dataclass(frozen=True)
class Bought:
    """The lines of a sample of orders, by which prices are set."""

    order: Ints
    product: Ints
    week: Ints
    quantity: Ints

    def _totals(self, usual: Floats, ratio: Floats) -> Floats:
        prices = _rounded(usual[self.product] * ratio[self.week, self.product])
        totals: Floats = np.bincount(self.order, weights=prices * self.quantity).astype(np.float64)
        return totals

    def mean_of(self, worth: Floats, ratio: Floats, scale: float) -> float:
        """What an order comes to, in cents, if the products usually cost ``scale * worth``."""
        return float(self._totals(scale * worth, ratio).mean())

    def deviation(self, usual: Floats, ratio: Floats) -> float:
        """By how much orders differ from that."""
        return float(self._totals(usual, ratio).std())


def _solve(value: Callable[[float], float], target: float) -> float:
    """Where a rising function reaches a value."""
    low, high = 1e-3, 1e6
    for _ in range(60):
        factor = (low * high) ** 0.5
        if value(factor) < target:
            low = factor
        else:
            high = factor
    return high


def _week(plan: Plan, moment_ms: int) -> int:
    return (moment_ms - plan.first_week_ms) // WEEK_MS


def _repricings(
    plan: Plan,
    prices: npt.NDArray[np.int32],
    reasons: npt.NDArray[np.int8],
    launched: Ints,
    sales: Sequence[FlashSale],
) -> dict[int, list[Repricing]]:
    """Every change of each product's price, oldest first."""
    changes: dict[int, list[Repricing]] = {}
    weeks, products = np.nonzero((prices[1:] != prices[:-1]) & (np.arange(1, len(prices))[:, None] > launched))
    old, new = prices[weeks, products], prices[weeks + 1, products]
    reason = np.where(reasons[weeks + 1, products] == 1, 0, np.where(reasons[weeks, products] == 1, 1, 2))
    words = ("offer", "offer ended", "new price")
    moments = plan.first_week_ms + (weeks + 1) * WEEK_MS
    for n, at, was, now, why in zip(
        products.tolist(), moments.tolist(), old.tolist(), new.tolist(), reason.tolist(), strict=True
    ):
        changes.setdefault(n, []).append(Repricing(at, was, now, words[why]))
    for sale in sales:
        usual = int(prices[_week(plan, sale.start_ms), sale.product])
        if usual != sale.price:
            changes.setdefault(sale.product, []).extend(
                [
                    Repricing(sale.start_ms, usual, sale.price, "flash sale"),
                    Repricing(sale.end_ms, sale.price, usual, "flash sale ended"),
                ]
            )
            changes[sale.product].sort(key=lambda change: change.at_ms)
    return changes


def _rounded(prices: Floats) -> Ints:
    """Prices as shops like them: a cent below a half or whole dollar."""
    rounded: Ints = np.clip((np.round(prices / 50) * 50).astype(np.int64) - 1, CHEAPEST, DEAREST)
    return rounded

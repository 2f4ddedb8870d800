"""A year of orders as arrays, one chunk at a time. Any chunk can be made alone."""

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seed import calendar
from seed.goods import LINES, QUANTITIES, Goods
from seed.people import People
from seed.places import WAREHOUSES
from seed.plan import ORDERS, Plan

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MOST_LINES: Final = len(LINES)

CANCELLED_SHARE: Final = 0.10
FAILED_SHARE: Final = 0.05
PROCESSING_SHARE: Final = 0.10
SHIPPED_SHARE: Final = 0.15
"""Of all orders; the rest is delivered (specification)."""


class Ending(enum.IntEnum):
    """How far an order came, and why no further."""

    DELIVERED = 0
    SHIPPED = 1
    PROCESSING = 2
    PAYMENT_FAILED = 3
    OUT_OF_STOCK = 4
    PAYMENT_TIMEOUT = 5
    CUSTOMER_REQUEST = 6
    ADMIN_REQUEST = 7


_CANCELLATIONS: Final = {
    Ending.CUSTOMER_REQUEST: 0.60,
    Ending.OUT_OF_STOCK: 0.25,
    Ending.PAYMENT_TIMEOUT: 0.10,
    Ending.ADMIN_REQUEST: 0.05,
}

METHODS: Final = {"card": 0.62, "paypal": 0.26, "wallet": 0.12}
DECLINES: Final = {
    "insufficient_funds": 0.46,
    "card_declined": 0.24,
    "expired_card": 0.12,
    "fraudulent": 0.10,
    "lost_card": 0.08,
}


@dataclass(frozen=True)
class Chunk:
    """Consecutive orders, row by row; times are Unix milliseconds.

    ``product``, ``quantity``, ``warehouse`` and ``has_line`` are orders × lines. ``steps`` are the moments of an
    order's transitions after its creation, orders × 7; only as many count as its ending has.
    """

    numbers: range
    customer: Ints
    created: Ints
    ending: Ints
    has_line: Flags
    product: Ints
    quantity: Ints
    unit_price: Ints
    warehouse: Ints
    total: Ints
    method: Ints
    decline: Ints
    steps: Ints
    generator: np.random.Generator

    def units(self, chosen: Flags, products: int) -> Ints:
        """Units of the chosen orders by product and warehouse."""
        lines = self.has_line & chosen[:, None]
        sums = np.zeros((products, len(WAREHOUSES)), dtype=np.int64)
        np.add.at(sums, (self.product[lines], self.warehouse[lines]), self.quantity[lines])
        return sums


@dataclass(frozen=True)
class Shelves:
    """Where products lie. ``stocked`` is products × warehouses, ``sold_out`` marks products with nothing left.

    ``distance`` is customers × warehouses, in kilometres.
    """

    stocked: Flags
    sold_out: Flags
    distance: Floats


def chunk(plan: Plan, numbers: range, people: People, goods: Goods, shelves: Shelves) -> Chunk:
    """The orders with these numbers."""
    generator = plan.generator(ORDERS, numbers.start)
    count = len(numbers)
    created = calendar.moments(plan, numbers, generator)
    customer = _buyers(people, created, generator)
    ending = _endings(plan, numbers, generator)
    still_held = ending == Ending.PROCESSING
    has_line, product = _lines(goods, shelves, still_held, generator)
    quantity = 1 + generator.choice(len(QUANTITIES), product.shape, p=QUANTITIES)
    distance = np.where(shelves.stocked[product], shelves.distance[customer][:, None, :], np.inf)
    unit_price = goods.prices_at(product, created[:, None])
    return Chunk(
        numbers=numbers,
        customer=customer,
        created=created,
        ending=ending,
        has_line=has_line,
        product=product,
        quantity=quantity,
        unit_price=unit_price,
        warehouse=distance.argmin(axis=2),
        total=(unit_price * quantity * has_line).sum(axis=1),
        method=generator.choice(len(METHODS), count, p=list(METHODS.values())),
        decline=generator.choice(len(DECLINES), count, p=list(DECLINES.values())),
        steps=_steps(plan, created, ending, generator),
        generator=generator,
    )


def _buyers(people: People, created: Ints, generator: np.random.Generator) -> Ints:
    known = np.searchsorted(people.registered_ms, created, side="right")
    drawn = generator.random(len(created)) * people.cumulative_appetite[np.maximum(known, 1) - 1]
    buyers: Ints = np.searchsorted(people.cumulative_appetite, drawn, side="right").astype(np.int64)
    return buyers


def _endings(plan: Plan, numbers: range, generator: np.random.Generator) -> Ints:
    """Cancellations at any time; of the others, the newest are processing, the next ones in transit."""
    count = len(numbers)
    alive = 1 - CANCELLED_SHARE - FAILED_SHARE
    age = (np.arange(numbers.start, numbers.stop) + 0.5) / plan.orders + generator.normal(0, 0.01, count)
    ending = np.full(count, Ending.DELIVERED, dtype=np.int64)
    ending[age > 1 - (PROCESSING_SHARE + SHIPPED_SHARE) / alive] = Ending.SHIPPED
    ending[age > 1 - PROCESSING_SHARE / alive] = Ending.PROCESSING
    fate = generator.random(count)
    ending[fate < FAILED_SHARE] = Ending.PAYMENT_FAILED
    bound = FAILED_SHARE
    for reason, share in _CANCELLATIONS.items():
        ending[(fate >= bound) & (fate < bound + share * CANCELLED_SHARE)] = reason
        bound += share * CANCELLED_SHARE
    return ending


def _lines(goods: Goods, shelves: Shelves, still_held: Flags, generator: np.random.Generator) -> tuple[Flags, Ints]:
    """Distinct products of each order; orders that still hold stock have none of what is sold out."""
    count = len(still_held)
    cumulative = np.cumsum(goods.popularity)
    available = np.cumsum(np.where(shelves.sold_out, 0.0, goods.popularity))

    def draw(rows: Ints) -> Ints:
        chances = generator.random(len(rows))
        anything = np.searchsorted(cumulative, chances * cumulative[-1], side="right")
        in_stock = np.searchsorted(available, chances * available[-1], side="right")
        drawn: Ints = np.where(still_held[rows], in_stock, anything).astype(np.int64)
        return drawn

    lines = 1 + generator.choice(MOST_LINES, count, p=LINES)
    has_line = np.arange(MOST_LINES)[None, :] < lines[:, None]
    product = draw(np.repeat(np.arange(count), MOST_LINES)).reshape(count, MOST_LINES)
    for _ in range(8):
        repeated = _repeated(product)
        if not repeated.any():
            break
        rows, columns = np.nonzero(repeated)
        product[rows, columns] = draw(rows)
    return has_line & ~_repeated(product), product


def _repeated(product: Ints) -> Flags:
    order = np.argsort(product, axis=1, kind="stable")
    ranked = np.take_along_axis(product, order, axis=1)
    again = np.zeros(product.shape, dtype=bool)
    again[:, 1:] = ranked[:, 1:] == ranked[:, :-1]
    repeated = np.zeros(product.shape, dtype=bool)
    np.put_along_axis(repeated, order, again, axis=1)
    return repeated


def _steps(plan: Plan, created: Ints, ending: Ints, generator: np.random.Generator) -> Ints:
    """The moments of the transitions after creation: seconds for stock and money, hours and days for parcels."""
    count = len(created)
    hour, day = calendar.HOUR_MS, 24 * calendar.HOUR_MS

    def between(low: float, high: float) -> Ints:
        drawn: Ints = generator.uniform(low, high, count).astype(np.int64)
        return drawn

    waits = np.stack([between(40, 400), between(150, 2_500), between(200, 4_000), *[between(20, 300)] * 4], axis=1)
    sent = np.isin(ending, (Ending.DELIVERED, Ending.SHIPPED))
    waits[sent, 3] = between(4 * hour, 44 * hour)[sent]
    waits[sent, 5] = (generator.lognormal(0.9, 0.45, count) * day).astype(np.int64)[sent]
    withdrawn = np.isin(ending, (Ending.CUSTOMER_REQUEST, Ending.ADMIN_REQUEST))
    waits[withdrawn, 3] = between(60_000, 6 * hour)[withdrawn]
    late = ending == Ending.PAYMENT_TIMEOUT
    waits[late, 1] = 120_000
    latest = int(plan.now.timestamp() * 1000) - 1_000
    steps: Ints = np.minimum(created[:, None] + np.cumsum(waits, axis=1), np.maximum(latest, created[:, None] + 1))
    return steps

"""A year of orders as arrays, one chunk at a time. Any chunk can be made alone."""

import datetime as dt
import enum
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from oltp.shipping.carriers import CARRIERS
from seed import calendar, fraud
from seed.fraud import Suspicion
from seed.goods import FLASH_FACTOR, FLASH_MS, LINES, QUANTITIES, Bought, Draft, Goods
from seed.ids import Bytes, uuid7_bytes
from seed.people import People
from seed.places import WAREHOUSES
from seed.plan import DAY_MS, ORDERS, WEEK_MS, Plan
from seed.taste import COMPANION_SHARE, COMPANIONS, FAVOURITE_SHARE, SEGMENTS, Tastes

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

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
DECLINES: Final = ("insufficient_funds", "card_declined", "expired_card", "fraudulent", "lost_card")
_DECLINES_OF: Final = np.cumsum(
    [
        [0.44, 0.26, 0.14, 0.06, 0.10],
        [0.70, 0.22, 0.03, 0.05, 0.00],
        [0.80, 0.15, 0.02, 0.03, 0.00],
    ],
    axis=1,
)
"""Why payments of each method are declined, cumulative."""

_PAYMENT_MS: Final = ((820, 0.45), (1_650, 0.40), (380, 0.35))
"""How long a payment of each method takes: median in milliseconds, spread of the lognormal."""

_DELAYS: Final = np.array(
    [
        [0.020, 0.030, 0.025, 0.045],
        [0.040, 0.050, 0.070, 0.060],
        [0.080, 0.070, 0.120, 0.150],
        [0.050, 0.040, 0.055, 0.075],
    ]
)
"""How often a carrier's parcels to a region are held up; half as often again in the holiday season."""

LEFT: Final = (Ending.DELIVERED, Ending.SHIPPED)
WITHDRAWN: Final = (Ending.CUSTOMER_REQUEST, Ending.ADMIN_REQUEST)
BOOKED: Final = (*LEFT, Ending.PROCESSING, *WITHDRAWN)
"""Endings of orders that got as far as a carrier."""

STEPS: Final = 7
"""Most transitions after an order's creation."""


@dataclass(frozen=True)
class World:
    """What all chunks share. ``stocked`` is products × warehouses."""

    plan: Plan
    people: People
    goods: Goods
    tastes: Tastes
    stocked: Flags
    uplift: "Uplift"


@dataclass(frozen=True)
class Uplift:
    """An experiment that works: while it runs, its ``customers`` add a further line to some orders."""

    customers: Flags
    start_ms: int
    end_ms: int
    share: float


@dataclass(frozen=True)
class Chunk:
    """Consecutive orders; times are Unix milliseconds, money is cents.

    ``steps`` are the moments of an order's transitions after its creation, orders × 7; only as many count as its
    ending has. Lines lie order by order: those of order ``n`` are ``first[n] … first[n + 1] - 1``.
    """

    numbers: range
    ids: Bytes
    created: Ints
    ending: Ints
    suspicion: Suspicion
    method: Ints
    decline: Ints
    steps: Ints
    carrier: Ints
    delay_ms: Ints
    promised_ms: Ints
    transit_ms: Ints
    first: Ints
    product: Ints
    quantity: Ints
    unit_price: Ints
    warehouse: Ints
    total: Ints
    recorded: Flags

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def line_order(self) -> Ints:
        """Which order each line is of."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def ended(self, *endings: Ending) -> Flags:
        """The orders that ended so."""
        found: Flags = np.isin(self.ending, endings)
        return found


def chunk(world: World, numbers: range) -> Chunk:
    """The orders with these numbers."""
    plan, people, goods = world.plan, world.people, world.goods
    generator = plan.generator(ORDERS, numbers.start)
    count = len(numbers)
    created = calendar.moments(plan, numbers, generator)
    holidays = _holidays(created)
    suspicion = fraud.mark(people, created, _buyers(people, created, generator), holidays, generator)
    method = np.searchsorted(np.cumsum(list(METHODS.values())), generator.random(count) * (1 - 1e-9), side="right")
    method[suspicion.fraud] = 0
    ending = _endings(plan, numbers, suspicion, generator)
    decline = (generator.random(count)[:, None] * (1 - 1e-9) >= _DECLINES_OF[method]).sum(axis=1)
    decline[suspicion.fraud] = np.where(generator.random(count) < 0.6, 3, decline)[suspicion.fraud]
    lines = _lines(plan, goods.draft, world, suspicion, created, generator)
    week = ((created - plan.first_week_ms) // WEEK_MS)[lines.order]
    unit_price = goods.prices_at(lines.product, week, created[lines.order])
    first = np.concatenate([[0], np.cumsum(np.bincount(lines.order, minlength=count))])
    warehouse = _warehouses(people, world.stocked, lines.product, suspicion.address[lines.order])
    carrier, handling, promised, transit, delay = _parcels(
        people, suspicion.address, warehouse[first[:-1]], holidays, generator
    )
    return Chunk(
        numbers=numbers,
        ids=uuid7_bytes(created, generator),
        created=created,
        ending=ending,
        suspicion=suspicion,
        method=method,
        decline=decline,
        steps=_steps(plan, created, ending, method, handling, transit + delay, generator),
        carrier=carrier,
        delay_ms=np.where(np.isin(ending, LEFT), delay, 0),
        promised_ms=promised,
        transit_ms=transit,
        first=first,
        product=lines.product,
        quantity=lines.quantity,
        unit_price=unit_price,
        warehouse=warehouse,
        total=np.add.reduceat(unit_price * lines.quantity, first[:-1]),
        recorded=created >= plan.recorded_ms,
    )


def sample(plan: Plan, people: People, goods: Draft, tastes: Tastes, orders: int = 20_000) -> Bought:
    """Lines of a year's orders, few enough to set prices by."""
    smaller = replace(plan, orders=orders, chunk=orders)
    numbers = range(orders)
    generator = smaller.generator(ORDERS, 1 << 40)
    created = calendar.moments(smaller, numbers, generator)
    suspicion = fraud.mark(people, created, _buyers(people, created, generator), _holidays(created), generator)
    nobody = Uplift(np.zeros(len(people.customers), dtype=bool), 0, 0, 0.0)
    lines = _bought(smaller, people, goods, tastes, nobody, suspicion, created, generator)
    week = ((created - plan.first_week_ms) // WEEK_MS)[lines.order]
    return Bought(lines.order, lines.product, week, lines.quantity)


def _holidays(created: Ints) -> Flags:
    months = created.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) % 12
    holidays: Flags = months >= 10
    return holidays


def _buyers(people: People, created: Ints, generator: np.random.Generator) -> Ints:
    """Who buys: by appetite among those who have registered and not churned."""
    cumulative = np.cumsum(people.appetite)
    known = np.maximum(np.searchsorted(people.registered_ms, created, side="right"), 1)
    limit = cumulative[known - 1]
    buyers = np.searchsorted(cumulative, generator.random(len(created)) * limit, side="right")
    for _ in range(40):
        gone = np.flatnonzero(people.churned_ms[buyers] < created)
        if not len(gone):
            break
        buyers[gone] = np.searchsorted(cumulative, generator.random(len(gone)) * limit[gone], side="right")
    result: Ints = np.minimum(buyers, known - 1)
    return result


def _endings(plan: Plan, numbers: range, suspicion: Suspicion, generator: np.random.Generator) -> Ints:
    """Cancellations at any time; of the others, the newest are processing, the next ones in transit."""
    count = len(numbers)
    alive = 1 - CANCELLED_SHARE - FAILED_SHARE
    age = (np.arange(numbers.start, numbers.stop) + 0.5) / plan.orders + generator.normal(0, 0.01, count)
    ending = np.full(count, Ending.DELIVERED, dtype=np.int64)
    ending[age > 1 - (PROCESSING_SHARE + SHIPPED_SHARE) / alive] = Ending.SHIPPED
    ending[age > 1 - PROCESSING_SHARE / alive] = Ending.PROCESSING
    declined = np.zeros(max(fraud.Kind) + 1)
    of_fraud = sum(fraud.SHARES[kind] * share for kind, share in fraud.DECLINED.items())
    declined[: fraud.FIRST_FRAUD] = (FAILED_SHARE - of_fraud) / (1 - sum(fraud.SHARES.values()))
    for kind, share in fraud.DECLINED.items():
        declined[kind] = share
    failing = declined[suspicion.kind]
    fate = generator.random(count)
    failed = fate < failing
    ending[failed] = Ending.PAYMENT_FAILED
    # of the others, so many that a tenth of all orders is cancelled
    fate = (fate - failing) / (1 - failing)
    bound, factor = 0.0, CANCELLED_SHARE / (1 - FAILED_SHARE)
    for reason, share in _CANCELLATIONS.items():
        ending[~failed & (fate >= bound) & (fate < bound + share * factor)] = reason
        bound += share * factor
    return ending


@dataclass(frozen=True)
class _Lines:
    order: Ints
    product: Ints
    quantity: Ints


def _lines(
    plan: Plan, goods: Draft, world: World, suspicion: Suspicion, created: Ints, generator: np.random.Generator
) -> _Lines:
    return _bought(plan, world.people, goods, world.tastes, world.uplift, suspicion, created, generator)


def _bought(
    plan: Plan,
    people: People,
    goods: Draft,
    tastes: Tastes,
    uplift: Uplift,
    suspicion: Suspicion,
    created: Ints,
    generator: np.random.Generator,
) -> _Lines:
    """Distinct products of each order, by its customer's taste, the season, and what goes together."""
    count = len(created)
    sizes = 1 + np.searchsorted(np.cumsum(LINES), generator.random(count) * (1 - 1e-9), side="right")
    swayed = uplift.customers[suspicion.customer] & (created >= uplift.start_ms) & (created < uplift.end_ms)
    sizes = np.minimum(sizes + (swayed & (generator.random(count) < uplift.share)), len(LINES))
    sizes[suspicion.lavish] = np.maximum(sizes[suspicion.lavish], 2)
    sizes[suspicion.petty] = 1
    order = np.repeat(np.arange(count), sizes)
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    week_of = (created - plan.first_week_ms) // WEEK_MS
    is_weekend = (created // DAY_MS + 3) % 7 >= 5
    bargains = np.array([segment.bargains for segment in SEGMENTS])

    def draw(lines: Ints) -> Ints:
        orders = order[lines]
        customer, week = suspicion.customer[orders], week_of[orders]
        chance = generator.random((4, len(lines)))
        segment = people.segment[customer]
        category = tastes.draw(segment, week, is_weekend[orders], chance[0])
        own = chance[1] < FAVOURITE_SHARE
        category[own] = people.favourites[customer[own], (chance[1][own] < FAVOURITE_SHARE / 2).astype(np.int64)]
        product = goods.draw(week, category, chance[2])
        thrifty = np.flatnonzero(bargains[segment])
        other = goods.draw(week[thrifty], category[thrifty], chance[3][thrifty])
        cheaper = goods.worth[other] < goods.worth[product[thrifty]]
        product[thrifty[cheaper]] = other[cheaper]
        return product

    product = draw(np.arange(len(order)))
    _flash(goods, product, first, created, len(order) / count, generator)
    lead = np.repeat(product[first], sizes)
    follows = (np.arange(len(order)) != first[order]) & (generator.random(len(order)) < COMPANION_SHARE)
    which = np.searchsorted(np.cumsum(COMPANIONS), generator.random(len(order)) * (1 - 1e-9), side="right")
    companion = goods.companions[lead, which]
    follows &= goods.sold_in(companion, week_of[order])
    product[follows] = companion[follows]
    for wanted, lowest, highest in ((suspicion.lavish, 0.93, 1.0), (suspicion.petty, 0.0, 0.10)):
        some = np.flatnonzero(wanted[order])
        pick = goods.worth_at(generator.uniform(lowest, highest, len(some)))
        sold = goods.sold_in(pick, week_of[order[some]])
        product[some[sold]] = pick[sold]
    for _ in range(6):
        again = _repeated(order, product)
        if not len(again):
            break
        product[again] = draw(again)
    kept = np.ones(len(order), dtype=bool)
    kept[_repeated(order, product)] = False
    quantity = 1 + np.searchsorted(np.cumsum(QUANTITIES), generator.random(len(order)) * (1 - 1e-9), side="right")
    return _Lines(order[kept], product[kept], quantity[kept])


def _flash(
    goods: Draft, product: Ints, first: Ints, created: Ints, lines: float, generator: np.random.Generator
) -> None:
    """Lets orders of a flash sale's hours begin with its product, so often that it sells as much more as it should."""
    for sale in goods.flash_sales:
        inside = np.flatnonzero((created >= sale.start_ms) & (created < sale.start_ms + FLASH_MS))
        share = min(0.9, (FLASH_FACTOR - 1) * float(goods.popularity[sale.product]) * lines)
        product[first[inside[generator.random(len(inside)) < share]]] = sale.product


def _repeated(order: Ints, product: Ints) -> Ints:
    """The lines whose order has the product on another line already."""
    key = (order << 20) | product
    ranked = np.argsort(key, kind="stable")
    again = key[ranked[1:]] == key[ranked[:-1]]
    found: Ints = ranked[1:][again]
    return found


def _warehouses(people: People, stocked: Flags, product: Ints, address: Ints) -> Ints:
    """The nearest warehouse that has each line's product."""
    nearest = people.nearest[address]
    chosen: Ints = nearest[:, -1].copy()
    for rank in range(len(WAREHOUSES) - 2, -1, -1):
        site = nearest[:, rank]
        has = stocked[product, site]
        chosen[has] = site[has]
    return chosen


def _parcels(
    people: People, address: Ints, warehouse: Ints, holidays: Flags, generator: np.random.Generator
) -> tuple[Ints, Ints, Ints, Ints, Ints]:
    """The carrier of each order's parcels; how long they lie and travel, and what was promised (milliseconds)."""
    count, hour = len(address), calendar.HOUR_MS
    carrier = np.searchsorted(
        np.cumsum([entry.share for entry in CARRIERS]), generator.random(count) * (1 - 1e-9), side="right"
    )
    levels = [entry.service_level for entry in CARRIERS]
    handling_hours = np.array([level.handling_hours for level in levels])[carrier]
    base = np.array([level.base_hours for level in levels])[carrier]
    speed = np.array([level.km_per_hour for level in levels])[carrier]
    hours = np.minimum(base + people.distance[address, warehouse] / speed, 168.0)
    handling = handling_hours * generator.uniform(0.75, 1.25, count) * np.where(holidays, 1.25, 1.0)
    held_up = generator.random(count) < _DELAYS[carrier, people.region[address]] * np.where(holidays, 1.5, 1.0)
    delay = np.where(held_up, generator.uniform(8, 60, count), 0.0)
    travel = hours * generator.uniform(0.75, 1.0, count)
    return (
        carrier,
        (handling * hour).astype(np.int64),
        ((handling_hours * 1.25 + hours) * hour).astype(np.int64),
        (travel * hour).astype(np.int64),
        (delay * hour).astype(np.int64),
    )


def _steps(
    plan: Plan,
    created: Ints,
    ending: Ints,
    method: Ints,
    handling: Ints,
    travel: Ints,
    generator: np.random.Generator,
) -> Ints:
    """The moments of the transitions after creation: seconds for stock and money, hours and days for parcels."""
    count = len(created)
    waits = np.empty((count, STEPS))
    waits[:, 0] = generator.uniform(40, 400, count)
    median, spread = np.array(_PAYMENT_MS).T
    waits[:, 1] = median[method] * np.exp(spread[method] * generator.standard_normal(count))
    waits[:, 2] = generator.uniform(200, 4_000, count)
    waits[:, 3:] = generator.uniform(20, 300, (count, STEPS - 3))
    sent = np.isin(ending, LEFT)
    waits[sent, 3] = handling[sent]
    waits[sent, 5] = travel[sent]
    withdrawn = np.isin(ending, WITHDRAWN)
    waits[withdrawn, 3] = generator.uniform(60_000, 6 * calendar.HOUR_MS, count)[withdrawn]
    waits[ending == Ending.PAYMENT_TIMEOUT, 1] = 120_000
    latest = np.maximum(plan.now_ms - 1_000, created + 1)
    steps: Ints = np.minimum(created[:, None] + np.cumsum(waits, axis=1).astype(np.int64), latest[:, None])
    return steps


def units(part: Chunk, chosen: Flags, products: int) -> Ints:
    """Units of the chosen orders by product and warehouse."""
    lines = chosen[part.line_order]
    cell = part.product[lines] * len(WAREHOUSES) + part.warehouse[lines]
    sums = np.bincount(cell, weights=part.quantity[lines], minlength=products * len(WAREHOUSES))
    return sums.astype(np.int64).reshape(products, len(WAREHOUSES))


def month_of(plan: Plan, moments: Ints) -> Ints:
    """Which of the plan's months moments lie in."""
    starts = np.array([int(month.timestamp() * 1000) for month in plan.months])
    months: Ints = np.searchsorted(starts, moments, side="right") - 1
    return np.maximum(months, 0)


def moment(ms: int) -> dt.datetime:
    """Unix milliseconds as aware UTC."""
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)

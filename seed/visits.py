"""What visitors of the last thirty days looked at, searched for and left in their carts: a sample of bounded size.

Visits that ended in an order are those of real orders of the history; of the others there are so many that the rates of
the funnel hold. Nobody adds up over all of them: the shop keeps such events for thirty days, and a sample is enough to
tell rates by.
"""

import io
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from cdc.raw import EVENT_COLUMNS, EVENTS_TABLE
from kit.clock import SystemClock
from seed import calendar, history
from seed.experiments import assignments
from seed.history import Chunk, World
from seed.ids import Bytes, uuid7_bytes
from seed.plan import DAY_MS, VISITS, WEEK_MS, Plan
from seed.taste import SEGMENTS
from seed.wire import binary, hexadecimal
from seed.words import CATEGORIES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

DAYS: Final = 30

CONVERSION: Final = 0.03
"""Visits that end in an order."""

CARTS: Final = 0.10
"""Visits in which something is put into the cart; what does not end in an order was abandoned."""

CHECKOUTS: Final = 0.044
"""Visits that get as far as the checkout."""

SEARCHES: Final = 0.35
"""Visits in which something is searched for."""

SIGNED_IN: Final = 0.55
"""Of the visits without an order; with one, all are."""

_SEARCH_GAIN: Final = 0.25
"""By how much more often visits convert that search by meaning."""

_DEVICES: Final = {"mobile": 0.61, "desktop": 0.33, "tablet": 0.06}
_REFERRERS: Final = {
    "": 0.38,
    "google.com": 0.31,
    "newsletter.surge.example": 0.14,
    "instagram.com": 0.09,
    "bing.com": 0.08,
}

SMALL: Final = 600
LARGE: Final = 12_000
"""Orders whose visits are told, of the demo and of a large shop."""

FILE: Final = "storefront_events.parquet"

KINDS: Final = ("product_view", "search", "cart_add", "cart_remove", "checkout_start", "order_placed")
VIEW, SEARCH, ADD, REMOVE, CHECKOUT, PLACED = range(len(KINDS))

_NOBODY: Final = -1


@dataclass(frozen=True)
class _Visits:
    """One row a visit. ``order`` is a row of the orders that are followed, or −1; ``user`` a customer, or −1."""

    start_ms: Ints
    user: Ints
    order: Ints
    segment: Ints
    reaches_cart: Flags
    reaches_checkout: Flags
    variant: Ints


@dataclass(frozen=True)
class _Events:
    """One row an event, of several visits."""

    visit: Ints
    place: Floats
    kind: Ints
    product: Ints
    quantity: Ints

    @staticmethod
    def joined(parts: list["_Events"]) -> "_Events":
        return _Events(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Events.__annotations__))


def events(world: World, most_orders: int) -> pl.DataFrame:
    """The events of the last thirty days, oldest first, around at most so many orders."""
    plan = world.plan
    generator = plan.generator(VISITS)
    followed = list(_followed(world, most_orders))
    visits = _visits(world, followed, generator)
    parts = [*_bought(visits, followed), *_browsed(world, visits, generator)]
    return _frame(world, visits, followed, _Events.joined(parts), generator)


@dataclass(frozen=True)
class _Followed:
    """An order whose visit is told."""

    order_id: Bytes
    created_ms: int
    customer: int
    products: Ints
    quantities: Ints


def _followed(world: World, most: int) -> Iterator[_Followed]:
    """Every so-manyth order of the last thirty days."""
    plan = world.plan
    since = plan.now_ms - DAYS * DAY_MS
    recent = [numbers for numbers in plan.chunks() if _placed(plan, numbers)[-1] >= since - DAY_MS]
    step = max(1, -(-sum(int((_placed(plan, numbers) >= since).sum()) for numbers in recent) // max(1, most)))
    for numbers in recent:
        part: Chunk = history.chunk(world, numbers)
        chosen = np.flatnonzero((np.arange(len(part)) % step == 0) & (part.created >= since))
        for n in chosen.tolist():
            lines = slice(int(part.first[n]), int(part.first[n + 1]))
            yield _Followed(
                part.ids[n],
                int(part.created[n]),
                int(part.suspicion.customer[n]),
                part.product[lines],
                part.quantity[lines],
            )


def _placed(plan: Plan, numbers: range) -> Ints:
    """When orders were placed, give or take the chance within each one's own slot."""
    return calendar.moments(plan, numbers, np.random.default_rng(0))


def _visits(world: World, followed: list[_Followed], generator: np.random.Generator) -> _Visits:
    people, plan = world.people, world.plan
    orders = len(followed)
    others = round(orders * (1 / CONVERSION - 1))
    created = np.array([order.created_ms for order in followed], dtype=np.int64)
    # people look around when others buy
    around = generator.choice(created, others) if orders else np.empty(0, dtype=np.int64)
    aside = np.clip(
        around + generator.normal(0, 3 * 3_600_000, others).astype(np.int64), plan.now_ms - DAYS * DAY_MS, None
    )
    start = np.concatenate([created - (120_000 + generator.exponential(420_000, orders)).astype(np.int64), aside])
    start = np.minimum(start, plan.now_ms - calendar.HOUR_MS // 2)
    known = np.maximum(np.searchsorted(people.registered_ms, start[orders:], side="right"), 1)
    somebody = (generator.random(others) * known).astype(np.int64)
    user = np.concatenate(
        [
            np.array([order.customer for order in followed], dtype=np.int64),
            np.where(generator.random(others) < SIGNED_IN, somebody, _NOBODY),
        ]
    )
    chance = generator.random(orders + others)
    ends = np.arange(orders + others) < orders
    left = 1 - CONVERSION
    variant = _variants(world, user, start)
    # who searches by meaning converts more often, so fewer of those who left did
    gives_up = ~ends & ((variant != 1) | (generator.random(len(ends)) > 1 - 1 / (1 + _SEARCH_GAIN)))
    kept = ends | gives_up
    return _Visits(
        start_ms=start[kept],
        user=user[kept],
        order=np.where(ends, np.arange(orders + others), -1)[kept],
        segment=np.where(user == _NOBODY, generator.integers(0, len(SEGMENTS), len(user)), people.segment[user])[kept],
        reaches_cart=(ends | (chance < (CARTS - CONVERSION) / left))[kept],
        reaches_checkout=(ends | (chance < (CHECKOUTS - CONVERSION) / left))[kept],
        variant=variant[kept],
    )


def _variants(world: World, user: Ints, start_ms: Ints) -> Ints:
    """Which variant of the experiment that still runs each visit is shown; −1: none."""
    running = [entry for entry in assignments(world.plan, world.people) if entry.end_ms is None]
    variant = np.full(len(user), -1, dtype=np.int64)
    for entry in running:
        of_customer = np.full(len(world.people.customers), -1, dtype=np.int64)
        since = np.full(len(world.people.customers), world.plan.now_ms, dtype=np.int64)
        of_customer[entry.customer], since[entry.customer] = entry.variant, entry.at_ms
        inside = (user != _NOBODY) & (start_ms >= since[user])
        variant[inside] = of_customer[user[inside]]
    return variant


def _bought(visits: _Visits, followed: list[_Followed]) -> Iterator[_Events]:
    """Of visits with an order: each product is looked at and put into the cart, then follows the checkout."""
    which = np.flatnonzero(visits.order >= 0)
    sizes = np.array([len(followed[order].products) for order in visits.order[which].tolist()], dtype=np.int64)
    if not len(which):
        return
    visit = np.repeat(which, sizes)
    product = np.concatenate([followed[order].products for order in visits.order[which].tolist()])
    quantity = np.concatenate([followed[order].quantities for order in visits.order[which].tolist()])
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    number = np.arange(len(visit)) - np.repeat(first, sizes)
    along = (number + 1) / (np.repeat(sizes, sizes) + 1) * 0.8
    none = np.full(len(which), _NOBODY)
    yield _Events(visit, along, np.full(len(visit), VIEW), product, np.zeros_like(product))
    yield _Events(visit, along + 0.05, np.full(len(visit), ADD), product, quantity)
    yield _Events(which, np.full(len(which), 0.92), np.full(len(which), CHECKOUT), none, np.zeros_like(none))
    yield _Events(which, np.full(len(which), 1.0), np.full(len(which), PLACED), none, np.zeros_like(none))


def _browsed(world: World, visits: _Visits, generator: np.random.Generator) -> Iterator[_Events]:
    """What is looked at besides, searched for, put into carts and left there."""
    count = len(visits.start_ms)
    all_visits = np.arange(count)
    looks = 1 + generator.geometric(0.42, count)
    visit = np.repeat(all_visits, np.where(visits.order >= 0, np.maximum(looks - 1, 0), looks))
    product = _wanted(world, visits, visit, generator)
    place = generator.random(len(visit)) * 0.75
    nothing = np.zeros(len(visit), dtype=np.int64)
    yield _Events(visit, place, np.full(len(visit), VIEW), product, nothing)
    searches = np.flatnonzero(generator.random(count) < SEARCHES)
    wanted = _wanted(world, visits, searches, generator)
    yield _Events(
        searches, generator.random(len(searches)) * 0.05, np.full(len(searches), SEARCH), wanted, np.zeros_like(wanted)
    )
    left = np.flatnonzero(visits.reaches_cart & (visits.order < 0))
    added = np.repeat(left, 1 + generator.integers(0, 3, len(left)))
    thing = _wanted(world, visits, added, generator)
    units = 1 + (generator.random(len(added)) < 0.15).astype(np.int64)
    yield _Events(added, 0.3 + generator.random(len(added)) * 0.4, np.full(len(added), ADD), thing, units)
    back = generator.random(len(added)) < 0.2
    yield _Events(
        added[back], np.full(int(back.sum()), 0.8), np.full(int(back.sum()), REMOVE), thing[back], units[back]
    )
    almost = np.flatnonzero(visits.reaches_checkout & (visits.order < 0))
    none = np.full(len(almost), _NOBODY)
    yield _Events(almost, np.full(len(almost), 0.95), np.full(len(almost), CHECKOUT), none, np.zeros_like(none))


def _wanted(world: World, visits: _Visits, visit: Ints, generator: np.random.Generator) -> Ints:
    plan = world.plan
    start = np.maximum(visits.start_ms[visit], plan.start_ms)
    week = (start - plan.first_week_ms) // WEEK_MS
    weekend = (start // DAY_MS + 3) % 7 >= 5
    chance = generator.random((2, len(visit)))
    category = world.tastes.draw(visits.segment[visit], week, weekend, chance[0])
    return world.goods.draft.draw(week, category, chance[1])


def _frame(
    world: World, visits: _Visits, followed: list[_Followed], told: _Events, generator: np.random.Generator
) -> pl.DataFrame:
    length = 90_000 + generator.exponential(420_000, len(visits.start_ms))
    placed = visits.order >= 0
    created = np.array([order.created_ms for order in followed] or [0], dtype=np.int64)
    length[placed] = (created[visits.order[placed]] - visits.start_ms[placed]).astype(np.float64)
    at = visits.start_ms[told.visit] + (told.place * length[told.visit]).astype(np.int64)
    at = np.where(told.kind == PLACED, created[np.maximum(visits.order[told.visit], 0)], at)
    order_ids = np.stack([order.order_id for order in followed]) if followed else np.zeros((1, 16), dtype=np.uint8)
    device = generator.choice(len(_DEVICES), len(visits.start_ms), p=list(_DEVICES.values()))
    referrer = generator.choice(len(_REFERRERS), len(visits.start_ms), p=list(_REFERRERS.values()))
    week = np.clip((at - world.plan.first_week_ms) // WEEK_MS, 0, world.plan.weeks - 1)
    price = world.goods.prices[week, np.maximum(told.product, 0)] / 100
    user, variant = visits.user[told.visit], visits.variant[told.visit]
    has_product = (told.product != _NOBODY) & (told.kind != SEARCH)
    running = [entry.experiment for entry in assignments(world.plan, world.people) if entry.end_ms is None]
    variants = running[0].variants if running else ("",)
    queries, results = _queries(world, told, generator)
    everything = np.ones(len(at), dtype=bool)
    frame = pl.from_arrow(
        pa.table(
            {
                "event_id": _texts(uuid7_bytes(at, generator)),
                "kind": _chosen(KINDS, told.kind, everything),
                "session_id": _texts(uuid7_bytes(visits.start_ms, generator)).take(pa.array(told.visit)),
                "user_id": _picked(_texts(world.people.ids), user, user != _NOBODY),
                "product_id": _picked(_texts(world.goods.draft.ids), told.product, has_product),
                "order_id": _picked(_texts(order_ids), visits.order[told.visit], told.kind == PLACED),
                "query": pa.array(queries, pa.string()),
                "results": pa.array(results, pa.int32(), mask=told.kind != SEARCH),
                "quantity": pa.array(told.quantity, pa.int32(), mask=told.quantity == 0),
                "price": pa.array(price, pa.float64(), mask=~has_product),
                "device": _chosen(tuple(_DEVICES), device[told.visit], everything),
                "referrer": _chosen(tuple(_REFERRERS), referrer[told.visit], everything),
                "experiment": _chosen((running[0].key if running else "",), np.zeros_like(variant), variant >= 0),
                "variant": _chosen(variants, variant, variant >= 0),
                "occurred_at": pa.array(at, pa.timestamp("ms", "UTC")),
            }
        )
    )
    assert isinstance(frame, pl.DataFrame)
    return frame.sort("occurred_at", "event_id")


def _texts(ids: Bytes) -> pa.Array:
    return binary(hexadecimal(ids).view(np.uint8).reshape(-1, 36)).cast(pa.string())


def _picked(choices: pa.Array, index: Ints, present: Flags) -> pa.Array:
    return choices.take(pa.array(np.maximum(index, 0), mask=~present))


def _chosen(words: tuple[str, ...], index: Ints, present: Flags) -> pa.Array:
    return _picked(pa.array(words, pa.string()), index, present)


def _queries(world: World, told: _Events, generator: np.random.Generator) -> tuple[list[str | None], Ints]:
    """What is typed to find a product: its kind, often with its colour or what it is made of, sometimes misspelt."""
    results = np.zeros(len(told.kind), dtype=np.int64)
    queries: list[str | None] = [None] * len(told.kind)
    descriptions = world.goods.draft.descriptions
    category = world.goods.draft.category
    searched = np.flatnonzero(told.kind == SEARCH)
    chance = generator.random((len(searched), 3)).tolist()
    found = (4 * generator.lognormal(1.6, 0.9, len(searched))).astype(np.int64) + 1
    for place, n in enumerate(searched.tolist()):
        product = int(told.product[n])
        articles = CATEGORIES[int(category[product])].articles
        name, _, colour = descriptions[product].name.partition(", ")
        article = next((word for word in articles if name.endswith(word)), articles[0]).lower()
        style, typo, _ = chance[place]
        words = f"{colour.split(' (')[0].lower()} {article}" if style < 0.35 else article
        if typo < 0.06:
            words, found[place] = words[:2] + words[3:], 0
        queries[n] = words
    results[searched] = found
    return queries, results


async def load(connection: asyncpg.Connection, file: Path) -> int:
    """Copies the events in a file into the warehouse's ``raw.storefront_events``; returns how many.

    Those that are there already are not copied again: 0. The connection is the loader's.
    """
    names = [name for name, _ in EVENT_COLUMNS]
    # to those who read what is new they are new now, whenever they happened
    now = pl.lit(SystemClock().now()).dt.cast_time_unit("ms")
    frame = pl.read_parquet(file).with_columns(now.alias("__emitted_at"))
    there = f"SELECT EXISTS (SELECT FROM raw.{EVENTS_TABLE} WHERE event_id = $1)"  # noqa: S608
    if not frame.height or await connection.fetchval(there, uuid.UUID(frame["event_id"][0])):
        return 0
    lines = frame.select(names).write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.3f+00")
    status: str = await connection.copy_to_table(
        EVENTS_TABLE, schema_name="raw", columns=names, source=io.BytesIO(lines.encode()), format="csv", null=""
    )
    return int(status.rsplit(" ", 1)[-1])

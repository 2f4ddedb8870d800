"""`surge seed verify`: what the shop was to be against what is found in its tables, line by line.

Found is what the database says, never the generator; only what no table tells (which customers belong to which segment,
which products go together, which orders are fraud) is taken from the world that the plan describes and from the truth
that was filed away.
"""

import datetime as dt
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import numpy as np
import numpy.typing as npt
import polars as pl

from seed import calendar, fraud, marks, taste
from seed.experiments import assignments
from seed.goods import FLASH_FACTOR, FLASH_MS, LOW_SHARE, ORDER_DEVIATION, ORDER_VALUE, OUT_SHARE
from seed.history import CANCELLED_SHARE, FAILED_SHARE, METHODS, PROCESSING_SHARE, SHIPPED_SHARE, World
from seed.loading import TRUTH, connected
from seed.plan import WEEK_MS, Plan
from seed.settings import SeedSettings
from seed.words import CATEGORIES
from seed.world import world

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

SIGMA: Final = math.sqrt(math.log(1 + (ORDER_DEVIATION / ORDER_VALUE) ** 2))
"""Spread of the lognormal that order values follow."""


@dataclass(frozen=True, slots=True)
class Line:
    """One target and what was found. ``slack`` is how far off it may be, in the target's own unit."""

    subject: str
    target: float
    found: float
    slack: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether it is within tolerance."""
        return abs(self.found - self.target) <= self.slack


@dataclass(frozen=True)
class Evidence:
    """What the plots are drawn from."""

    days: dict[str, int] = field(default_factory=dict)
    hours: list[int] = field(default_factory=list)
    values: tuple[Floats, Floats] = (np.empty(0), np.empty(0))
    statuses: dict[str, int] = field(default_factory=dict)
    months: Floats = field(default_factory=lambda: np.empty((0, 0)))
    elasticities: dict[str, tuple[float, float]] = field(default_factory=dict)
    stock: Floats = field(default_factory=lambda: np.empty(0))
    kinds: dict[str, int] = field(default_factory=dict)
    delays: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """All lines, and what they were judged by."""

    plan: Plan
    lines: list[Line]
    evidence: Evidence

    @property
    def holds(self) -> bool:
        """Whether every line does."""
        return all(line.holds for line in self.lines)


class NotSeeded(Exception):
    """There is no seeded shop to look at."""


async def verify(settings: SeedSettings | None = None, note: Callable[[str], None] | None = None) -> Verdict:
    """Looks at the whole shop.

    Raises:
        NotSeeded: if it was not seeded, or not wholly.
        OSError, asyncpg.PostgresError: if Postgres is away.
    """
    settings = settings or SeedSettings()
    say = note or (lambda _: None)
    async with connected(settings) as connection:
        await connection.execute("SET work_mem = '256MB'")
        await marks.prepare(connection)
        mark = await marks.read(connection)
        if mark is None or not mark.complete:
            raise NotSeeded(
                "the shop was not seeded" if mark is None else "the seed was broken off: `surge seed` again"
            )
        say("drawing the plan's world again")
        shop = world(mark.plan)
        looker = _Looker(connection, shop, settings, say)
        return await looker.look()


class _Looker:
    def __init__(
        self, connection: asyncpg.Connection, shop: World, settings: SeedSettings, say: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._shop = shop
        self._plan = shop.plan
        self._settings = settings
        self._say = say
        self._lines: list[Line] = []
        # orders of the shop's own life after the seed are no part of it
        self._seeded = "log_offset IS NULL"

    async def look(self) -> Verdict:
        evidence: dict[str, Any] = {}
        for what, step in (
            ("sizes", self._sizes),
            ("values and statuses of orders", self._orders),
            ("days and hours", self._times),
            ("lines: tastes, seasons, prices", self._items),
            ("stock", self._stock),
            ("payments and parcels", self._money),
            ("experiments", self._experiments),
            ("fraud", self._fraud),
        ):
            self._say(what)
            evidence |= await step()
        return Verdict(self._plan, self._lines, Evidence(**evidence))

    def _line(self, subject: str, target: float, found: float, slack: float, unit: str = "") -> None:
        self._lines.append(Line(subject, target, found, slack, unit))

    def _share(self, subject: str, target: float, found: float, slack: float = 0.005) -> None:
        """A part of a whole, with room for the noise of few orders."""
        noise = 3.5 * math.sqrt(target * (1 - target) / max(1, self._plan.orders))
        self._line(subject, target * 100, found * 100, (slack + noise) * 100, "%")

    async def _rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        return list(await self._connection.fetch(query, *arguments))

    async def _sizes(self) -> dict[str, Any]:
        plan = self._plan
        for subject, target, query in (
            ("customers", plan.customers, "accounts.users WHERE role = 'customer' AND email NOT LIKE '%bench.example'"),
            ("products", plan.products, "catalog.products"),
            ("categories", len(CATEGORIES), "catalog.categories"),
            ("orders", plan.orders, f"orders.orders WHERE {self._seeded}"),
        ):
            found = await self._connection.fetchval(f"SELECT count(*) FROM {query}")  # noqa: S608
            self._line(subject, target, found, 0)
        low, high = await self._connection.fetchrow("SELECT min(price), max(price) FROM catalog.products")
        self._line("cheapest product", 5.0, float(low), 2.0, "$")
        self._line("dearest product", 500.0, float(high), 200.0, "$")
        return {}

    async def _orders(self) -> dict[str, Any]:
        rows = await self._rows(
            f"""
            SELECT status, coalesce(cancel_reason, '') AS reason,
                   width_bucket(ln(total_amount::float8), 1, 8, 140) AS bin, count(*) AS orders,
                   sum(total_amount::float8) AS total, sum(total_amount::float8 ^ 2) AS squares
            FROM orders.orders WHERE {self._seeded} GROUP BY 1, 2, 3
            """  # noqa: S608
        )
        count = sum(row["orders"] for row in rows)
        total, squares = sum(row["total"] for row in rows), sum(row["squares"] for row in rows)
        mean = total / count
        noise = 4 * ORDER_DEVIATION / math.sqrt(count)
        self._line("order value, mean", ORDER_VALUE, mean, 0.02 * ORDER_VALUE + noise, "$")
        self._line(
            "order value, deviation", ORDER_DEVIATION, math.sqrt(squares / count - mean**2), 0.06 * ORDER_DEVIATION, "$"
        )
        bins = np.zeros(142)
        for row in rows:
            bins[row["bin"]] += row["orders"]
        edges = np.exp(1 + np.arange(0, 141) / 20)
        median = float(np.interp(0.5, np.cumsum(bins[:141]) / count, edges))
        self._line("order value, median of a lognormal", ORDER_VALUE * math.exp(-(SIGMA**2) / 2), median, 4.0, "$")
        statuses: dict[str, int] = {}
        for row in rows:
            name = "payment failed" if row["reason"] == "payment_failed" else row["status"]
            statuses[name] = statuses.get(name, 0) + row["orders"]
        for name, share in (
            ("delivered", 1 - CANCELLED_SHARE - FAILED_SHARE - PROCESSING_SHARE - SHIPPED_SHARE),
            ("shipped", SHIPPED_SHARE),
            ("processing", PROCESSING_SHARE),
            ("cancelled", CANCELLED_SHARE),
            ("payment failed", FAILED_SHARE),
        ):
            self._share(f"orders {name}", share, statuses.get(name, 0) / count)
        return {"statuses": statuses, "values": (edges, bins[1:141] / count)}

    async def _times(self) -> dict[str, Any]:
        rows = await self._rows(
            f"""
            SELECT date_trunc('hour', created_at AT TIME ZONE 'UTC') AS hour, count(*) AS orders
            FROM orders.orders WHERE {self._seeded} GROUP BY 1 ORDER BY 1
            """  # noqa: S608
        )
        count = sum(row["orders"] for row in rows)
        days: dict[Any, int] = {}
        hours = [0] * 24
        for row in rows:
            days[row["hour"].date()] = days.get(row["hour"].date(), 0) + row["orders"]
            hours[row["hour"].hour] += row["orders"]
        season = sum(orders for day, orders in days.items() if day.month >= 11)
        self._share("orders in November and December", calendar.SEASON_SHARE, season / count, 0.01)
        self._share("orders from 19 to 22 o'clock", calendar.PEAK_SHARE, sum(hours[19:22]) / count, 0.01)
        self._line("busiest hour of a day against the quietest", 10.0, max(hours) / max(1, min(hours)), 2.5, "×")
        whole = sorted(days)[1:-1]
        for day in (calendar.black_friday(year) for year in sorted({day.year for day in whole})):
            if day in whole:
                against = days[day] / (count / 365)
                self._line(f"Black Friday {day.year} against the mean day", calendar.SPIKE, against, 0.6, "×")
        await self._flash_sales(count)
        return {"days": {str(day): orders for day, orders in days.items()}, "hours": hours}

    async def _flash_sales(self, orders: int) -> None:
        sold, expected = 0, 0.0
        for sale in await self._rows(
            """
            SELECT h.product_id, h.changed_at,
                   (SELECT count(*) FROM orders.order_items i WHERE i.product_id = h.product_id) AS lines
            FROM catalog.price_history h WHERE h.reason = 'flash sale'
            """
        ):
            # an order's id begins with its time
            start = int(sale["changed_at"].timestamp() * 1000)
            hours = uuid.UUID(int=start << 80), uuid.UUID(int=(start + FLASH_MS) << 80)
            passing = await self._connection.fetchval(
                "SELECT count(*) FROM orders.orders WHERE id >= $1 AND id < $2", *hours
            )
            sold += await self._connection.fetchval(
                "SELECT count(*) FROM orders.order_items WHERE product_id = $3 AND order_id >= $1 AND order_id < $2",
                *hours,
                sale["product_id"],
            )
            expected += passing * sale["lines"] / orders
        if expected > 2:
            noise = 4 * FLASH_FACTOR / math.sqrt(max(1, sold))
            self._line("flash sale's product against other hours", FLASH_FACTOR, sold / expected, 15 + noise, "×")

    async def _items(self) -> dict[str, Any]:
        plan, shop = self._plan, self._shop
        rows = await self._rows(
            f"""
            SELECT i.product_id, floor((extract(epoch FROM o.created_at) * 1000 - $1) / {WEEK_MS})::int AS week,
                   extract(month FROM o.created_at AT TIME ZONE 'UTC')::int AS month, count(*) AS lines
            FROM orders.order_items i JOIN orders.orders o ON o.id = i.order_id
            WHERE o.{self._seeded} GROUP BY 1, 2, 3
            """,  # noqa: S608
            plan.first_week_ms,
        )
        number = {product.product_id: n for n, product in enumerate(shop.goods.products)}
        place = np.array([[number[row[0]], row[1], row[2], row[3]] for row in rows], dtype=np.int64)
        sold = np.zeros((plan.weeks, plan.products))
        np.add.at(sold, (place[:, 1], place[:, 0]), place[:, 3])
        self._line("items in an order", 2.5, float(sold.sum()) / plan.orders, 0.05)
        elasticities = self._elasticities(sold)
        by_month = np.zeros((len(CATEGORIES), 12))
        np.add.at(by_month, (shop.goods.draft.category[place[:, 0]], place[:, 2] - 1), place[:, 3])
        months = self._seasons(by_month)
        await self._tastes()
        await self._companions()
        return {"elasticities": elasticities, "months": months}

    def _elasticities(self, sold: Floats) -> dict[str, tuple[float, float]]:
        """What an offer sells more, by room of the shop, against the weeks of the same products without one."""
        draft = self._shop.goods.draft
        ratio = self._shop.goods.prices / np.median(self._shop.goods.prices, axis=0)
        # against the same category's sales in the same week, so that seasons do not pass for prices
        by_category = np.zeros((self._plan.weeks, len(CATEGORIES)))
        np.add.at(by_category.T, draft.category, sold.T)
        week_total = by_category[:, draft.category]
        # in a week in which everything is on offer, no offer stands out
        calm = (ratio < 0.93).mean(axis=1, keepdims=True) < 0.12
        offered, plain = (ratio < 0.93) & calm, np.abs(ratio - 1) < 0.02
        for_sale = (np.arange(self._plan.weeks)[:, None] >= draft.available[:, 0]) & (
            np.arange(self._plan.weeks)[:, None] < draft.available[:, 1]
        )
        bought = plain & for_sale
        usual = (sold * bought).sum(axis=0) / np.maximum((week_total * bought).sum(axis=0), 1)
        result = {}
        for group, numbers in taste.GROUPS.items():
            room = (draft.category >= numbers.start) & (draft.category < numbers.stop)
            cells = offered & for_sale & room
            got, expected = float(sold[cells].sum()), float((usual * week_total)[cells].sum())
            if got < 200 or expected <= 0:
                continue
            weight = (usual * week_total)[cells]
            target = _muted(float(np.mean(draft.elasticity[room])), float(np.average(ratio[cells], weights=weight)))
            found = _exponent(ratio[cells], weight, got)
            result[group] = (target, found)
            noise = 4 / math.sqrt(got) / 0.22
            self._line(f"price elasticity, {group}", target, found, 0.35 + noise)
        return result

    def _seasons(self, sold: Floats) -> Floats:
        """Categories' shares of what is bought, by month."""
        places = {category.name: n for n, category in enumerate(CATEGORIES)}
        share: Floats = sold / np.maximum(sold.sum(axis=0), 1)
        for name, month, other in (("Garden", 5, 11), ("Winter Sports", 1, 7), ("Toys", 12, 6)):
            wanted = [taste.season(dt.datetime(2026, m, 15, tzinfo=dt.UTC))[places[name]] for m in (month, other)]
            found = share[places[name], month - 1] / max(share[places[name], other - 1], 1e-9)
            if sold[places[name], other - 1] >= 30:
                # a third of the lines follows favourites and companions, which know no season
                muted = [0.58 * value + 0.42 for value in wanted]
                target = muted[0] / muted[1]
                noise = 4 * target / math.sqrt(sold[places[name], other - 1])
                self._line(f"{name}, month {month} against {other}", target, float(found), 0.3 * target + noise, "×")
        return share

    async def _tastes(self) -> None:
        """How much more than all customers each segment buys in the room that it likes best."""
        people = self._shop.people
        sample = np.flatnonzero(np.arange(len(people.customers)) % max(1, len(people.customers) // 4_000) == 0)
        rows = await self._rows(
            """
            SELECT o.user_id, i.category, count(*) AS lines FROM orders.orders o
            JOIN orders.order_items i ON i.order_id = o.id WHERE o.user_id = ANY($1::uuid[]) GROUP BY 1, 2
            """,
            [people.customers[n].user_id for n in sample],
        )
        place = {people.customers[n].user_id: int(people.segment[n]) for n in sample}
        group_of = {CATEGORIES[n].name: group for group, numbers in taste.GROUPS.items() for n in numbers}
        bought: dict[tuple[int, str], int] = {}
        for row in rows:
            key = place[row["user_id"]], group_of[row["category"]]
            bought[key] = bought.get(key, 0) + row["lines"]
        everything = max(1, sum(bought.values()))
        for number, segment in enumerate(taste.SEGMENTS):
            if segment.bargains:
                continue
            liked = max(segment.likes, key=lambda group: segment.likes[group])
            own = sum(lines for (who, _), lines in bought.items() if who == number)
            mine = bought.get((number, liked), 0) / max(1, own)
            all_of = sum(lines for (_, group), lines in bought.items() if group == liked) / everything
            if own >= 500:
                target = _liking(segment, liked)
                self._line(f"{segment.name}: {liked} against all customers", target, mine / all_of, 0.35 * target, "×")

    async def _companions(self) -> None:
        """How often the two lines of an order go together."""
        goods = self._shop.goods
        rows = await self._rows(
            """
            SELECT array_agg(i.product_id) AS products
            FROM (SELECT id FROM orders.orders WHERE log_offset IS NULL ORDER BY id LIMIT 40000) o
            JOIN orders.order_items i ON i.order_id = o.id GROUP BY o.id HAVING count(*) = 2
            """
        )
        number = {product.product_id: n for n, product in enumerate(goods.products)}
        pairs = np.array([[number[row["products"][0]], number[row["products"][1]]] for row in rows])
        companions = goods.draft.companions
        forth = (companions[pairs[:, 0]] == pairs[:, 1][:, None]).any(axis=1)
        together = (forth | (companions[pairs[:, 1]] == pairs[:, 0][:, None]).any(axis=1)).mean()
        noise = 3.5 * math.sqrt(0.25 / len(pairs))
        # companions that are sold out or not launched yet are not bought
        target = taste.COMPANION_SHARE * 100 * 0.9
        self._line(
            "orders of two that go together",
            target,
            float(together) * 100,
            4.0 + noise * 100,
            "%",
        )

    async def _stock(self) -> dict[str, Any]:
        rows = await self._rows(
            "SELECT sum(quantity - reserved_quantity) AS units FROM inventory.inventory GROUP BY product_id"
        )
        units = np.array([row["units"] for row in rows], dtype=np.float64)
        noise = 3.5 * math.sqrt(0.25 / len(units))
        for subject, target, found in (
            ("products with 50–500 units", 1 - LOW_SHARE - OUT_SHARE, ((units >= 50) & (units <= 500)).mean()),
            ("products with 10–50 units", LOW_SHARE, ((units >= 10) & (units < 50)).mean()),
            ("products sold out", OUT_SHARE, (units <= 0).mean()),
        ):
            self._line(subject, target * 100, float(found) * 100, (0.005 + noise * 0.1) * 100, "%")
        return {"stock": units}

    async def _money(self) -> dict[str, Any]:
        rows = await self._rows(
            "SELECT method, count(*) AS payments, percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ms) AS median "
            "FROM payments.payments WHERE provider = 'simulated' GROUP BY 1"
        )
        count = sum(row["payments"] for row in rows)
        for row in rows:
            if row["method"] in METHODS:
                self._share(f"payments by {row['method']}", METHODS[row["method"]], row["payments"] / count, 0.015)
        delays: dict[str, dict[str, float]] = {}
        for row in await self._rows(
            """
            SELECT s.carrier, a.region, avg((s.delay_seconds > 0)::int)::float8 AS late
            FROM (SELECT * FROM shipping.shipments WHERE status = 'delivered' ORDER BY id LIMIT 400000) s
            JOIN (SELECT user_id, CASE
                WHEN region IN ('NY', 'PA', 'MA') THEN 'Northeast'
                WHEN region IN ('IL', 'OH', 'IN', 'MI', 'WI', 'MO', 'NE', 'MN') THEN 'Midwest'
                WHEN region IN ('CA', 'AZ', 'WA', 'CO', 'NV', 'OR', 'NM', 'HI', 'AK', 'UT', 'ID') THEN 'West'
                ELSE 'South' END AS region FROM accounts.addresses WHERE is_default) a USING (user_id)
            GROUP BY 1, 2 ORDER BY 1, 2
            """
        ):
            delays.setdefault(row["carrier"], {})[row["region"]] = row["late"] * 100
        return {"delays": delays}

    async def _experiments(self) -> dict[str, Any]:
        (working,) = (e for e in assignments(self._plan, self._shop.people) if e.experiment.lines)
        rows = await self._rows(
            """
            SELECT a.variant, count(DISTINCT o.id) AS orders, count(*) AS lines
            FROM experiments.experiments e JOIN experiments.assignments a ON a.experiment = e.key
            JOIN orders.orders o ON o.user_id = a.user_id AND o.created_at >= e.started_at AND o.created_at < e.ended_at
            JOIN orders.order_items i ON i.order_id = o.id
            WHERE e.key = $1 GROUP BY 1
            """,
            working.experiment.key,
        )
        found = {row["variant"]: (row["lines"] / row["orders"], row["orders"]) for row in rows}
        control, treated = working.experiment.variants[0], working.experiment.variants[-1]
        if control in found and treated in found and min(found[control][1], found[treated][1]) > 500:
            noise = 4 * 1.25 * math.sqrt(1 / found[control][1] + 1 / found[treated][1])
            gain = found[treated][0] - found[control][0]
            self._line(f"experiment {working.experiment.key}: more lines", working.experiment.lines, gain, 0.02 + noise)
        return {}

    async def _fraud(self) -> dict[str, Any]:
        file = self._settings.folder / TRUTH
        if not file.exists():
            raise NotSeeded(f"the truth about fraud is missing: {file}")
        kinds: dict[str, int] = dict(pl.read_parquet(file)["kind"].value_counts().iter_rows())
        orders = self._plan.orders
        all_fraud = sum(kinds.get(kind.name.lower(), 0) for kind in fraud.SHARES)
        self._share("orders that are fraud", sum(fraud.SHARES.values()), all_fraud / orders, 0.002)
        for kind, share in fraud.SHARES.items():
            found = kinds.get(kind.name.lower(), 0) / orders
            noise = 3.5 * math.sqrt(share * 12 / max(1, orders))
            self._line(f"fraud: {kind.name.lower()}", share * 100, found * 100, (0.1 * share + noise) * 100, "%")
        return {"kinds": kinds}


def _exponent(ratio: Floats, weight: Floats, got: float) -> float:
    """The elasticity with which products at these prices would together sell what they did."""
    low, high = -2.0, 8.0
    for _ in range(60):
        middle = (low + high) / 2
        if float((weight * ratio**-middle).sum()) < got:
            low = middle
        else:
            high = middle
    return high


def _muted(elasticity: float, ratio: float) -> float:
    """What is seen of an elasticity: companions of other products are bought whatever they cost."""
    companions = taste.COMPANION_SHARE * 0.6
    return math.log((1 - companions) * ratio**-elasticity + companions) / -math.log(ratio)


def _liking(segment: taste.Segment, liked: str) -> float:
    """How much more than all customers a segment buys of a room, given what else makes people buy."""
    usual = taste.category_weights()
    size = {group: float(usual[numbers.start : numbers.stop].sum()) for group, numbers in taste.GROUPS.items()}

    def share(weights: dict[str, float]) -> float:
        total = sum(size[group] * weights.get(group, 1.0) for group in taste.GROUPS)
        return size[liked] * weights.get(liked, 1.0) / total

    free = (1 - taste.FAVOURITE_SHARE) * (1 - taste.COMPANION_SHARE * 0.6)
    flat = len(taste.GROUPS[liked]) / len(CATEGORIES)
    kept = free + taste.COMPANION_SHARE * 0.6 * (1 - taste.FAVOURITE_SHARE)
    mine = kept * share(segment.likes) + (1 - kept) * flat
    everyone = sum(
        entry.share * entry.appetite * (kept * share(entry.likes) + (1 - kept) * flat) for entry in taste.SEGMENTS
    ) / sum(entry.share * entry.appetite for entry in taste.SEGMENTS)
    return mine / everyone

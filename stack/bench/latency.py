"""How long one order takes on an idle shop: its placement, and from there to its confirmation."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import httpx
from aiokafka.admin import NewTopic
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from kit.kafka import EventProducer
from stack import kafka
from stack.demo import ORDERS_A_CUSTOMER, RushSettings, customers
from stack.errors import StackError
from stack.shoppers import Offer, Refused, ShopAway, Shopper, choose_cart, offers, percentile, watching

PLACEMENT_GOAL_MS: Final = 20.0
CONFIRMATION_GOAL_MS: Final = 200.0
"""Medians that the shop promises on an idle machine."""

_PAUSE: Final = 0.05
_PAYMENT: Final = ("card", "pm_card_mastercard")
_CONFIRMATION_SECONDS: Final = 20.0


@dataclass(frozen=True, slots=True)
class Series:
    """Measured times, in milliseconds."""

    name: str
    values: tuple[float, ...]

    @property
    def p50(self) -> float:
        """Median."""
        return percentile(self.values, 0.50)

    @property
    def p95(self) -> float:
        """What 95 of 100 do not pass."""
        return percentile(self.values, 0.95)

    @property
    def p99(self) -> float:
        """What 99 of 100 do not pass."""
        return percentile(self.values, 0.99)


@dataclass(frozen=True, slots=True)
class Latency:
    """One run. ``by_events`` ends with the news at the customer's WebSocket, ``by_clock`` with the recorded transition.

    ``round_trip`` (a bare ``GET /healthz``) and ``produce`` (one acknowledged message) are what the machine gave at the
    same time: figures of different machines compare by their ratio.
    """

    placement: Series
    by_events: Series
    by_clock: Series
    round_trip: Series
    produce: Series

    @property
    def series(self) -> tuple[Series, ...]:
        """All of them."""
        return self.placement, self.by_events, self.by_clock, self.round_trip, self.produce

    @property
    def baseline(self) -> float:
        """One bare request and one bare message, medians, in milliseconds."""
        return self.round_trip.p50 + self.produce.p50

    @property
    def kept(self) -> bool:
        """Whether the medians keep what the shop promises."""
        return self.placement.p50 < PLACEMENT_GOAL_MS and self.by_events.p50 < CONFIRMATION_GOAL_MS

    def document(self) -> dict[str, Any]:
        """The run as flat JSON, milliseconds."""
        document: dict[str, Any] = {"orders": len(self.placement.values), "kept": self.kept}
        for series in self.series:
            document |= {f"{series.name}_{p}": round(getattr(series, p), 3) for p in ("p50", "p95", "p99")}
        document["placement_to_baseline"] = round(self.placement.p50 / self.baseline, 2)
        document["confirmation_to_baseline"] = round(self.by_events.p50 / self.baseline, 2)
        return document

    def render(self) -> RenderableType:
        """The run as a table."""
        table = Table(show_edge=False, pad_edge=False)
        table.add_column("")
        for name in ("p50", "p95", "p99"):
            table.add_column(f"{name} ms", justify="right")
        table.add_column("× baseline", justify="right")
        for series in self.series:
            figures = [f"{value:.1f}" for value in (series.p50, series.p95, series.p99)]
            table.add_row(_TITLES[series.name], *figures, f"{series.p50 / self.baseline:.1f}")
        goals = f"goals: placement p50 < {PLACEMENT_GOAL_MS:.0f} ms, confirmed p50 < {CONFIRMATION_GOAL_MS:.0f} ms"
        verdict = Text.assemble(
            ("✓ kept" if self.kept else "✗ missed", "green" if self.kept else "red"), (f"  {goals}", "dim")
        )
        return Group(table, Text(), verdict)


_TITLES: Final = {
    "placement": "placement (checkout request)",
    "confirmation": "checkout to CONFIRMED (WebSocket)",
    "confirmation_recorded": "checkout to CONFIRMED (recorded)",
    "round_trip": "baseline: GET /healthz",
    "produce": "baseline: one acknowledged message",
}


async def measure(orders: int, warm_up: int, note: Callable[[str], None]) -> Latency:
    """Places orders one after the other.

    Raises:
        StackError: if the shop can't be used, or an order is not confirmed.
    """
    settings = RushSettings()
    try:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(httpx.AsyncClient(base_url=settings.url("gateway"), timeout=10))
            round_trip = await _round_trips(http, orders)
            produce = await _produces(settings, orders)
            shelf = [offer for offer in await offers(http) if offer.stock > 20]
            shoppers = await _sign_in(settings, http, -(-(orders + warm_up) // ORDERS_A_CUSTOMER), note)
            await stack.enter_async_context(watching(shoppers))
            measured: list[tuple[str, float, float]] = []
            for number in range(orders + warm_up):
                note(f"order {number + 1} of {orders + warm_up}")
                measured.append(await _order(shoppers[number // ORDERS_A_CUSTOMER], shelf))
                await asyncio.sleep(_PAUSE)
    except (httpx.HTTPError, Refused, ShopAway) as error:
        raise StackError(f"the shop can't be used: {error}") from error
    measured = measured[warm_up:]
    recorded = await _recorded(settings, [order_id for order_id, *_ in measured])
    return Latency(
        placement=Series("placement", tuple(placement for _, placement, _ in measured)),
        by_events=Series("confirmation", tuple(confirmation for *_, confirmation in measured)),
        by_clock=Series("confirmation_recorded", tuple(recorded)),
        round_trip=Series("round_trip", tuple(round_trip)),
        produce=Series("produce", tuple(produce)),
    )


async def _sign_in(
    settings: RushSettings, http: httpx.AsyncClient, count: int, note: Callable[[str], None]
) -> list[Shopper]:
    known = customers(settings)
    if count > len(known):
        raise StackError(f"{count} customers are needed, the demo shop has {len(known)}")
    shoppers = []
    for number, customer in enumerate(random.sample(known, count)):
        note(f"signing in customer {number + 1} of {count}")
        shopper = Shopper(http, customer.address, websocket_url=settings.url("gateway").replace("http", "ws", 1))
        await shopper.sign_in(customer.email, settings.demo_password.get_secret_value())
        shoppers.append(shopper)
    return shoppers


async def _order(shopper: Shopper, shelf: Sequence[Offer]) -> tuple[str, float, float]:
    await shopper.empty_cart()
    await shopper.fill_cart(choose_cart(random.Random(), shelf))
    order = await shopper.check_out(*_PAYMENT)
    deadline = time.perf_counter() + _CONFIRMATION_SECONDS
    while order.confirmation is None:
        if order.settled.is_set() or time.perf_counter() > deadline:
            raise StackError(f"order {order.order_id} was not confirmed: {order.status} {order.reason}".rstrip())
        await asyncio.sleep(0.001)
    return order.order_id, order.placement * 1000, order.confirmation * 1000


async def _round_trips(http: httpx.AsyncClient, count: int) -> list[float]:
    times = []
    for number in range(count + 10):
        began = time.perf_counter()
        (await http.get("/healthz")).raise_for_status()
        if number >= 10:
            times.append((time.perf_counter() - began) * 1000)
    return times


async def _produces(settings: RushSettings, count: int) -> list[float]:
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    producer = EventProducer(settings)
    times = []
    async with kafka.admin(settings.kafka_bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
        try:
            for number in range(count + 10):
                began = time.perf_counter()
                await producer.send_raw(topic, b"x" * 1000, b"key")
                if number >= 10:
                    times.append((time.perf_counter() - began) * 1000)
        finally:
            await producer.stop()
            await admin.delete_topics([topic])
    return times


async def _recorded(settings: RushSettings, order_ids: list[str]) -> list[float]:
    connection = await asyncpg.connect(settings.database_url.get_secret_value().replace("+asyncpg", "", 1))
    try:
        rows = await connection.fetch(
            """
            SELECT extract(epoch FROM t.occurred_at - o.created_at) * 1000 AS ms
            FROM orders.orders o JOIN orders.order_transitions t ON t.order_id = o.id
            WHERE o.id = ANY($1::uuid[]) AND t.status = 'confirmed' AND t.previous_status <> 'confirmed'
            """,
            order_ids,
        )
    finally:
        await connection.close()
    return [float(row["ms"]) for row in rows]


def draw(latency: Latency, file: str) -> None:
    """Saves the distributions as a picture."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    shown = ((latency.placement, PLACEMENT_GOAL_MS), (latency.by_events, CONFIRMATION_GOAL_MS))
    for axis, (series, goal) in zip(axes, shown, strict=True):
        axis.hist(series.values, bins=30, color="#4c78a8")
        axis.axvline(series.p50, color="#222222", label=f"p50 {series.p50:.1f} ms")
        axis.axvline(series.p99, color="#e45756", linestyle="--", label=f"p99 {series.p99:.1f} ms")
        axis.set(title=f"{_TITLES[series.name]}, goal p50 < {goal:.0f} ms", xlabel="ms", ylabel="orders")
        axis.legend()
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)

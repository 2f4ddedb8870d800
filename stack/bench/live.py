"""How fresh, right and cheap the live metrics are: orders of the generator against what the windows show."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from redis.asyncio import Redis
from rich.console import RenderableType
from rich.table import Table

from kit import redis as kit_redis
from kit.bookmarks import Move
from kit.clock import SystemClock
from kit.settings import Settings
from kit.tasks import running
from oltp.metrics.consumer import LiveConsumer
from oltp.metrics.domain import ORDERS, Window
from oltp.metrics.store import LiveStore, window_key
from stack.bench.figures import percentile
from stack.bench.run import running_instance
from stack.bench.sampler import CpuMeter, tree_totals
from stack.errors import StackError
from stack.generate.patterns import Pattern
from stack.generate.run import Plan, generate
from stack.supervision import Supervisor

PROCESS: Final = "live-metrics"
FRESH_MS: Final = 1000.0

_POLL_SECONDS: Final = 0.02
_SETTLE_SECONDS: Final = 10.0
_REBUILD_SECONDS: Final = 300.0
_SPARE_DATABASE: Final = 15


@dataclass(slots=True)
class Measured:
    """One run. ``stale_windows`` are windows whose orders are not those that Postgres has for them."""

    rate: float
    seconds: float
    orders: int = 0
    seen: int = 0
    freshness_ms: list[float] = field(default_factory=list)
    stale_windows: int = 0
    compared_windows: int = 0
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    rebuilt_events: int = 0
    rebuilt_seconds: float = 0.0

    @property
    def kept(self) -> bool:
        """Whether every order was shown within a second, in its own window."""
        p99 = percentile(self.freshness_ms, 0.99)
        return p99 is not None and p99 < FRESH_MS and not self.stale_windows and self.seen >= self.orders > 0

    def document(self) -> dict[str, Any]:
        """The figures as flat JSON."""
        cpu = self.cpu_seconds.get(PROCESS, 0.0)
        return {
            "rate": self.rate,
            "seconds": round(self.seconds, 1),
            "orders": self.orders,
            "orders_shown": self.seen,
            "freshness_ms_p50": _rounded(percentile(self.freshness_ms, 0.5)),
            "freshness_ms_p99": _rounded(percentile(self.freshness_ms, 0.99)),
            "freshness_ms_max": _rounded(max(self.freshness_ms, default=None)),
            "windows_compared": self.compared_windows,
            "windows_wrong": self.stale_windows,
            "cpu_seconds": round(cpu, 2),
            "cpu_core_share": round(cpu / self.seconds, 4) if self.seconds else None,
            "cpu_us_per_order": round(cpu / self.orders * 1e6, 1) if self.orders else None,
            "redis_cpu_seconds": round(self.cpu_seconds.get("redis", 0.0), 2),
            "rebuilt_messages": self.rebuilt_events,
            "rebuilt_messages_per_second": (
                round(self.rebuilt_events / self.rebuilt_seconds) if self.rebuilt_seconds else None
            ),
            "kept": self.kept,
        }

    def render(self) -> RenderableType:
        """The figures as a table."""
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        table.add_column("figure", no_wrap=True)
        table.add_column("value", justify="right")
        for name, value in self.document().items():
            table.add_row(name, f"{value:,}" if isinstance(value, int | float) else str(value))
        return table


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


class _Watch:
    """Looks at the windows of seconds every 20 ms: when how many orders were shown."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.looks: list[tuple[float, int]] = []

    async def run(self, since: int) -> None:
        """Looks until cancelled."""
        settled, first = 0, since
        while True:
            now = int(time.time())
            # what is older than its late events are waited for does not change any more: it is read once
            while now - first > _SETTLE_SECONDS * 2:
                settled += int(await self._redis.hget(window_key(Window.SECOND, first), ORDERS) or 0)
                first += 1
            async with self._redis.pipeline(transaction=False) as pipeline:
                for second in range(first, now + 1):
                    pipeline.hget(window_key(Window.SECOND, second), ORDERS)
                shown = await pipeline.execute()
            self.looks.append((time.time(), settled + sum(int(count or 0) for count in shown)))
            await asyncio.sleep(_POLL_SECONDS)


class _Filling(LiveConsumer):
    """Fills windows from the log up to where it ends when it begins, and counts the messages."""

    def __init__(self, settings: Settings, store: LiveStore) -> None:
        super().__init__(settings, store=store, clock=SystemClock())
        self.read_in(f"bench-live-{time.time_ns()}")
        self.messages = 0
        self.began = self.ended = 0.0
        self.done = asyncio.Event()
        self._missing: dict[str, int] = {}

    async def first_offsets(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Remembers where the log ends."""
        first = await super().first_offsets(consumer, partitions)
        ends = await consumer.end_offsets(partitions)
        self._missing = {f"{tp.topic}:{tp.partition}": ends[tp] for tp in partitions if first[tp] < ends[tp]}
        self.began = time.monotonic()
        return first

    async def take(self, records: Sequence[ConsumerRecord], moves: Mapping[str, Move]) -> None:
        """Takes the records and sees whether that was all."""
        await super().take(records, moves)
        self.messages += len(records)
        self.ended = time.monotonic()
        self._missing = {name: end for name, end in self._missing.items() if name not in moves or moves[name][1] < end}
        if not self._missing:
            self.done.set()

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        """Tells Kafka nothing: a group that nobody reads in would seem to fall behind for ever."""


async def measure(rate: float, seconds: float, note: Callable[[str], None]) -> Measured:
    """Generates orders and watches the windows; then fills an empty database of Redis from the log.

    Raises:
        StackError: if the shop or its live metrics do not run.
    """
    instance = await asyncio.to_thread(running_instance)
    supervisor = Supervisor(instance)
    states = await asyncio.to_thread(supervisor.states)
    if PROCESS not in states or not states[PROCESS].pid:
        raise StackError(f"{PROCESS} does not run", "Start it with `surge up`.")
    roots = {name: state.pid for name, state in states.items() if state.pid}
    settings = Settings()
    measured = Measured(rate, seconds)
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(kit_redis.connect(settings))
        database = await asyncpg.connect(settings.database_url.get_secret_value().replace("+asyncpg", "", 1))
        stack.push_async_callback(database.close)
        meter, watch = CpuMeter(), _Watch(redis)
        meter.read(roots, tree_totals(list(roots.values())))
        began = int(time.time())
        before = time.monotonic()
        watching = asyncio.create_task(watch.run(began))
        note(f"{rate:,.0f} orders a second for {seconds:.0f} s")
        start = dt.datetime.now(dt.UTC)
        plan = Plan(rate=rate, pattern=Pattern.FLAT, seconds=seconds, start=start, speed=1, seed=1, declines=0.05)
        await generate(plan, lambda _: None)
        await asyncio.sleep(_SETTLE_SECONDS)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        measured.cpu_seconds = meter.read(roots, tree_totals(list(roots.values())))
        measured.seconds = time.monotonic() - before
        await _compare(measured, database, redis, watch, began)
        note("filling an empty database from the log")
        await _rebuild(measured, settings)
    return measured


async def _compare(measured: Measured, database: asyncpg.Connection, redis: Redis, watch: _Watch, began: int) -> None:
    rows = await database.fetch(
        "SELECT extract(epoch FROM created_at)::float8 AS at FROM orders.orders WHERE created_at >= to_timestamp($1)"
        " ORDER BY 1",
        began,
    )
    moments = [row["at"] for row in rows]
    measured.orders = len(moments)
    measured.seen = watch.looks[-1][1] if watch.looks else 0
    look = 0
    for rank, at in enumerate(moments, 1):
        while look < len(watch.looks) and watch.looks[look][1] < rank:
            look += 1
        if look == len(watch.looks):
            break
        measured.freshness_ms.append(max(0.0, watch.looks[look][0] - at) * 1000)
    for window in Window:
        wanted: dict[int, int] = {}
        for at in moments:
            start = window.start(int(at))
            wanted[start] = wanted.get(start, 0) + 1
        for start, count in wanted.items():
            if start < began:  # it has orders from before the run
                continue
            measured.compared_windows += 1
            shown = int(await redis.hget(window_key(window, start), ORDERS) or 0)
            measured.stale_windows += shown != count


async def _rebuild(measured: Measured, settings: Settings) -> None:
    """Reads what the log keeps of the last day into a database of Redis that nobody uses."""
    spare = kit_redis.connect(settings)
    spare.connection_pool.connection_kwargs["db"] = _SPARE_DATABASE
    try:
        if await spare.dbsize():
            raise StackError(f"database {_SPARE_DATABASE} of Redis is not empty: it can't be filled for a measurement")
        filling = _Filling(settings.model_copy(update={"process": "bench-live"}), LiveStore(spare))
        async with running([filling]):
            try:
                async with asyncio.timeout(_REBUILD_SECONDS):
                    await filling.done.wait()
            except TimeoutError:
                raise StackError(f"the windows were not filled within {_REBUILD_SECONDS:.0f} s") from None
        measured.rebuilt_events, measured.rebuilt_seconds = filling.messages, filling.ended - filling.began
    finally:
        await spare.flushdb()
        await spare.aclose()

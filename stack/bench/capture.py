"""From a commit in the shop to the committed row in the warehouse: how long that takes, how many changes it carries."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from cdc import catalogue, sink, topics
from cdc.catalogue import Table
from cdc.raw import qualified
from cdc.settings import CdcSettings
from cdc.source import PUBLICATION
from stack.bench.run import Bench, opened, schedules_held_off
from stack.bench.sampler import CpuMeter, tree_totals
from stack.definitions import CONNECT, KAFKA, POSTGRES, SINK, WAREHOUSE
from stack.errors import StackError
from stack.instance import Instance
from stack.shoppers import percentile

RATE: Final = 50.0
LATENCY_GOAL_MS: Final = 500.0
KNEE_GOAL: Final = 10_000.0
STEPS: Final = (2_500.0, 5_000.0, 7_500.0, 10_500.0, 13_000.0, 16_000.0, 20_000.0)
"""Row changes a second that are tried one after the other, until one is not kept up with."""

_WARM_UP_SECONDS: Final = 15.0
_STEP_SECONDS: Final = 6.0
_BATCH: Final = 250
_BEHIND_SECONDS: Final = 1.0
"""A rate is kept up with if no more than the changes of so many seconds are on their way when it ends."""

_DRAIN_SECONDS: Final = 180.0

_TOUCHES: Final = {
    "orders.orders": "UPDATE orders.orders SET queue_position = queue_position WHERE id = ANY($1)",
    "orders.order_items": "UPDATE orders.order_items SET quantity = quantity WHERE id = ANY($1)",
    "payments.payments": "UPDATE payments.payments SET attempt = attempt WHERE order_id = ANY($1)",
}
"""Changes that change nothing: the books stay as they are, and the log does not know."""

_KEYS: Final = {
    "orders.orders": "SELECT id FROM orders.orders WHERE status IN ('delivered', 'cancelled') LIMIT $1",
    "orders.order_items": "SELECT id FROM orders.order_items LIMIT $1",
    "payments.payments": "SELECT order_id FROM payments.payments WHERE status IN ('succeeded', 'failed') LIMIT $1",
}
_ROWS: Final = 20_000

_LATENCIES: Final = """
    SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision * 1000 - __source_ts_ms
    FROM {} WHERE __emitted_at >= $1 AND __op <> 'r'
"""

_LATE: Final = """
    SELECT count(*)::integer AS rows,
           coalesce(extract(epoch FROM max(pg_xact_commit_timestamp(xmin)) - $2), 0)::double precision AS seconds
    FROM {} WHERE __emitted_at >= $1 AND pg_xact_commit_timestamp(xmin) > $2
"""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Step:
    """One rate of changes. ``behind``: changes on their way at its end; ``drained``: seconds until none was."""

    wanted: float
    made: float
    behind: int
    drained: float

    @property
    def kept(self) -> bool:
        return self.made >= 0.95 * self.wanted and self.behind <= self.made * _BEHIND_SECONDS

    def __str__(self) -> str:
        sign = "✓" if self.kept else "✗"
        return (
            f"{sign} {self.wanted:,.0f} changes/s wanted, {self.made:,.0f} made,"
            f" {self.behind:,} on their way at the end, none {self.drained:.1f} s later"
        )


@dataclass(frozen=True, slots=True)
class Capture:
    """What was measured. Milliseconds; CPU in seconds by process over the load, and per order."""

    rate: float
    orders: int
    changes: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms_an_order: dict[str, float]
    steps: tuple[Step, ...]
    drain_rate: float

    @property
    def knee(self) -> float:
        """The most changes a second that were kept up with."""
        return max((step.made for step in self.steps if step.kept), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether both goals are met, or those that were measured."""
        return (not self.changes or self.p95_ms < LATENCY_GOAL_MS) and (not self.steps or self.knee >= KNEE_GOAL)

    def document(self) -> dict[str, Any]:
        """As flat JSON."""
        return {**asdict(self), "knee": self.knee, "passed": self.passed}

    def render(self) -> RenderableType:
        """For people."""
        grid = Grid.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(justify="right", style="bold")
        grid.add_column(style="dim")
        if self.changes:
            what = f"{self.changes:,} row changes of {self.orders:,} orders at {self.rate:.0f}/s"
            grid.add_row("COMMIT → raw", f"{self.p50_ms:.0f} ms", f"p50, {what}")
            grid.add_row("", f"{self.p95_ms:.0f} ms", f"p95, goal < {LATENCY_GOAL_MS:.0f} ms")
            grid.add_row("", f"{self.p99_ms:.0f} ms", "p99")
            for name, value in self.cpu_ms_an_order.items():
                grid.add_row(f"CPU of {name}", f"{value:.2f} ms", "an order")
        if self.steps:
            grid.add_row("knee", f"{self.knee:,.0f}/s", f"row changes kept up with, goal ≥ {KNEE_GOAL:,.0f}")
            grid.add_row("beyond it", f"{self.drain_rate:,.0f}/s", "row changes written while a backlog was drained")
        verdict = Text("✓ kept" if self.passed else "✗ missed", "green" if self.passed else "red")
        return Group(grid, verdict)


async def measure(
    instance: Instance, rate: float, seconds: float, note: Note, tell: Note, *, latency: bool, knee: bool
) -> Capture:
    """Measures one or both: latency beside all that the platform does, the knee with Dagster's own runs held off.

    Raises:
        StackError: if the shop does not run, or its changes do not flow.
    """
    settings = CdcSettings()
    async with settings.shop() as shop:
        tables = await catalogue.read(shop)
        if not await shop.fetchval("SELECT count(*) > 1 FROM pg_publication_tables WHERE pubname = $1", PUBLICATION):
            raise StackError("the shop's tables are not captured: `surge cdc up`")
    found: dict[str, Any] = {
        "rate": rate,
        "orders": 0,
        "changes": 0,
        "p50_ms": 0.0,
        "p95_ms": 0.0,
        "p99_ms": 0.0,
        "cpu_ms_an_order": {},
    }
    if latency:
        async with opened(note) as bench:
            found |= await _latency(bench, settings, tables, rate, seconds)
    steps: list[Step] = []
    drain_rate = 0.0
    if knee:
        with schedules_held_off(instance):
            steps, drain_rate = await _knee(settings, tables, note, tell)
    return Capture(**found, steps=tuple(steps), drain_rate=drain_rate)


async def _latency(
    bench: Bench, settings: CdcSettings, tables: Sequence[Table], rate: float, seconds: float
) -> dict[str, Any]:
    async with settings.warehouse() as warehouse:
        await bench.load(rate, _WARM_UP_SECONDS)  # workers that have just started compile their code first
        await _drained(settings, tables)
        since = await warehouse.fetchval("SELECT clock_timestamp()")
        roots = {
            name: pid
            for name, pid in bench.sampler.pids().items()
            if name in (POSTGRES, KAFKA, CONNECT, SINK, WAREHOUSE)
        }
        meter = CpuMeter()
        meter.read(roots, tree_totals(list(roots.values())))
        load = await bench.load(rate, seconds)
        await bench.drain(load)
        await _drained(settings, tables)
        cpu = meter.read(roots, tree_totals(list(roots.values())))
        values: list[float] = []
        for table in tables:
            values += [row[0] for row in await warehouse.fetch(_LATENCIES.format(qualified(table.raw)), since)]
    orders = round(rate * seconds)
    if not values:
        raise StackError("no change came into the warehouse: see `surge cdc status`")
    return {
        "orders": orders,
        "changes": len(values),
        "p50_ms": round(percentile(values, 0.50), 1),
        "p95_ms": round(percentile(values, 0.95), 1),
        "p99_ms": round(percentile(values, 0.99), 1),
        "cpu_ms_an_order": {name: round(value / orders * 1000, 3) for name, value in cpu.items()},
    }


async def _behind(settings: CdcSettings, consumer: Any, tables: Sequence[Table]) -> int:
    ends = await topics.ends(consumer, [table.topic for table in tables])
    done = await topics.committed(settings.kafka_bootstrap, sink.GROUP)
    return sum(max(0, end - done.get(topic, 0)) for topic, end in ends.items())


async def _drained(settings: CdcSettings, tables: Sequence[Table]) -> None:
    """Waits until nothing is on its way, twice in a row: the sink commits every two seconds.

    Raises:
        StackError: if that does not come about.
    """
    async with topics.reader(settings.kafka_bootstrap) as consumer:
        deadline = time.monotonic() + _DRAIN_SECONDS
        still = 0
        while still < 2:
            still = still + 1 if await _behind(settings, consumer, tables) == 0 else 0
            if time.monotonic() > deadline:
                raise StackError(f"changes are still on their way after {_DRAIN_SECONDS:.0f} s: `surge cdc status`")
            await asyncio.sleep(0.5)


async def _knee(settings: CdcSettings, tables: Sequence[Table], note: Note, tell: Note) -> tuple[list[Step], float]:
    touched = [table for table in tables if table.name in _TOUCHES]
    steps: list[Step] = []
    drain_rate = 0.0
    async with settings.shop() as shop, settings.warehouse() as warehouse:
        keys = {name: [row[0] for row in await shop.fetch(query, _ROWS)] for name, query in _KEYS.items()}
        if min(map(len, keys.values())) < _BATCH:
            raise StackError("too few orders to change: `surge up` places the demo's")
        for wanted in (1_000.0, *STEPS):
            note(f"{wanted:,.0f} changes a second")
            began = await warehouse.fetchval("SELECT clock_timestamp()")
            made, spent = await _touch(shop, keys, wanted)
            behind, drained = await _watch(shop, warehouse, touched, keys, began)
            if wanted == 1_000.0:
                continue  # warms the workers
            steps.append(Step(wanted, round(made / spent, 1), behind, round(drained, 2)))
            tell(str(steps[-1]))
            if drained > _BEHIND_SECONDS:
                drain_rate = round(behind / drained, 1)
            if not steps[-1].kept:
                break
    return steps, drain_rate


async def _touch(shop: Any, keys: dict[str, list[Any]], rate: float) -> tuple[int, float]:
    """Changes rows at a rate, in transactions of ``_BATCH``; how many, and in how many seconds."""
    names = list(_TOUCHES)
    began = time.monotonic()
    made = number = 0
    while (spent := time.monotonic() - began) < _STEP_SECONDS:
        if made > spent * rate:
            await asyncio.sleep(min(0.02, made / rate - spent))
            continue
        name = names[number % len(names)]
        pool = keys[name]
        at = (number // len(names) * _BATCH) % max(1, len(pool) - _BATCH)
        await shop.execute(_TOUCHES[name], pool[at : at + _BATCH])
        made += _BATCH
        number += 1
    return made, time.monotonic() - began


async def _watch(
    shop: Any, warehouse: Any, tables: Sequence[Table], keys: dict[str, list[Any]], began: Any
) -> tuple[int, float]:
    """Waits until all that was changed is in ``raw``: how much of it came after now, and how long the last took."""
    now = await warehouse.fetchval("SELECT clock_timestamp()")
    lsn = await shop.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    for table in tables:
        await shop.execute(_TOUCHES[table.name], keys[table.name][:1])
    deadline = time.monotonic() + _DRAIN_SECONDS
    for table in tables:
        last = f"SELECT __source_lsn FROM {qualified(table.raw)} WHERE {table.key[0]} = $1"
        while (await warehouse.fetchval(last, keys[table.name][0]) or 0) < lsn:
            if time.monotonic() > deadline:
                raise StackError(f"changes are still on their way after {_DRAIN_SECONDS:.0f} s: `surge cdc status`")
            await asyncio.sleep(0.05)
    late, latest = 0, 0.0
    for table in tables:
        row = await warehouse.fetchrow(_LATE.format(qualified(table.raw)), began, now)
        late += row["rows"]
        latest = max(latest, row["seconds"])
    return late, latest

"""What a run of dbt takes after orders have changed, against a full build, and whether both come to the same rows."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cdc.settings import CdcSettings
from stack import dbt
from stack.bench.run import schedules_held_off
from stack.errors import StackError
from stack.instance import Instance
from stack.warehouse import Warehouse

SECONDS_GOAL: Final = 60.0
RATIO_GOAL: Final = 10.0
FULL_SECONDS_GOAL: Final = 600.0

_CHUNK: Final = 5_000
_ARRIVAL_SECONDS: Final = 300.0
_DEAREST: Final = 8

_HOURLY: Final = ("--exclude", "tag:daily", "--exclude-resource-type", "unit_test")
"""What changes with the day alone is left to the day's run, and unit tests to those of the project, as Dagster does."""

_PICK: Final = """
    SELECT id FROM orders.orders
    WHERE created_at >= now() - make_interval(days => $1)
    ORDER BY hashtextextended(id::text, $2) LIMIT $3
"""
_TOUCH: Final = "UPDATE orders.orders SET updated_at = now() WHERE id = ANY($1)"
"""A change that the books don't mind, and that takes the way of any other through capture, facts and aggregates."""

Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Build:
    """One run of dbt: its seconds, and those of its nodes, the dearest first."""

    seconds: float
    nodes: tuple[tuple[str, float], ...]


@dataclass(slots=True)
class Builds:
    """What was measured."""

    changed: int
    days: int
    idle: Build
    incremental: Build
    full: Build | None = None
    equal: bool | None = None
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """How many times the full build's seconds are the incremental one's."""
        return self.full.seconds / self.incremental.seconds if self.full else None

    @property
    def kept(self) -> bool:
        """Whether every goal is met that was measured."""
        return (
            self.incremental.seconds < SECONDS_GOAL
            and (self.full is None or self.full.seconds < FULL_SECONDS_GOAL)
            and (self.ratio is None or self.ratio >= RATIO_GOAL)
            and self.equal is not False
        )

    def document(self) -> dict[str, Any]:
        """As flat JSON."""
        document: dict[str, Any] = {
            "changed_orders": self.changed,
            "days": self.days,
            "idle_seconds": self.idle.seconds,
            "incremental_seconds": self.incremental.seconds,
            "full_seconds": self.full.seconds if self.full else None,
            "ratio": self.ratio,
            "equal": self.equal,
            "kept": self.kept,
            **{name.replace(" ", "_"): count for name, count in self.rows.items()},
        }
        for name, build in (("incremental", self.incremental), ("full", self.full)):
            document |= {f"{name}_seconds.{node}": seconds for node, seconds in (build.nodes if build else ())}
        return document

    def render(self) -> RenderableType:
        """For people."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(justify="right", style="bold")
        grid.add_column(style="dim")
        for name, count in self.rows.items():
            grid.add_row(name, f"{count:,}", "rows")
        grid.add_row("nothing new", f"{self.idle.seconds:.1f} s", "as each hour: without what is tagged daily")
        what = f"after {self.changed:,} changed orders of the last {self.days} days, goal < {SECONDS_GOAL:.0f} s"
        grid.add_row("incremental", f"{self.incremental.seconds:.1f} s", what)
        if self.full:
            goal = f"dbt build --full-refresh, goal < {FULL_SECONDS_GOAL:.0f} s"
            grid.add_row("full", f"{self.full.seconds:.1f} s", goal)
            grid.add_row("full / incremental", f"{self.ratio:.1f}", f"goal ≥ {RATIO_GOAL:.0f}")
        if self.equal is not None:
            grid.add_row("incremental models", "equal" if self.equal else "DIFFERENT", "row for row, to a full build's")
        dearest = Table(box=None, pad_edge=False, header_style="bold dim")
        for title in ("dearest, incremental", "s", *(("dearest, full", "s") if self.full else ())):
            dearest.add_column(title, justify="right" if title == "s" else "left")
        columns = [self.incremental.nodes, *([self.full.nodes] if self.full else [])]
        for place in range(_DEAREST):
            cells: list[str] = []
            for nodes in columns:
                name, seconds = nodes[place] if place < len(nodes) else ("", 0.0)
                cells += [name, f"{seconds:.1f}" if name else ""]
            dearest.add_row(*cells)
        verdict = Text("✓ kept" if self.kept else "✗ missed", "green" if self.kept else "red")
        return Group(grid, Text(), dearest, Text(), verdict)


def measure(instance: Instance, changed: int, days: int, note: Note, *, full: bool, equal: bool) -> Builds:
    """Changes orders of the last ``days`` and builds; then in full, and compares, where asked for.

    Dagster's own runs are held off meanwhile.

    Raises:
        StackError: if the platform does not run, the changes do not arrive, or a build fails.
    """
    with schedules_held_off(instance):
        note("first of all what is new anyhow")
        _build(instance)
        note("nothing new: a build all the same")
        idle = _build(instance, *_HOURLY)
        touched = asyncio.run(_change(changed, days, note))
        note(f"after {touched:,} changed orders: a build")
        found = Builds(touched, days, idle, _build(instance, *_HOURLY))
        if equal:
            note("comparing with a full build of the incremental models")
            found.equal = dbt.compare(instance) == 0
        if full:
            note("building in full")
            found.full = _build(instance, "--full-refresh")
        found.rows = asyncio.run(_rows(instance))
        return found


def _build(instance: Instance, *options: str) -> Build:
    began = time.perf_counter()
    code = dbt.run(["build", "--quiet", *options], instance)
    seconds = time.perf_counter() - began
    if code:
        raise StackError(f"dbt build ended with {code}: `surge dbt build` says why")
    results = json.loads((instance.home / "dbt" / "target" / "run_results.json").read_text())["results"]
    nodes = sorted(
        ((".".join(entry["unique_id"].split(".")[2:]), entry["execution_time"]) for entry in results),
        key=lambda node: -node[1],
    )
    return Build(seconds, tuple(nodes))


async def _change(count: int, days: int, note: Note) -> int:
    """Changes so many orders; returns how many, once all of them are in ``raw``."""
    settings = CdcSettings()
    async with settings.shop() as shop, settings.warehouse() as warehouse:
        ids = [row["id"] for row in await shop.fetch(_PICK, days, time.time_ns() % 1_000_000, count)]
        if not ids:
            raise StackError(f"there is no order of the last {days} days")
        began = await shop.fetchval("SELECT now()")
        for start in range(0, len(ids), _CHUNK):
            await shop.execute(_TOUCH, ids[start : start + _CHUNK])
            note(f"changed {min(start + _CHUNK, len(ids)):,} of {len(ids):,} orders")
        deadline = time.monotonic() + _ARRIVAL_SECONDS
        while (arrived := await _arrived(warehouse, began)) < len(ids):
            note(f"{arrived:,} of {len(ids):,} changes arrived")
            if time.monotonic() > deadline:
                raise StackError(f"{arrived:,} of {len(ids):,} changes arrived in raw: `surge cdc status`")
            await asyncio.sleep(1)
        return len(ids)


async def _arrived(warehouse: asyncpg.Connection, since: Any) -> int:
    count: int = await warehouse.fetchval(
        "SELECT count(*) FROM raw.orders_orders WHERE __emitted_at >= $1 AND updated_at >= $1", since
    )
    return count


async def _rows(instance: Instance) -> dict[str, int]:
    async with Warehouse.of(instance).analyst() as warehouse:
        return {
            "orders": await warehouse.fetchval("SELECT count(*) FROM sales.fct_orders"),
            "order lines": await warehouse.fetchval("SELECT count(*) FROM sales.fct_order_items"),
        }

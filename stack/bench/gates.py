"""The two stock gates side by side: reservations a second and their latency, contended and spread."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sqlalchemy import text

from kit.db import Database
from kit.ids import new_id
from oltp.inventory.domain import Refusal
from oltp.inventory.gate import Claim
from oltp.inventory.postgres_gate import PostgresGate
from oltp.inventory.redis_gate import RedisGate
from stack.bench.figures import Goal, percentile
from stack.demo import RushSettings
from stack.errors import StackError

SPREAD: Final = 10_000
"""Products over which claims are spread."""

SCARCE: Final = 100
"""Units of the product that many more ask for than get it."""

_PLENTY: Final = 60_000
_EACH: Final = 30
_RIVALS: Final = 2_000
_REDIS_DATABASE: Final = 15
_CHUNK: Final = 500


class Gate(Protocol):
    """The part of a gate that is measured."""

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]: ...


@dataclass(frozen=True, slots=True)
class Mode:
    """How a gate is called: ``callers`` at once, each with ``batch`` orders of one unit."""

    callers: int
    batch: int


SINGLY: Final = Mode(callers=32, batch=1)
BATCHED: Final = Mode(callers=2, batch=200)


@dataclass(frozen=True, slots=True)
class Run:
    """One gate in one case. ``p99_ms`` is of a call, with as many orders as its mode says."""

    gate: str
    case: str
    mode: Mode
    reservations: int
    seconds: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        """Reservations a second."""
        return self.reservations / self.seconds


@dataclass(frozen=True, slots=True)
class Gates:
    """The comparison. ``sold`` is how many of :data:`SCARCE` units each gate let go to many more rivals."""

    runs: tuple[Run, ...]
    sold: dict[str, int]
    rivals_per_second: dict[str, float]

    @property
    def goals(self) -> list[Goal]:
        """No gate lets more go than there are, and none keeps any back."""
        return [
            Goal(
                key=f"sold_{gate}",
                promise=f"{gate}: exactly {SCARCE} of {SCARCE} units go to {_RIVALS:,} rivals",
                measured=f"{sold}",
                kept=sold == SCARCE,
            )
            for gate, sold in self.sold.items()
        ]

    @property
    def passed(self) -> bool:
        """Whether both do."""
        return all(goal.kept for goal in self.goals)

    def document(self) -> dict[str, Any]:
        """The comparison as flat JSON: ``<gate>.<case>.<batch>.<figure>``."""
        document: dict[str, Any] = {"scenario": "gate", "passed": self.passed}
        for run in self.runs:
            prefix = f"{run.gate}.{run.case}.{run.mode.batch}"
            document[f"{prefix}.reservations_per_second"] = round(run.per_second, 1)
            document[f"{prefix}.p50_ms"] = round(run.p50_ms, 3)
            document[f"{prefix}.p99_ms"] = round(run.p99_ms, 3)
        for gate, sold in self.sold.items():
            document[f"{gate}.scarce.units_sold"] = sold
            document[f"{gate}.scarce.answers_per_second"] = round(self.rivals_per_second[gate], 1)
        return document

    def render(self) -> RenderableType:
        """The comparison as one table."""
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        table.add_column("")
        for gate in self.sold:
            table.add_column(f"{gate}/s", justify="right")
            table.add_column("p50 ms", justify="right")
            table.add_column("p99 ms", justify="right")
        for (case, mode), runs in itertools.groupby(self.runs, lambda run: (run.case, run.mode)):
            title = f"{_CASES[case]}, {mode.callers} callers" + (f" with {mode.batch} orders" if mode.batch > 1 else "")
            figures = [(f"{run.per_second:,.0f}", f"{run.p50_ms:.1f}", f"{run.p99_ms:.1f}") for run in runs]
            table.add_row(title, *itertools.chain.from_iterable(figures))
        table.add_row(
            f"{_RIVALS:,} rivals for {SCARCE} units, answers",
            *itertools.chain.from_iterable((f"{self.rivals_per_second[gate]:,.0f}", "", "") for gate in self.sold),
        )
        verdicts = [
            Text.assemble(
                ("✓ " if goal.kept else "✗ ", "green" if goal.kept else "red"), f"{goal.promise}: {goal.measured}"
            )
            for goal in self.goals
        ]
        return Group(table, Text(), *verdicts)


_CASES: Final = {"contended": "one product", "spread": f"{SPREAD:,} products"}


@dataclass(frozen=True, slots=True)
class Place:
    """A gate with products of its own."""

    name: str
    gate: Gate
    stock: Callable[[dict[str, int]], Awaitable[None]]


async def gates(settings: RushSettings, seconds: float, note: Callable[[str], None]) -> Gates:
    """Measures both gates, each in every case for some seconds.

    Raises:
        StackError: if a gate refuses what there is plenty of.
    """
    popular, scarce = {new_id(): _PLENTY}, {new_id(): SCARCE}
    many = {new_id(): _EACH for _ in range(SPREAD)}
    runs: list[Run] = []
    sold: dict[str, int] = {}
    rivals: dict[str, float] = {}
    async with _redis(settings) as counters, _postgres(settings) as units:
        for case, stocked in (("contended", popular), ("spread", many)):
            for mode in (SINGLY, BATCHED):
                for place in (counters, units):
                    note(f"{place.name}: stocking {_CASES[case]}")
                    await place.stock(stocked)
                    note(f"{place.name}: {_CASES[case]}, {mode.callers} callers with {mode.batch}")
                    runs.append(await _measure(place, case, mode, stocked, seconds))
        for place in (counters, units):
            note(f"{place.name}: {_RIVALS:,} rivals for {SCARCE} units")
            await place.stock(scarce)
            sold[place.name], rivals[place.name] = await _compete(place.gate, next(iter(scarce)))
    return Gates(tuple(runs), sold, rivals)


async def _measure(place: Place, case: str, mode: Mode, stocked: dict[str, int], seconds: float) -> Run:
    """Claims one unit an order until the time is over or the units are."""
    products = list(stocked)
    limit = sum(stocked.values()) - len(products) - 2 * mode.callers * mode.batch
    numbers = itertools.count()
    made = 0
    latencies: list[float] = []
    began = time.perf_counter()

    async def call() -> None:
        nonlocal made
        while time.perf_counter() - began < seconds and made <= limit:
            claims = [Claim(new_id(), {products[next(numbers) * 7_919 % len(products)]: 1}) for _ in range(mode.batch)]
            started = time.perf_counter()
            verdicts = await place.gate.admit(claims)
            latencies.append((time.perf_counter() - started) * 1000)
            if any(verdict is not None for verdict in verdicts):
                raise StackError(f"the {place.name} gate refused what there is plenty of")
            made += len(claims)

    await asyncio.gather(*(call() for _ in range(mode.callers)))
    return Run(
        gate=place.name,
        case=case,
        mode=mode,
        reservations=made,
        seconds=time.perf_counter() - began,
        p50_ms=percentile(latencies, 0.50) or 0.0,
        p99_ms=percentile(latencies, 0.99) or 0.0,
    )


async def _compete(gate: Gate, product: str) -> tuple[int, float]:
    """How many of many rivals got one of few units, and how many answers a second there were."""
    rivals = iter([Claim(new_id(), {product: 1}) for _ in range(_RIVALS)])
    won = 0
    began = time.perf_counter()

    async def call() -> None:
        nonlocal won
        for claim in rivals:
            [verdict] = await gate.admit([claim])
            won += verdict is None

    await asyncio.gather(*(call() for _ in range(SINGLY.callers)))
    return won, _RIVALS / (time.perf_counter() - began)


class _Plenty:
    """Books that say what a gate was stocked with."""

    def __init__(self) -> None:
        self.units: dict[str, int] = {}

    async def available(self, product_ids: Any) -> dict[str, int]:
        return {product_id: self.units[product_id] for product_id in product_ids}

    async def available_after(self, product_id: str, limit: int) -> list[tuple[str, int]]:
        return sorted(entry for entry in self.units.items() if entry[0] > product_id)[:limit]


@asynccontextmanager
async def _redis(settings: RushSettings) -> AsyncIterator[Place]:
    """In a database of Redis that nobody else uses."""
    server = settings.redis_url.get_secret_value().rsplit("/", 1)[0]
    async with Redis.from_url(f"{server}/{_REDIS_DATABASE}", decode_responses=True, max_connections=128) as redis:
        books = _Plenty()
        gate = RedisGate(redis, books)

        async def stock(units: dict[str, int]) -> None:
            await redis.flushdb()
            books.units = units
            await gate.fill()

        try:
            yield Place("redis", gate, stock)
        finally:
            await redis.flushdb()


_STOCK: Final = text(
    """
    INSERT INTO inventory.gate_units (product_id)
    SELECT p.product_id FROM unnest(CAST(:products AS uuid[]), CAST(:units AS integer[])) AS p (product_id, units)
    CROSS JOIN LATERAL generate_series(1, p.units)
    """
)
_LIST: Final = text("INSERT INTO inventory.gate_products SELECT * FROM unnest(CAST(:products AS uuid[]))")
_CLEAR: Final = tuple(
    text(f"DELETE FROM inventory.{table} WHERE product_id = ANY(CAST(:products AS uuid[]))")  # noqa: S608
    for table in ("gate_units", "gate_products")
)


@asynccontextmanager
async def _postgres(settings: RushSettings) -> AsyncIterator[Place]:
    """In the shop's own tables, with products that the books do not know."""
    database = Database(settings.database_url.get_secret_value(), pool_size=SINGLY.callers)
    present: list[str] = []

    async def clear() -> None:
        for query in _CLEAR:
            async with database.write() as session:
                await session.execute(query, {"products": present})

    async def stock(units: dict[str, int]) -> None:
        await clear()
        present[:] = list(units)
        async with database.write() as session:
            await session.execute(_LIST, {"products": present})
        for at in range(0, len(present), _CHUNK):
            chunk = present[at : at + _CHUNK]
            async with database.write() as session:
                await session.execute(_STOCK, {"products": chunk, "units": [units[product] for product in chunk]})
        async with database.engine.connect() as connection:
            free = await connection.execution_options(isolation_level="AUTOCOMMIT")
            await free.execute(text("VACUUM (ANALYZE) inventory.gate_units"))

    try:
        yield Place("postgres", PostgresGate(database), stock)
    finally:
        await clear()
        await database.close()

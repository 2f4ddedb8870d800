"""One load on the running shop: prepared, sent, watched, followed to its end, and looked up in the books."""

import asyncio
import datetime as dt
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import asyncpg
import psutil
from aiokafka.errors import KafkaError
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from audit.run import run as audit
from contracts.orders import OrderStatus
from kit.resources import Resources, open_resources
from oltp.payments.settings import PaymentsSettings
from stack import instance as instances
from stack.bench import vegeta
from stack.bench.figures import Figures, percentile
from stack.bench.prepare import Note, Payments, Preparation, Targets, database_url
from stack.bench.sampler import GROUPS, Counters, Sample, Sampler, counters
from stack.bench.vegeta import Attack
from stack.definitions import DAGSTER_DAEMON
from stack.demo import RushSettings
from stack.errors import StackError
from stack.instance import Instance
from stack.status import memory_mb
from stack.supervision import Supervisor

RAMP_SECONDS: Final = 10.0
"""After this the load counts as steady."""

SPARE_TARGETS: Final = 20
"""Checkouts that are prepared beyond what the rate asks for, since the generator may send one more."""

DRAIN_SECONDS: Final = 180.0
AUDIT_SECONDS: Final = 60.0

_FATES: Final = """
    SELECT o.id::text AS order_id, substr(o.idempotency_key, $2)::int AS number, o.status,
           extract(epoch FROM o.created_at)::float8 AS created,
           extract(epoch FROM min(t.occurred_at) FILTER (WHERE t.status = 'confirmed'))::float8 AS confirmed,
           extract(epoch FROM min(t.occurred_at) FILTER (WHERE t.status = 'processing'))::float8 AS processing,
           extract(epoch FROM min(t.occurred_at) FILTER (WHERE t.status = 'cancelled'))::float8 AS cancelled,
           bool_or(t.message_type = 'shipment.failed') AS refused_by_carrier
    FROM orders.orders o JOIN orders.order_transitions t ON t.order_id = o.id
    WHERE o.id >= $1 AND o.idempotency_key LIKE $3
    GROUP BY o.id
"""
_OPEN: Final = """
    SELECT count(*) FROM orders.orders
    WHERE status IN ('pending', 'awaiting_payment', 'cancelling') AND created_at >= $1
"""
_BOOKS: Final = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = 'orders.orders'::regclass"


@dataclass(frozen=True, slots=True)
class Fate:
    """What the books say of an order. Moments are Unix seconds; None: it did not happen.

    ``refused_by_carrier``: its booking was refused at least once, and is tried again after a while.
    """

    order_id: str
    number: int
    status: str
    created: float
    confirmed: float | None
    processing: float | None
    cancelled: float | None
    refused_by_carrier: bool

    @property
    def over(self) -> float | None:
        """When it came to PROCESSING or was cancelled, whichever was first."""
        moments = [moment for moment in (self.processing, self.cancelled) if moment is not None]
        return min(moments, default=None)


@dataclass(slots=True)
class Load:
    """One load. ``began`` and ``ended`` are Unix seconds; ``samples`` reach from before it until it was drained."""

    rate: float
    seconds: float
    targets: Targets
    attack: Attack
    began: float
    ended: float
    samples: Sequence[Sample]
    before: Counters
    memory_mb: dict[str, int]
    observer_cpu_seconds: float
    drained_at: float | None = None

    def during(self, *, after: float = 0.0) -> list[Sample]:
        """The samples taken while it lasted, from some seconds on."""
        return [sample for sample in self.samples if self.began + after <= sample.at <= self.ended]

    def lag_max(self, *, after: float = 0.0) -> dict[str, int]:
        """By consumer group."""
        seen = self.during(after=after)
        return (
            {group: max((sample.lag.get(group, 0) for sample in seen), default=0) for group in GROUPS} if seen else {}
        )

    @property
    def accepted(self) -> set[int]:
        """Numbers of the accepted orders."""
        return {shot.number for shot in self.attack.shots if shot.code == 202}


class Bench:
    """What all scenarios share."""

    def __init__(
        self, instance: Instance, settings: RushSettings, resources: Resources, program: Path, note: Note
    ) -> None:
        self.instance = instance
        self.settings = settings
        self.resources = resources
        self.note = note
        self.sampler = Sampler(instance, settings.kafka_bootstrap)
        self.preparation = Preparation(settings, resources, instance.run / "bench", note)
        self.program = program

    async def load(
        self,
        rate: float,
        seconds: float,
        *,
        payments: Payments | None = None,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> Load:
        """Prepares and sends checkouts at a constant rate; ``meanwhile`` runs beside them.

        Raises:
            StackError: if the shop can't be used, or the generator fails.
        """
        targets = await self.preparation.checkouts(int(rate * seconds) + SPARE_TARGETS, payments)
        return await self.send(targets, rate, seconds, meanwhile=meanwhile)

    async def send(
        self,
        targets: Targets,
        rate: float,
        seconds: float,
        *,
        meanwhile: Callable[[], Awaitable[None]] | None = None,
    ) -> Load:
        """Sends prepared checkouts; see :meth:`load`."""
        await self.rest()
        before = await self.counters()
        first = len(self.sampler.samples)
        began = 0.0

        def now() -> None:
            nonlocal began
            began = time.time()

        async with self.sampler.running():
            own = sum(os.times()[:2])
            showing = asyncio.create_task(self._show(rate, seconds))
            attacking = vegeta.attack(self.program, targets.file, rate=rate, seconds=seconds, began=now)
            try:
                attack, _ = await asyncio.gather(attacking, meanwhile() if meanwhile is not None else asyncio.sleep(0))
            finally:
                showing.cancel()
                targets.file.unlink()
            ended = time.time()
        sent = min((shot.sent for shot in attack.shots), default=began)
        return Load(
            rate=rate,
            seconds=seconds,
            targets=targets,
            attack=attack,
            began=sent,
            ended=min(ended, sent + seconds),
            samples=self.sampler.samples[first:],
            before=before,
            memory_mb=await asyncio.to_thread(self._memory),
            observer_cpu_seconds=sum(os.times()[:2]) - own,
        )

    async def counters(self) -> Counters:
        """What the stores have counted."""
        return await counters(database_url(self.settings), self.resources.redis, self.instance)

    def _memory(self) -> dict[str, int]:
        return {name: memory_mb(pid) for name, pid in self.sampler.pids().items()}

    async def _show(self, rate: float, seconds: float) -> None:
        began, first = time.monotonic(), self.sampler.samples[-1]
        while True:
            last = self.sampler.samples[-1]
            group, lag = max(last.lag.items(), key=lambda entry: entry[1], default=("Kafka", -1))
            behind = "Kafka does not answer" if lag < 0 else f"{group} is {lag:,} behind"
            elapsed = min(time.monotonic() - began, seconds)
            self.note(f"{rate:.0f}/s: {elapsed:.0f} of {seconds:.0f} s, log +{last.orders - first.orders:,}, {behind}")
            await asyncio.sleep(1)

    async def rest(self, *, patience: float = DRAIN_SECONDS) -> bool:
        """Waits until no consumer group is behind; False if one still is after ``patience`` seconds."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            sample = await self.sampler.look()
            behind = {group: lag for group, lag in sample.lag.items() if lag}
            if sample.lag and not behind:
                return True
            self.note(f"waiting for {', '.join(f'{group} ({lag:,})' for group, lag in behind.items()) or 'Kafka'}")
            await asyncio.sleep(0.5)
        return False

    async def drain(self, load: Load, *, patience: float = DRAIN_SECONDS) -> None:
        """Waits until every order of the load is over its payment and no consumer group is behind."""
        since = dt.datetime.fromtimestamp(load.began - 5, dt.UTC)
        deadline = time.monotonic() + patience
        first = len(self.sampler.samples)
        while time.monotonic() < deadline:
            sample = await self.sampler.look()
            behind = sum(sample.lag.values())
            waiting = await self._fetch_value(_OPEN, since)
            if sample.lag and not behind and waiting == 0:
                load.drained_at = sample.at
                break
            self.note(f"draining: {waiting or 0:,} orders under way, consumers {behind:,} behind")
            await asyncio.sleep(0.5)
        load.samples = [*load.samples, *self.sampler.samples[first:]]

    async def _fetch_value(self, query: str, *arguments: object) -> int | None:
        try:
            connection = await asyncpg.connect(database_url(self.settings), timeout=5)
        except (OSError, asyncpg.PostgresError):
            return None
        try:
            value: int = await connection.fetchval(query, *arguments)
        finally:
            await connection.close()
        return value

    @staticmethod
    def floor(moment: float) -> uuid.UUID:
        """An id that no order from that moment (Unix seconds) on is below: ids begin with the time."""
        return uuid.UUID(int=int((moment - 5) * 1000) << 80)

    async def fates(self, load: Load) -> list[Fate]:
        """What became of the load's orders, by the books."""
        prefix = load.targets.prefix
        connection = await asyncpg.connect(database_url(self.settings), timeout=10)
        try:
            rows = await connection.fetch(_FATES, self.floor(load.began), len(prefix) + 1, f"{prefix}%")
        finally:
            await connection.close()
        return [Fate(**dict(row)) for row in rows]

    async def figures(self, scenario: str, load: Load, *, audited: bool = True) -> Figures:
        """Sums a load up, drained before if it was not yet."""
        figures = Figures(scenario=scenario)
        describe_machine(figures)
        figures.payment_latency_ms = PaymentsSettings.beside(self.settings).payments_latency_ms
        figures.started_at = dt.datetime.fromtimestamp(load.began, dt.UTC).isoformat(timespec="milliseconds")
        figures.place(load.attack.shots, load.seconds)
        if load.drained_at is None:
            await self.drain(load)
        figures.drained_seconds = None if load.drained_at is None else max(0.0, load.drained_at - load.ended)
        settle(figures, load, await self.fates(load))
        account(figures, load, await self.counters())
        figures.orders_in_books = await self._fetch_value(_BOOKS)
        if audited:
            report = await audit(wait=AUDIT_SECONDS, note=lambda what: self.note(f"auditing, waiting for: {what}"))
            figures.audit, figures.audit_clean = report.verdict, report.clean
        return figures


def settle(figures: Figures, load: Load, fates: Sequence[Fate]) -> None:
    """What became of the orders."""
    by_number = {fate.number: fate for fate in fates}
    figures.lost = len(load.accepted - by_number.keys())
    open_ = (OrderStatus.PENDING, OrderStatus.AWAITING_PAYMENT, OrderStatus.CANCELLING)
    figures.unfinished = sum(fate.status in open_ for fate in fates)
    figures.waiting_for_carrier = sum(fate.status == OrderStatus.CONFIRMED for fate in fates)
    figures.cancelled = sum(fate.status == OrderStatus.CANCELLED for fate in fates)
    over = [moment for fate in fates if (moment := fate.over) is not None]
    figures.completed = len(over)
    figures.completed_per_second = sum(load.began <= moment <= load.ended for moment in over) / load.seconds
    confirmed = [(fate.confirmed - fate.created) * 1000 for fate in fates if fate.confirmed is not None]
    processing = [(fate.processing - fate.created) * 1000 for fate in fates if fate.processing is not None]
    figures.confirmed_p50_ms, figures.confirmed_p99_ms = percentile(confirmed, 0.5), percentile(confirmed, 0.99)
    figures.processing_p50_ms, figures.processing_p99_ms = percentile(processing, 0.5), percentile(processing, 0.99)
    figures.lag_max = load.lag_max()
    figures.lag_steady_max = load.lag_max(after=min(RAMP_SECONDS, load.seconds / 2))


def account(figures: Figures, load: Load, after: Counters) -> None:
    """What the load cost."""
    orders = max(1, figures.accepted or 0)
    first, last = load.samples[0], load.samples[-1]
    figures.cpu_seconds = {
        name: seconds - first.cpu_seconds.get(name, 0.0) for name, seconds in last.cpu_seconds.items()
    }
    figures.cpu_ms_per_order = {name: seconds / orders * 1000 for name, seconds in figures.cpu_seconds.items()}
    figures.cpu_ms_per_order_total = sum(figures.cpu_ms_per_order.values())
    if len(during := load.during()) > 1:
        used = sum(during[-1].cpu_seconds.values()) - sum(during[0].cpu_seconds.values())
        figures.cores_used = used / (during[-1].at - during[0].at)
    figures.generator_cpu_share = load.attack.cpu_seconds / load.seconds
    figures.generator_cpu_ms_per_request = load.attack.cpu_ms_per_request
    figures.observer_cpu_share = load.observer_cpu_seconds / load.seconds
    figures.memory_mb = load.memory_mb
    before = load.before
    if after.wal_bytes >= before.wal_bytes:  # a Postgres that crashed counts from nothing
        figures.postgres_commits = after.commits - before.commits
        figures.postgres_wal_mb = (after.wal_bytes - before.wal_bytes) / 2**20
        figures.postgres_wal_bytes_per_order = (after.wal_bytes - before.wal_bytes) / orders
        figures.postgres_rows_inserted = after.rows_inserted - before.rows_inserted
        figures.postgres_rows_updated = after.rows_updated - before.rows_updated
        figures.postgres_blocks_read = after.blocks_read - before.blocks_read
    figures.broker_messages = last.messages - first.messages
    figures.broker_messages_per_second = figures.broker_messages / max(1e-9, last.at - first.at)
    figures.broker_mb = (after.broker_bytes - before.broker_bytes) / 2**20
    figures.redis_commands = after.redis_commands - before.redis_commands
    figures.redis_bytes_per_order = (after.redis_memory - before.redis_memory) / orders


def describe_machine(figures: Figures) -> None:
    """The machine that everything shares."""
    figures.machine_cores = psutil.cpu_count()
    figures.machine_memory_mb = psutil.virtual_memory().total // 2**20
    figures.machine_cpu = _processor()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def running_instance() -> Instance:
    """The present instance.

    Raises:
        StackError: if it does not run.
    """
    instance = instances.current()
    if not Supervisor(instance).alive():
        raise StackError("the stack does not run: start it with `surge up`")
    return instance


@asynccontextmanager
async def opened(note: Note) -> AsyncIterator[Bench]:
    """The instruments, on the shop of the present instance.

    Raises:
        StackError: if it does not run, or the load generator is missing.
    """
    instance = await asyncio.to_thread(running_instance)
    program = await asyncio.to_thread(vegeta.ensure, note)
    settings = RushSettings()
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings))
        bench = Bench(instance, settings, resources, program, note)
        stack.push_async_callback(bench.sampler.close)
        try:
            yield bench
        except (OSError, asyncpg.PostgresError, SQLAlchemyError, RedisError, KafkaError) as error:
            raise StackError(f"a server of the shop can't be used: {error!r}", "See `surge status`.") from error


@contextmanager
def schedules_held_off(instance: Instance) -> Iterator[None]:
    """Dagster starts no run meanwhile: its daemon is stopped, and started again.

    Raises:
        StackError: if the data platform does not run.
    """
    supervisor = Supervisor(instance)
    if not supervisor.alive() or DAGSTER_DAEMON not in supervisor.states():
        raise StackError("the data platform does not run: `surge up --platform`")
    ran = bool(supervisor.states()[DAGSTER_DAEMON].pid)
    supervisor.stop([DAGSTER_DAEMON])
    try:
        yield
    finally:
        if ran:
            supervisor.start(DAGSTER_DAEMON)

"""What the stack does while it is measured: looks once a second, cheaply, and misses what is away."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from redis.asyncio import Redis

from contracts.topics import ORDER_EVENTS, TOPICS
from stack.definitions import PROCESSES, SHOP
from stack.instance import Instance
from stack.supervision import Supervisor

GROUPS: Final = tuple(group for name in SHOP for group in PROCESSES[name].groups)

_PERIOD: Final = 1.0
_PATIENCE: Final = 5.0
_ROOTS_EVERY: Final = 5
"""Samples after which the supervisor is asked for the processes' pids again."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. ``at`` is Unix seconds, ``lag`` by consumer group (empty: Kafka did not answer).

    ``messages`` is how many messages all topics hold together, ``orders`` how many the order log holds. ``cpu_seconds``
    is by process, since the sampler began.
    """

    at: float
    lag: Mapping[str, int]
    messages: int
    orders: int
    cpu_seconds: Mapping[str, float]


class CpuMeter:
    """CPU time of process trees: what a root and all below it have used, over restarts of the root."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[int, float]] = {}
        self._used: dict[str, float] = {}

    def read(self, roots: Mapping[str, int], totals: Mapping[int, float]) -> dict[str, float]:
        """Seconds by name since the first reading, from the names' root pids and the pids' present totals.

        A root with another pid than before has started again and counts from nothing.
        """
        for name, pid in roots.items():
            if pid not in totals:
                continue
            now = totals[pid]
            before_pid, before = self._last.get(name, (pid, now))
            self._used[name] = self._used.get(name, 0.0) + max(0.0, now - before if before_pid == pid else now)
            self._last[name] = pid, now
        return dict(self._used)


def tree_totals(roots: Sequence[int]) -> dict[int, float]:
    """CPU seconds of each root with everything below it, children that ended included."""
    parents: dict[int, int] = {}
    own: dict[int, float] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            with process.oneshot():
                times = process.cpu_times()
                parents[process.pid] = process.ppid()
            own[process.pid] = times.user + times.system + times.children_user + times.children_system
    totals = dict.fromkeys((root for root in roots if root in own), 0.0)
    for pid, seconds in own.items():
        at: int | None = pid
        while at is not None and at not in totals:
            at = parents.get(at)
        if at is not None:
            totals[at] += seconds
    return totals


class Broker:
    """The consumers' lag and the topics' ends, over two connections that stay open."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: list[TopicPartition] = []

    async def look(self) -> tuple[dict[str, int], int, int]:
        """Lag by group; messages in all topics; messages in the order log.

        Raises:
            KafkaError, OSError, TimeoutError: if the broker is away.
        """
        try:
            async with asyncio.timeout(_PATIENCE):
                admin, consumer = await self._connected()
                committed = await asyncio.gather(*(admin.list_consumer_group_offsets(group) for group in GROUPS))
                ends = await consumer.end_offsets(self._partitions)
        except BaseException:
            await self.close()
            raise
        lag = {
            group: sum(max(0, ends[at] - max(0, meta.offset)) for at, meta in offsets.items() if at in ends)
            for group, offsets in zip(GROUPS, committed, strict=True)
        }
        orders = sum(end for at, end in ends.items() if at.topic == ORDER_EVENTS)
        return lag, sum(ends.values()), orders

    async def _connected(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        if self._admin is None or self._consumer is None:
            names = {"bootstrap_servers": self._bootstrap, "client_id": "surge.bench"}
            self._admin = AIOKafkaAdminClient(**names)
            await self._admin.start()
            described = await self._admin.describe_topics([topic.name for topic in TOPICS])
            self._partitions = [
                TopicPartition(entry["topic"], partition["partition"])
                for entry in described
                for partition in entry["partitions"]
            ]
            self._consumer = AIOKafkaConsumer(**names, enable_auto_commit=False)
            await self._consumer.start()
        return self._admin, self._consumer

    async def close(self) -> None:
        """Disconnects."""
        admin, self._admin = self._admin, None
        consumer, self._consumer = self._consumer, None
        with contextlib.suppress(KafkaError, OSError):
            if consumer is not None:
                await consumer.stop()
            if admin is not None:
                await admin.close()


@dataclass
class Sampler:
    """Samples an instance. Its own CPU time is not the stack's; ``surge bench`` prints it with the generator's."""

    instance: Instance
    bootstrap: str
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._broker = Broker(self.bootstrap)
        self._supervisor = Supervisor(self.instance)
        self._meter = CpuMeter()
        self._roots: dict[str, int] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Looks once a second while the block runs."""
        await self.look()
        looking = asyncio.create_task(self._keep_looking())
        try:
            yield
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking

    async def _keep_looking(self) -> None:
        due = time.monotonic()
        while True:
            due = max(due + _PERIOD, time.monotonic())
            await asyncio.sleep(due - time.monotonic())
            await self.look()

    async def look(self) -> Sample:
        """One sample, now."""
        cpu = await asyncio.to_thread(self._cpu)
        lag: dict[str, int] = {}
        messages = orders = 0
        with contextlib.suppress(KafkaError, OSError, TimeoutError):
            lag, messages, orders = await self._broker.look()
        sample = Sample(time.time(), lag, messages, orders, cpu)
        self.samples.append(sample)
        return sample

    def _cpu(self) -> dict[str, float]:
        if len(self.samples) % _ROOTS_EVERY == 0 or not all(psutil.pid_exists(pid) for pid in self._roots.values()):
            self._roots = self.pids()
        return self._meter.read(self._roots, tree_totals(list(self._roots.values())))

    def pids(self) -> dict[str, int]:
        """Pid by process of the stack; empty while its supervisor does not answer."""
        with contextlib.suppress(OSError):
            return {name: state.pid for name, state in self._supervisor.states().items() if state.pid}
        return {}

    async def close(self) -> None:
        """Disconnects."""
        await self._broker.close()


_POSTGRES: Final = """
    SELECT d.xact_commit, d.tup_inserted, d.tup_updated, d.blks_read, w.wal_bytes::bigint AS wal_bytes
    FROM pg_stat_database d CROSS JOIN pg_stat_wal w WHERE d.datname = current_database()
"""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the stores have counted since they started."""

    commits: int
    rows_inserted: int
    rows_updated: int
    blocks_read: int
    wal_bytes: int
    redis_commands: int
    redis_memory: int
    broker_bytes: int


async def counters(url: str, redis: Redis, instance: Instance) -> Counters:
    """Reads them.

    Raises:
        OSError, asyncpg.PostgresError, RedisError: if a store is away.
    """
    connection = await asyncpg.connect(url, timeout=10)
    try:
        row = await connection.fetchrow(_POSTGRES)
    finally:
        await connection.close()
    stats: dict[str, Any] = await redis.info("stats")
    memory: dict[str, Any] = await redis.info("memory")
    return Counters(
        commits=row["xact_commit"],
        rows_inserted=row["tup_inserted"],
        rows_updated=row["tup_updated"],
        blocks_read=row["blks_read"],
        wal_bytes=row["wal_bytes"],
        redis_commands=int(stats["total_commands_processed"]),
        redis_memory=int(memory["used_memory"]),
        broker_bytes=await asyncio.to_thread(_log_bytes, instance),
    )


def _log_bytes(instance: Instance) -> int:
    folder = instance.data / "kafka"
    return sum(file.stat().st_size for topic in TOPICS for file in folder.glob(f"{topic.name}-*/*.log"))

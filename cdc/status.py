"""How far the warehouse is behind the shop: rows and time by table, bytes of the shop's log, what was set aside."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from cdc import catalogue, sink, state, topics
from cdc.catalogue import Table
from cdc.connect import ConnectClient, ConnectError, ConnectorStatus
from cdc.settings import CdcSettings
from cdc.source import PUBLICATION, SLOT

SLOT_QUERY: Final = """
    SELECT active, wal_status, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS retained,
           pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS behind,
           coalesce((SELECT setting::bigint * 1024 * 1024 FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), -1)
               AS keeps
    FROM pg_replication_slots WHERE slot_name = $1
"""


@dataclass(frozen=True, slots=True)
class TableStatus:
    """A table. ``lag_rows``: changes in Kafka that are not in ``raw``; ``lag_ms``: how old the oldest of them is."""

    table: str
    captured: bool
    copied_rows: int | None
    lag_rows: int
    lag_ms: int
    rows_per_second: float


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """The replication slot, in bytes of the shop's log; ``keeps`` is the most that it may hold back."""

    active: bool
    wal_status: str
    retained: int
    behind: int
    keeps: int
    alert: int

    @property
    def alarming(self) -> bool:
        return self.retained >= self.alert or self.wal_status in ("unreserved", "lost")


@dataclass(frozen=True, slots=True)
class Status:
    """All of `surge cdc status`."""

    tables: tuple[TableStatus, ...]
    slot: SlotStatus | None
    connectors: tuple[ConnectorStatus, ...]
    dead_letters: int
    problems: tuple[str, ...]

    @property
    def lag_rows(self) -> int:
        """Changes on their way."""
        return sum(table.lag_rows for table in self.tables)

    @property
    def lag_ms(self) -> int:
        """How far the slowest table is behind."""
        return max((table.lag_ms for table in self.tables), default=0)

    @property
    def rows_per_second(self) -> float:
        """Changes written just now."""
        return round(sum(table.rows_per_second for table in self.tables), 1)

    def as_json(self) -> dict[str, Any]:
        """The status as JSON types."""
        return {
            **asdict(self),
            "lag_rows": self.lag_rows,
            "lag_ms": self.lag_ms,
            "rows_per_second": self.rows_per_second,
            "healthy": not self.problems,
        }


async def slot(settings: CdcSettings) -> SlotStatus | None:
    """The slot, or None if there is none."""
    async with settings.shop() as shop:
        row = await shop.fetchrow(SLOT_QUERY, SLOT)
    return SlotStatus(**dict(row), alert=settings.cdc_wal_alert_mb * 2**20) if row else None


async def gather(settings: CdcSettings, *, sample: float = 1.0) -> Status:
    """Asks everything, twice, ``sample`` seconds apart, for the throughput."""
    problems: list[str] = []
    async with settings.shop() as shop:
        tables = await catalogue.read(shop)
        published = {
            row[0]
            for row in await shop.fetch(
                "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = $1", PUBLICATION
            )
        }
    async with settings.warehouse() as warehouse:
        await state.ensure(warehouse)
        copies = await state.copies(warehouse)
    async with topics.reader(settings.kafka_bootstrap) as consumer:
        before = await topics.committed(settings.kafka_bootstrap, sink.GROUP)
        began = time.monotonic()
        await asyncio.sleep(sample)
        done = await topics.committed(settings.kafka_bootstrap, sink.GROUP)
        spent = time.monotonic() - began
        ends = await topics.ends(consumer, [*(table.topic for table in tables), topics.DEAD_LETTERS])
        ages = await _ages(consumer, tables, done, ends)
    shown = []
    for table in tables:
        topic = table.topic
        copy = copies.get(table.raw)
        shown.append(
            TableStatus(
                table=table.name,
                captured=table.name in published,
                copied_rows=copy.rows if copy else None,
                lag_rows=max(0, ends[topic] - done.get(topic, 0)),
                lag_ms=ages.get(topic, 0),
                rows_per_second=round((done.get(topic, 0) - before.get(topic, 0)) / spent, 1),
            )
        )
    missing = [table.table for table in shown if not table.captured or table.copied_rows is None]
    if missing:
        problems.append(f"not in the warehouse yet: {', '.join(missing)}: `surge cdc up`")
    connectors = await _connectors(settings, problems)
    found = await slot(settings)
    if found is None:
        problems.append(f"the replication slot {SLOT} is missing: `surge up`")
    elif not found.active:
        problems.append(f"nobody reads the replication slot {SLOT}")
    if found and found.alarming:
        problems.append(
            f"the slot keeps back {found.retained / 2**20:,.0f} MB of the shop's log ({found.wal_status}); the alert is"
            f" at {found.alert / 2**20:,.0f} MB: docs/runbooks/the-warehouse-is-behind.md"
        )
    if letters := ends[topics.DEAD_LETTERS]:
        problems.append(f"{letters} changes were set aside in {topics.DEAD_LETTERS}")
    return Status(tuple(shown), found, tuple(connectors), letters, tuple(problems))


async def _ages(
    consumer: AIOKafkaConsumer, tables: Sequence[Table], done: dict[str, int], ends: dict[str, int]
) -> dict[str, int]:
    """Topic → milliseconds since its oldest message that is not written entered Kafka."""
    behind = {table.topic: done.get(table.topic, 0) for table in tables if done.get(table.topic, 0) < ends[table.topic]}
    if not behind:
        return {}
    consumer.assign([TopicPartition(topic, 0) for topic in behind])
    first = await consumer.beginning_offsets([TopicPartition(topic, 0) for topic in behind])
    ages: dict[str, int] = {}
    for partition, oldest in first.items():
        consumer.seek(partition, max(oldest, behind[partition.topic]))
    deadline = time.monotonic() + 5
    while len(ages) < len(behind) and time.monotonic() < deadline:
        waiting = [TopicPartition(topic, 0) for topic in behind if topic not in ages]
        for partition, records in (await consumer.getmany(*waiting, timeout_ms=500, max_records=500)).items():
            if records:
                ages[partition.topic] = max(0, int(time.time() * 1000 - records[0].timestamp))
    return ages


async def _connectors(settings: CdcSettings, problems: list[str]) -> list[ConnectorStatus]:
    found: list[ConnectorStatus] = []
    for url in (settings.connect_url, settings.sink_url):
        try:
            async with ConnectClient(url) as worker:
                found += await worker.statuses()
        except ConnectError as error:
            problems.append(str(error))
    for connector in found:
        if connector.state == "PAUSED":
            problems.append(f"{connector.name} is paused: `surge cdc resume`")
        elif not connector.healthy:
            problems.append(f"{connector.name} does not run ({connector.state.lower()}): {connector.trace[:300]}")
    return found

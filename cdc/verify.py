"""Whether ``raw`` equals the shop, at one point of the shop's log, while both go on.

1. How far the sink has committed is noted; then a snapshot of the warehouse is taken, then one of the shop. So what the
   warehouse lacks of the shop's snapshot is in the topics behind the noted offsets: the tail.
2. A mark is written into the shop's log. Once the slot has been confirmed past it, the tail is whole.
3. Of the tail, what the shop's snapshot sees is laid over the warehouse's rows, the last change of each key: a change
   carries its transaction's id, and a snapshot knows exactly which transactions it sees.
4. Both sides are counted and hashed by ranges of the key. A range that differs is gone through row by row.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from cdc import sink, topics
from cdc.catalogue import Column, Table
from cdc.raw import qualified, quoted
from cdc.settings import CdcSettings
from cdc.source import SLOT

AT_ONCE: Final = 2
SHOWN: Final = 5
"""Rows that a difference names."""

_CONFIRM_SECONDS: Final = 90.0
_MARK: Final = "SELECT pg_logical_emit_message(false, 'surge.verify', $1)"
_CONFIRMED: Final = (
    "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = $1 AND active"
)
_BOUNDS: Final = """
    SELECT histogram_bounds::text::text[] FROM pg_stats WHERE schemaname = $1 AND tablename = $2 AND attname = $3
"""
_PATIENT: Final = {"idle_in_transaction_session_timeout": "0", "statement_timeout": "0"}


class VerifyError(Exception):
    """The two can't be compared now."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not equal: ``missing`` in the warehouse, ``surplus`` there, or ``changed``."""

    table: str
    key: str
    kind: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one table. ``tail``: rows whose last change was still on its way."""

    table: str
    rows: int
    raw_rows: int
    ranges: int
    tail: int
    unequal_ranges: int
    differences: int
    shown: tuple[Difference, ...]
    seconds: float

    @property
    def equal(self) -> bool:
        return self.unequal_ranges == 0


@dataclass(frozen=True, slots=True)
class Report:
    """Every table at one point of the log. ``lsn``: where it stood when the shop's snapshot was taken."""

    lsn: int
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return all(finding.equal for finding in self.findings)

    @property
    def rows(self) -> int:
        """Rows compared."""
        return sum(finding.rows for finding in self.findings)

    @property
    def differences(self) -> int:
        """Rows that differ."""
        return sum(finding.differences for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Visibility:
    """Which transactions a snapshot sees, from the text of ``pg_current_snapshot()``."""

    xmin: int
    xmax: int
    running: frozenset[int]

    @classmethod
    def parse(cls, text: str) -> "Visibility":
        low, high, running = text.split(":")
        return cls(int(low), int(high), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, xid: int) -> bool:
        """Whether a transaction is in it. ``xid`` may be cut to 32 bits, as the log has it."""
        whole = (self.xmax & ~0xFFFFFFFF) | (xid & 0xFFFFFFFF)
        if whole > self.xmax + 0x7FFFFFFF:
            whole -= 1 << 32
        elif whole < self.xmax - 0x7FFFFFFF:
            whole += 1 << 32
        return whole < self.xmin or (whole < self.xmax and whole not in self.running)


@dataclass
class _Tail:
    """The last change of each key that the snapshot sees, by table."""

    rows: dict[str, dict[tuple[Any, ...], bytes | None]] = field(default_factory=dict)

    def take(self, table: Table, value: bytes, seen: Visibility) -> None:
        row = orjson.loads(value)
        if seen.sees(int(row["__source_txId"])):
            key = tuple(row[name] for name in table.key)
            self.rows.setdefault(table.name, {})[key] = None if row["__op"] == "d" else value


async def verify(
    settings: CdcSettings, tables: Sequence[Table], note: Callable[[str], None] = lambda _: None
) -> Report:
    """Compares every row of the tables.

    Raises:
        VerifyError: if the source does not follow the shop's log, so that nothing could be said.
    """
    began = time.monotonic()
    async with (
        topics.reader(settings.kafka_bootstrap) as consumer,
        settings.warehouse(server_settings=_PATIENT) as warehouse,
        settings.shop(server_settings=_PATIENT) as shop,
    ):
        starts = await _starts(settings, consumer, tables)
        async with _exported(warehouse) as there, _exported(shop) as here:
            row = await shop.fetchrow(
                "SELECT pg_current_snapshot()::text AS seen, (pg_current_wal_insert_lsn() - '0/0')::bigint AS lsn"
            )
            note("waiting for the tail of the log")
            await _confirmed(settings, int(row["lsn"]))
            tail = await _tail(consumer, tables, starts, Visibility.parse(row["seen"]))
            findings = await _compare(settings, tables, tail, here, there, note)
    order = {table.name: number for number, table in enumerate(tables)}
    findings.sort(key=lambda finding: order[finding.table])
    return Report(int(row["lsn"]), tuple(findings), round(time.monotonic() - began, 1))


@contextlib.asynccontextmanager
async def _exported(connection: Any) -> AsyncIterator[str]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        yield await connection.fetchval("SELECT pg_export_snapshot()")


async def _starts(settings: CdcSettings, consumer: AIOKafkaConsumer, tables: Sequence[Table]) -> dict[str, int]:
    done = await topics.committed(settings.kafka_bootstrap, sink.GROUP)
    first = await consumer.beginning_offsets([TopicPartition(table.topic, 0) for table in tables])
    oldest = {partition.topic: offset for partition, offset in first.items()}
    for table in tables:
        if done.get(table.topic, 0) < oldest[table.topic]:
            raise VerifyError(
                f"changes of {table.name} that the warehouse has not seen are no longer in Kafka: copy it anew with"
                f" `surge cdc resync {table.name}`"
            )
    return {table.topic: done.get(table.topic, oldest[table.topic]) for table in tables}


async def _confirmed(settings: CdcSettings, lsn: int) -> None:
    """Waits until all that was committed before a point of the log is in Kafka."""
    async with settings.shop() as connection:
        deadline = time.monotonic() + _CONFIRM_SECONDS
        await connection.execute(_MARK, "verify")
        while (await connection.fetchval(_CONFIRMED, SLOT) or 0) <= lsn:
            if time.monotonic() > deadline:
                raise VerifyError(
                    f"the source has not come to the present point of the log in {_CONFIRM_SECONDS:.0f} s:"
                    " see `surge cdc status`"
                )
            await asyncio.sleep(0.2)


async def _tail(
    consumer: AIOKafkaConsumer, tables: Sequence[Table], starts: Mapping[str, int], seen: Visibility
) -> _Tail:
    tail = _Tail()
    ends = await topics.ends(consumer, [table.topic for table in tables])
    by_topic = {table.topic: table for table in tables}
    open_ = {TopicPartition(name, 0) for name, end in ends.items() if starts[name] < end}
    consumer.assign(list(open_))
    for partition in open_:
        consumer.seek(partition, starts[partition.topic])
    while open_:
        for partition, records in (await consumer.getmany(*open_, timeout_ms=1000, max_records=20_000)).items():
            for record in records:
                if record.offset < ends[partition.topic] and record.value is not None:
                    tail.take(by_topic[partition.topic], record.value, seen)
        for partition in list(open_):
            if await consumer.position(partition) >= ends[partition.topic]:
                open_.discard(partition)
    return tail


async def _compare(
    settings: CdcSettings,
    tables: Sequence[Table],
    tail: _Tail,
    here: str,
    there: str,
    note: Callable[[str], None],
) -> list[Finding]:
    waiting = list(reversed(tables))
    findings: list[Finding] = []

    async def work() -> None:
        async with settings.shop(server_settings=_PATIENT) as shop, settings.warehouse() as warehouse:
            while waiting:
                table = waiting.pop()
                note(f"{len(findings)} of {len(tables)} tables equal so far; {table.name}")
                async with _as_of(shop, here), _as_of(warehouse, there):
                    findings.append(await _table(shop, warehouse, table, tail.rows.get(table.name, {})))

    await asyncio.gather(*(work() for _ in range(min(AT_ONCE, len(tables)))))
    return findings


@contextlib.asynccontextmanager
async def _as_of(connection: Any, snapshot: str) -> AsyncIterator[None]:
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET TRANSACTION SNAPSHOT '{snapshot}'")
        yield


def _parsed(column: Column) -> str:
    """A column of a change in JSON, named ``r``, as SQL.

    A change that is older than the column has what the sink will write for it (:func:`cdc.sink.field`).
    """
    text = f"r ->> '{column.name}'"
    match column.type:
        case "date":
            value = f"date '1970-01-01' + ({text})::integer"
        case "timestamp without time zone":
            value = f"timestamp '1970-01-01' + ({text})::bigint * interval '1 microsecond'"
        case _:
            value = f"({text})::{column.type}"
    if column.missing is None or column.nullable:
        return value
    literal = column.missing.replace("'", "''")
    return f"coalesce({value}, '{literal}'::{column.type})"


def _statements(table: Table, bounds: Sequence[str] | None) -> tuple[str, str]:
    """The rows of both sides, each with its range and hash: of the shop, and of the warehouse under the tail.

    The warehouse's takes the tail's keys, an array of text for each column of the key, and its rows as JSON.
    """
    names = ", ".join(quoted(column.name) for column in table.columns)
    key = ", ".join(quoted(name) for name in table.key)
    types = {column.name: column.type for column in table.columns}
    first = table.key[0]
    if bounds:
        values = ", ".join("'" + bound.replace("'", "''") + "'" for bound in bounds)
        bucket = f"width_bucket({quoted(first)}, ARRAY[{values}]::{types[first]}[])"
    else:
        bucket = "0"
    shape = f"SELECT {bucket} AS range, hash_record_extended(ROW({names}), 0) AS hash, {key}"
    shop = f"{shape} FROM {quoted(table.captured.schema)}.{quoted(table.captured.table)}"
    keys = ", ".join(f"${number}::text[]::{types[name]}[]" for number, name in enumerate(table.key, 1))
    aliases = ", ".join(f"k{number}" for number in range(len(table.key)))
    same = " AND ".join(f"t.k{number} = w.{quoted(name)}" for number, name in enumerate(table.key))
    parsed = ", ".join(f"{_parsed(column)} AS {quoted(column.name)}" for column in table.columns)
    warehouse = f"""
        {shape} FROM (
            SELECT {names} FROM {qualified(table.raw)} w
            WHERE __op IS DISTINCT FROM 'd'
              AND NOT EXISTS (SELECT FROM unnest({keys}) AS t({aliases}) WHERE {same})
            UNION ALL
            SELECT {parsed} FROM unnest(${len(table.key) + 1}::jsonb[]) AS r
        ) AS rows
    """
    return shop, warehouse


async def _table(shop: Any, warehouse: Any, table: Table, tail: Mapping[tuple[Any, ...], bytes | None]) -> Finding:
    began = time.monotonic()
    bounds = await shop.fetchval(_BOUNDS, table.captured.schema, table.captured.table, table.key[0])
    here, there = _statements(table, bounds)
    keys = [[_text(key[number]) for key in tail] for number in range(len(table.key))]
    rows = [value.decode() for value in tail.values() if value is not None]
    summed = "SELECT range, count(*) AS rows, bit_xor(hash) AS hash FROM ({}) AS hashed GROUP BY range"
    ours, theirs = await asyncio.gather(
        shop.fetch(summed.format(here)), warehouse.fetch(summed.format(there), *keys, rows)
    )
    mine = {row["range"]: (row["rows"], row["hash"]) for row in ours}
    yours = {row["range"]: (row["rows"], row["hash"]) for row in theirs}
    unequal = sorted(bucket for bucket in mine.keys() | yours.keys() if mine.get(bucket) != yours.get(bucket))
    count, shown = 0, list[Difference]()
    for bucket in unequal:
        single = f"SELECT hash, {', '.join(map(quoted, table.key))} FROM ({{}}) AS hashed WHERE range = {bucket}"
        ours, theirs = await asyncio.gather(
            shop.fetch(single.format(here)), warehouse.fetch(single.format(there), *keys, rows)
        )
        found = _differences(table.name, ours, theirs)
        count += len(found)
        shown += found[: SHOWN - len(shown)]
    return Finding(
        table=table.name,
        rows=sum(rows for rows, _ in mine.values()),
        raw_rows=sum(rows for rows, _ in yours.values()),
        ranges=len(mine.keys() | yours.keys()),
        tail=len(tail),
        unequal_ranges=len(unequal),
        differences=count,
        shown=tuple(shown),
        seconds=round(time.monotonic() - began, 2),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else str(value)


def _differences(name: str, ours: Sequence[Any], theirs: Sequence[Any]) -> list[Difference]:
    mine = {tuple(row)[1:]: row["hash"] for row in ours}
    yours = {tuple(row)[1:]: row["hash"] for row in theirs}
    found = []
    for key in mine.keys() | yours.keys():
        if mine.get(key) != yours.get(key):
            kind = "missing" if key not in yours else "surplus" if key not in mine else "changed"
            found.append(Difference(name, "/".join(map(str, key)), kind))
    return sorted(found, key=lambda difference: difference.key)

"""Whole copies of tables, past Kafka: from a snapshot of the shop straight into ``raw``, while the shop goes on.

1. The tables are published, so that from here on every change of theirs enters Kafka.
2. The sink is stopped, and the end of each topic is noted.
3. A snapshot of the shop is exported. What is committed after it enters Kafka after the noted ends.
4. Each table is copied under that snapshot, binary and unlogged: truncated and filled in one transaction, its key
   built afterwards. Several at a time, the largest first.
5. The sink goes on from the noted ends. What lies between an end and the snapshot is written once more, in order, so
   that each row ends as its last change left it.

A copy that is broken off leaves its table as it was; the sink then goes on from where it had stopped.
"""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from cdc import raw, sink, state, topics
from cdc.catalogue import Table
from cdc.connect import ConnectClient
from cdc.raw import qualified, quoted
from cdc.settings import CdcSettings

AT_ONCE: Final = 3
_CHUNKS: Final = 16
"""Pieces of the shop's stream that wait for the warehouse."""

_ESTIMATE: Final = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::regclass"
_SMALL: Final = 100_000
"""Rows below which an estimate is replaced by a count."""


@dataclass
class Progress:
    """How far a run is. ``expected`` counts rows, by the shop's own estimate."""

    expected: int = 0
    tables: int = 0
    tables_done: int = 0
    rows_done: int = 0
    rows_now: int = 0
    began: float = 0.0

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return min(1.0, (self.rows_done + self.rows_now) / self.expected) if self.expected else 1.0

    @property
    def left(self) -> float | None:
        """Seconds left, if the rate holds; None while nothing can be said."""
        spent = time.monotonic() - self.began
        return spent / self.share - spent if self.share > 0.01 else None

    def __str__(self) -> str:
        left = self.left
        return (
            f"{self.rows_done + self.rows_now:,} of about {max(self.expected, self.rows_done):,} rows,"
            f" {self.tables_done} of {self.tables} tables"
            + (f", {left:.0f} s left" if left is not None and left >= 1 else "")
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What a run copied. ``seconds`` is until the last table had its key."""

    copies: tuple[state.Copy, ...]
    seconds: float

    @property
    def rows(self) -> int:
        """Rows in all."""
        return sum(copy.rows for copy in self.copies)


async def copy(
    settings: CdcSettings,
    tables: Sequence[Table],
    every: Sequence[Table],
    note: Callable[[Progress], None] = lambda _: None,
) -> Result:
    """Copies ``tables``; ``every`` is all that the sink writes. Both are published already.

    Raises:
        ConnectError: if the sink can't be stopped or started.
        asyncpg.PostgresError: if a copy failed.
    """
    began = time.monotonic()
    async with ConnectClient(settings.sink_url) as worker, topics.reader(settings.kafka_bootstrap) as consumer:
        await worker.prepare(sink.TABLES, sink.tables_connector(settings.target, every))
        try:
            ends = await topics.ends(consumer, [table.topic for table in tables])
            copies = await _copy(settings, tables, note)
            await worker.seek(sink.TABLES, ends)
        finally:
            await worker.resume(sink.TABLES)
    return Result(tuple(copies), time.monotonic() - began)


async def _copy(settings: CdcSettings, tables: Sequence[Table], note: Callable[[Progress], None]) -> list[state.Copy]:
    async with settings.shop(server_settings=_PATIENT) as shop, _snapshot(shop) as snapshot:
        sizes = {table.name: await _size(shop, table) for table in tables}
        progress = Progress(expected=sum(sizes.values()), tables=len(tables), began=time.monotonic())
        waiting = sorted(tables, key=lambda table: sizes[table.name])
        done: list[state.Copy] = []

        async def work() -> None:
            async with settings.shop(server_settings=_PATIENT) as source, settings.warehouse() as target:
                while waiting:
                    table = waiting.pop()
                    copied = await _table(source, target, table, snapshot)
                    progress.rows_done += copied.rows
                    progress.tables_done += 1
                    done.append(copied)

        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(settings, progress, note))
            workers = [group.create_task(work()) for _ in range(min(AT_ONCE, len(tables)))]
            await asyncio.gather(*workers)
            watching.cancel()
    return done


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An exported snapshot of the shop, and the point of its log."""

    name: str
    at: dt.datetime
    lsn: int


_PATIENT: Final = {"idle_in_transaction_session_timeout": "0", "statement_timeout": "0"}


@contextlib.asynccontextmanager
async def _snapshot(shop: Any) -> AsyncIterator[Snapshot]:
    async with shop.transaction(isolation="repeatable_read", readonly=True):
        row = await shop.fetchrow(
            "SELECT pg_export_snapshot() AS name, clock_timestamp() AS at,"
            " (pg_current_wal_lsn() - '0/0')::bigint AS lsn"
        )
        yield Snapshot(**dict(row))


async def _size(shop: Any, table: Table) -> int:
    estimate = int(await shop.fetchval(_ESTIMATE, table.name))
    if estimate >= _SMALL:
        return estimate
    return int(await shop.fetchval(f"SELECT count(*) FROM {_source(table)}"))


def _source(table: Table) -> str:
    return f"{quoted(table.captured.schema)}.{quoted(table.captured.table)}"


async def _table(source: Any, target: Any, table: Table, snapshot: Snapshot) -> state.Copy:
    began = time.monotonic()
    names = [quoted(column.name) for column in table.columns]
    moment = f"'{snapshot.at.isoformat()}'::timestamptz"
    meta = f"'r'::text, {int(snapshot.at.timestamp() * 1000)}::bigint, {snapshot.lsn}::bigint, {moment}"
    query = f"SELECT {', '.join(names)}, {meta} FROM {_source(table)}"
    columns = [column.name for column in table.columns] + [name for name, _ in raw.META]
    name = qualified(table.raw)
    async with target.transaction():
        await target.execute("SET LOCAL maintenance_work_mem = '512MB'")
        # both indexes are built once the rows are there: that costs less than to keep them while the rows come
        await target.execute(
            f"TRUNCATE {name}; ALTER TABLE {name} DROP CONSTRAINT IF EXISTS {quoted(f'pk_{table.raw}')};"
            f" DROP INDEX IF EXISTS {qualified(raw.emitted_index_name(table.raw))}"
        )
        pipe = _Pipe()
        async with source.transaction(isolation="repeatable_read", readonly=True):
            await source.execute(f"SET TRANSACTION SNAPSHOT '{snapshot.name}'")
            reading = asyncio.create_task(pipe.fill(source.copy_from_query(query, output=pipe.put, format="binary")))
            try:
                status = await target.copy_to_table(
                    table.raw, schema_name="raw", columns=columns, source=pipe.chunks(), format="binary"
                )
                await reading
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
        await target.execute(raw.primary_key(table))
        await target.execute(raw.emitted_index(table.raw))
        copied = state.Copy(
            table.raw, snapshot.at, snapshot.lsn, int(status.split()[-1]), round(time.monotonic() - began, 3)
        )
        await state.keep(target, copied)
    await target.execute(f"ANALYZE {name}")
    return copied


class _Pipe:
    """Chunks on their way from one server to the other, no more than a few at a time."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | BaseException | None] = asyncio.Queue(_CHUNKS)

    async def put(self, chunk: bytes) -> None:
        await self._queue.put(bytes(chunk))

    async def fill(self, reading: Any) -> None:
        """Runs the reader; its end, or its failure, ends the chunks."""
        try:
            await reading
        except BaseException as error:
            await self._queue.put(error)
            raise
        await self._queue.put(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What was put, in order.

        Raises:
            BaseException: what the reader failed with.
        """
        while (chunk := await self._queue.get()) is not None:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk


async def _watch(settings: CdcSettings, progress: Progress, note: Callable[[Progress], None]) -> None:
    """Asks the warehouse how many rows have come so far."""
    query = "SELECT coalesce(sum(tuples_processed), 0)::bigint FROM pg_stat_progress_copy"
    async with settings.warehouse() as connection:
        while True:
            with contextlib.suppress(asyncpg.PostgresError):
                progress.rows_now = int(await connection.fetchval(query))
            note(progress)
            await asyncio.sleep(0.5)

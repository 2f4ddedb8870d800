"""Capture as a whole: brought about, and kept in shape. Every step can be repeated."""

from collections.abc import Callable
from dataclasses import dataclass

from cdc import backfill, capture, catalogue, raw, sink, state, topics
from cdc.catalogue import Table
from cdc.connect import ConnectClient
from cdc.settings import CdcSettings
from cdc.source import CONNECTOR, connector


@dataclass(frozen=True, slots=True)
class Prepared:
    """The captured tables; those of them that have to be copied; what was changed, as sentences."""

    tables: tuple[Table, ...]
    uncopied: tuple[Table, ...]
    changes: tuple[str, ...]


async def prepare(settings: CdcSettings) -> Prepared:
    """Has the captured tables published, their topics and raw tables there, and the source running."""
    async with settings.shop() as shop:
        tables = await catalogue.read(shop)
        names = [table.topic for table in tables]
        changes = [f"{topic} created" for topic in await topics.ensure(settings.kafka_bootstrap, names)]
        unpublished = {table.raw for table in await capture.unpublished(shop, tables)}
        async with settings.warehouse() as warehouse:
            await state.ensure(warehouse)
            # before it is published: if this is broken off, the next run knows that there are changes it has missed
            async with warehouse.transaction():
                evolution = await raw.ensure(warehouse, tables)
                await state.forget(warehouse, evolution.stale | unpublished)
            known = await state.copies(warehouse)
        changes += evolution.changes
        published = await capture.publish(shop, tables, reader=settings.debezium_role)
        changes += [f"{name} captured" for name in published]
    async with ConnectClient(settings.connect_url) as worker:
        if await worker.put(CONNECTOR, connector(settings.source)):
            changes.append(f"{CONNECTOR} configured")
        await worker.wait_healthy(CONNECTOR)
    uncopied = [table for table in tables if table.raw not in known]
    return Prepared(tuple(tables), tuple(uncopied), tuple(changes))


async def ensure(settings: CdcSettings, note: Callable[[backfill.Progress], None] = lambda _: None) -> str:
    """Has the shop's changes flow into the warehouse; copies tables that never were, or that fell behind for good.

    Returns what was done. A sink that somebody paused stays paused.
    """
    prepared = await prepare(settings)
    changes = list(prepared.changes)
    rows = 0
    if prepared.uncopied:
        rows = (await backfill.copy(settings, prepared.uncopied, prepared.tables, note)).rows
    async with ConnectClient(settings.sink_url) as worker:
        # read before the configuration changes: for a moment afterwards a stopped connector is shown as unassigned
        before = {status.name: status.state for status in await worker.statuses()}
        for name, configuration in sink.connectors(settings.target, prepared.tables).items():
            if await worker.put(name, configuration):
                changes.append(f"{name} configured")
            if before.get(name) == "PAUSED":
                continue
            if before.get(name, "RUNNING") != "RUNNING":
                await worker.resume(name)
            await worker.wait_healthy(name)
    said = [f"{len(prepared.tables)} tables"]
    if prepared.uncopied:
        said.append(f"{rows:,} rows copied")
    elif changes:
        said.append(", ".join(changes))
    return ", ".join(said)

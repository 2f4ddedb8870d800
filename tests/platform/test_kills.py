"""``kill -9`` of each server between a commit and its raw row, under load: afterwards not one row differs."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest

from cdc.catalogue import Table
from cdc.settings import CdcSettings
from tests.platform.conftest import equal
from tests.rig import Rig

SERVERS = ("connect", "sink", "kafka", "warehouse")
HEALED = 110.0
"""Seconds after which a commit must come through again, on a machine that does other things as well."""


@pytest.mark.timeout(500)
async def test_killed_servers_cost_no_row(rig: Rig, capture: CdcSettings, tables: list[Table]) -> None:
    enough = asyncio.Event()
    healed: dict[str, float] = {}
    async with asyncio.TaskGroup() as group:
        load = group.create_task(_until(rig, enough))
        for process in SERVERS:
            await asyncio.sleep(1)
            pid = rig.kill(process)
            killed = time.monotonic()
            await _comes_through(capture, deadline=killed + HEALED)
            healed[process] = time.monotonic() - killed
            assert rig.state(process).pid not in (0, pid)
        enough.set()
    orders = load.result()

    report = await equal(capture, tables)

    assert orders > 20
    seconds = ", ".join(f"{process} {spent:.1f} s" for process, spent in healed.items())
    print(f"{orders} orders, {report.rows:,} rows equal; a commit came through again after: {seconds}")


async def _until(rig: Rig, enough: asyncio.Event) -> int:
    """Orders, ten a second, until it is enough; how many."""
    orders = 0
    while not enough.is_set():
        orders += len(await rig.load(rate=10, seconds=1))
    return orders


async def _comes_through(capture: CdcSettings, *, deadline: float) -> None:
    """Commits a change, and waits until it is in the warehouse."""
    async with capture.shop() as shop:
        at = await shop.fetchval("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        user = await shop.fetchval("UPDATE accounts.users SET phone = phone WHERE role = 'admin' RETURNING id")
    while await _lsn(capture, user) < at:
        assert time.monotonic() < deadline, "the change has not come into the warehouse"
        await asyncio.sleep(0.1)


async def _lsn(capture: CdcSettings, user: Any) -> int:
    try:
        async with capture.warehouse() as warehouse:
            return int(await warehouse.fetchval("SELECT __source_lsn FROM raw.accounts_users WHERE id = $1", user))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return 0

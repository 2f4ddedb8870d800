"""``kill -9`` of each server between a commit and its raw row, under load: afterwards not one row differs."""

import asyncio
import time

import pytest

from cdc.catalogue import Table
from cdc.settings import CdcSettings
from stack import instance as instances
from stack import probes
from tests.faults.rig import Rig
from tests.platform.conftest import equal


@pytest.mark.parametrize("process", ["connect", "sink", "kafka", "warehouse"])
async def test_a_killed_server_costs_no_row(rig: Rig, capture: CdcSettings, tables: list[Table], process: str) -> None:
    load = asyncio.create_task(rig.load(rate=15, seconds=5))
    await asyncio.sleep(1.5)
    pid = rig.kill(process)
    killed = time.monotonic()
    await load
    async with asyncio.timeout(60):
        while True:
            try:
                await probes.ask(instances.current(), process)
                break
            except probes.NotReadyError:
                await asyncio.sleep(0.2)

    report = await equal(capture, tables)

    assert rig.state(process).pid != pid
    print(f"{process}: {report.rows:,} rows equal {time.monotonic() - killed:.1f} s after the kill")

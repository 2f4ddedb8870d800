"""``kill -9`` of each process under a running load: everything accepted comes to its right end, the books balance."""

import asyncio
import time

import pytest

from stack import instance as instances
from tests.rig import Rig, clean_audit

RATE = 20.0
BEFORE, AFTER = 1.0, 4.0
"""Seconds of load before and after the kill."""

WITHIN = 30.0
"""Seconds after which everything accepted has come to its end."""

ENDS = frozenset({"delivered", "cancelled"})

PROCESSES = tuple(
    name for name, process in instances.current().processes.items() if process.role not in ("mailsink", "watchdog")
)
"""Whose death could cost an order something, replicas included (``SURGE_TEST_REPLICAS``)."""


@pytest.mark.parametrize("process", PROCESSES)
async def test_a_killed_process_loses_nothing(rig: Rig, process: str) -> None:
    load = asyncio.create_task(rig.load(rate=RATE, seconds=BEFORE + AFTER))
    await asyncio.sleep(BEFORE)
    restarts = rig.state(process).restarts
    pid = rig.kill(process)
    bought = await load
    accepted_by = time.monotonic()
    assert len({b.order.order_id for b in bought}) == RATE * (BEFORE + AFTER)

    ended = await rig.settled([b.order.order_id for b in bought], within=WITHIN, ends=ENDS)

    assert ended == {"delivered": len(bought)}
    ended_by = time.monotonic()
    report = await clean_audit(rest=False)
    assert report.finding("messages.dead").count == 0
    state = rig.state(process)
    assert state.running
    assert state.pid != pid
    assert state.restarts > restarts
    seconds = f"{ended_by - accepted_by:.1f} s after the load, audited in {time.monotonic() - ended_by:.1f} s"
    print(f"{process}: all delivered {seconds}")


@pytest.mark.timeout(400)
async def test_all_killed_at_once_lose_nothing(rig: Rig) -> None:
    """What was answered with 202 lies in the log, whatever else was in memory."""
    # all that a stack has starts anew at the same moment: on a busy machine that takes a minute
    load = asyncio.create_task(rig.load(rate=RATE, seconds=BEFORE + AFTER, patience=240))
    await asyncio.sleep(BEFORE)
    before = {name: rig.kill(name) for name, state in rig.supervisor.states().items() if state.pid}
    assert set(PROCESSES) <= set(before)
    bought = await load
    assert len({b.order.order_id for b in bought}) == RATE * (BEFORE + AFTER)

    ended = await rig.settled([b.order.order_id for b in bought], within=2 * WITHIN, ends=ENDS)

    assert ended == {"delivered": len(bought)}
    report = await clean_audit(rest=False)
    assert report.finding("messages.dead").count == 0
    after = rig.supervisor.states()
    assert all(after[name].running and after[name].pid != pid for name, pid in before.items())


async def test_the_books_balance_when_all_is_delivered(rig: Rig) -> None:
    """After all the kills: nothing that was killed left anything behind."""
    await clean_audit(wait=60)

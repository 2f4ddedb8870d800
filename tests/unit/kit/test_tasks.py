"""Periodic tasks: how they go on after a round that failed."""

import asyncio

import pytest

from kit import tasks
from kit.tasks import Periodic


async def test_a_rare_task_does_not_wait_for_its_next_turn_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RETRY_SECONDS", 0.01)
    rounds: list[bool] = []
    done = asyncio.Event()

    async def work() -> None:
        rounds.append(periodic.ready)
        if len(rounds) < 3:
            raise ConnectionRefusedError(111, "Connection refused")
        done.set()

    periodic = Periodic("pruner", work, 3_600)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(periodic.run())
        await done.wait()
        await asyncio.sleep(0)
        running.cancel()

    assert rounds == [True, False, False]
    assert periodic.ready


async def test_a_frequent_one_keeps_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RETRY_SECONDS", 3_600)
    rounds = 0
    done = asyncio.Event()

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 2:
            done.set()
        raise TimeoutError

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(Periodic("clock", work, 0.01).run())
        await done.wait()
        running.cancel()


async def test_a_defect_is_no_reason_to_go_on() -> None:
    async def work() -> None:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        await Periodic("clock", work, 0.01).run()

"""`surge up`'s promises on a small instance: nothing half started, a repeat heals, nothing is left after down."""

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from stack import up
from stack.definitions import DOCSTORE, POSTGRES, REDIS
from stack.display import Progress
from stack.errors import StackError
from stack.instance import Instance
from stack.supervision import Supervisor, leftovers
from stack.up import Start, down, wipe

SMALL = (REDIS, DOCSTORE)


def _free_base() -> int:
    for base in range(26000, 32000, 20):
        if all(_bindable(base + offset) for offset in range(20)):
            return base
    raise AssertionError("no free ports")


def _bindable(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance(name="small", home=tmp_path / "small", port_base=_free_base())
    yield instance
    down(instance)
    if instance.data.exists():
        wipe(instance)


async def _up(instance: Instance, names: tuple[str, ...] = SMALL) -> Start:
    with Progress("test") as progress:
        start = Start(instance, progress, names, seeded=False)
        await start.run()
        return start


async def test_up_again_does_nothing_and_heals_what_is_down(instance: Instance) -> None:
    first = await _up(instance)
    pids = {name: state.pid for name, state in Supervisor(instance).states().items() if state.pid}
    second = await _up(instance)
    Supervisor(instance).stop([REDIS])
    third = await _up(instance)

    assert set(pids) == set(SMALL)
    assert (first.launched, second.launched, third.launched) == (True, False, False)
    assert (second.started, third.started) == ([], [REDIS])
    assert Supervisor(instance).states()[DOCSTORE].pid == pids[DOCSTORE]


async def test_a_port_in_use_is_named_before_anything_starts(instance: Instance) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", instance.port(2)))
        squatter.listen()

        with pytest.raises(StackError) as refused:
            await _up(instance)

    assert f"port {instance.port(2)} is in use by pid {os.getpid()}" in refused.value.detail
    assert not instance.home.exists()


async def test_a_start_that_fails_takes_back_what_it_started(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(instance: Instance) -> None:
        (instance.data / "redis").mkdir(exist_ok=True)
        (instance.conf / "redis.conf").write_text("nonsense yes\n")

    monkeypatch.setitem(up._PREPARATIONS, REDIS, broken)

    with pytest.raises(StackError, match="redis does not start") as failed:
        await _up(instance)

    assert "nonsense" in failed.value.detail
    assert not Supervisor(instance).alive()
    assert leftovers(instance) == []


async def test_down_leaves_nothing_and_up_finds_the_data(instance: Instance) -> None:
    await _up(instance, (POSTGRES, REDIS))
    states = Supervisor(instance).states()
    processes = [psutil.Process(states[name].pid) for name in (POSTGRES, REDIS)]
    children = [child for process in processes for child in process.children()]

    assert down(instance) == []

    assert not any(process.is_running() for process in (*processes, *children))
    await _up(instance, (POSTGRES, REDIS))


async def test_a_killed_supervisor_is_survived(instance: Instance) -> None:
    await _up(instance, (POSTGRES, REDIS))
    os.kill(int(Supervisor(instance).pid_file.read_text()), signal.SIGKILL)

    again = await _up(instance, (POSTGRES, REDIS))

    assert again.launched
    assert sorted(again.started) == [POSTGRES, REDIS]

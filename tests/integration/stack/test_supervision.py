"""The supervisor with toy processes: restarts, bounded back-off, and nothing that outlives it."""

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from stack.instance import ROOT, Instance
from stack.supervision import Supervisor, end_leftovers, leftovers, socket_path
from stack.supervisord import MOST_SECONDS_BETWEEN_STARTS

SLEEPER = "import time; time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
CRASHER = "raise SystemExit(3)"


def _program(name: str, code: str) -> str:
    run = [sys.executable, "-I", str(ROOT / "stack" / "run.py"), "--set", f"NAME={name}", "--signal", "TERM", "--"]
    return f"""[program:{name}]
command={shlex.join([*run, sys.executable, "-c", code])}
autostart=false
autorestart=true
startsecs=1
startretries=1000000
stopwaitsecs=2
redirect_stderr=true
"""


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    instance = Instance(name="toys", home=tmp_path, port_base=23000)
    instance.create()
    supervisor = Supervisor(instance)
    programs = {"sleeper": SLEEPER, "stubborn": STUBBORN, "crasher": CRASHER}
    supervisor.config.write_text(
        f"""[unix_http_server]
file={socket_path(instance)}

[supervisord]
logfile={instance.log_file("supervisord")}
pidfile={supervisor.pid_file}
childlogdir={instance.logs}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[rpcinterface:surge]
supervisor.rpcinterface_factory=stack.supervisord:make_rpcinterface

"""
        + "\n".join(_program(name, code) for name, code in programs.items())
    )
    supervisor.launch()
    yield supervisor
    if supervisor.alive():
        supervisor.shut_down()
    end_leftovers(instance, seconds=3)


def _until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def _running(supervisor: Supervisor, name: str) -> int:
    supervisor.start(name)
    _until(lambda: supervisor.states()[name].state == "RUNNING")
    return supervisor.states()[name].pid


def test_a_killed_process_comes_back_and_is_counted(supervisor: Supervisor) -> None:
    pid = _running(supervisor, "sleeper")

    os.kill(pid, signal.SIGKILL)
    _until(lambda: supervisor.states()["sleeper"].pid not in (0, pid))

    state = supervisor.states()["sleeper"]
    assert (state.restarts, state.last_exit) == (1, "signal 9")


def test_a_stop_and_start_by_request_is_no_restart(supervisor: Supervisor) -> None:
    _running(supervisor, "sleeper")
    supervisor.stop(["sleeper"])
    _running(supervisor, "sleeper")

    assert supervisor.states()["sleeper"].restarts == 0


def test_a_process_that_never_starts_is_tried_again_with_bounded_back_off(supervisor: Supervisor) -> None:
    supervisor.start("crasher")
    _until(lambda: supervisor.states()["crasher"].restarts >= 3)
    _until(lambda: supervisor.states()["crasher"].state == "BACKOFF")

    state = supervisor.states()["crasher"]
    assert state.last_exit == "exit 3"
    assert 0 <= state.next_start_in <= MOST_SECONDS_BETWEEN_STARTS


def test_processes_do_not_outlive_a_killed_supervisor(supervisor: Supervisor) -> None:
    child = psutil.Process(_running(supervisor, "sleeper"))

    os.kill(int(supervisor.pid_file.read_text()), signal.SIGKILL)

    child.wait(10)
    assert not supervisor.alive()
    assert leftovers(supervisor.instance) == []


def test_what_ignores_every_request_is_ended_by_force(supervisor: Supervisor) -> None:
    child = psutil.Process(_running(supervisor, "stubborn"))
    os.kill(int(supervisor.pid_file.read_text()), signal.SIGKILL)
    _until(lambda: not supervisor.alive())
    assert [process.pid for process in leftovers(supervisor.instance)] == [child.pid]

    end_leftovers(supervisor.instance, seconds=1)

    assert not child.is_running()

"""The running supervisord of an instance, over its control socket; and what is left when it is gone."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import Any, Final

import psutil

from stack.definitions import POSTGRES, PROCESSES, WAREHOUSE, stop_waves
from stack.errors import StackError
from stack.instance import ROOT, Instance

MARK: Final = "SURGE_SUPERVISED_BY"


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        return _UnixConnection(self._path)


@dataclass(frozen=True, slots=True)
class ProcessState:
    """One process as supervisord sees it."""

    name: str
    state: str
    pid: int
    started: float
    restarts: int
    last_exit: str
    next_start_in: float

    @property
    def running(self) -> bool:
        return self.state in ("RUNNING", "STARTING")

    @property
    def uptime(self) -> float:
        return time.time() - self.started if self.running and self.started else 0.0


class Supervisor:
    """Starts, asks and stops an instance's supervisord. Every method but ``alive`` needs it running."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.socket = socket_path(instance)
        self.config = instance.conf / "supervisord.conf"
        self.pid_file = instance.run / "supervisord.pid"

    @property
    def _rpc(self) -> Any:
        return xmlrpc.client.ServerProxy("http://localhost", transport=_UnixTransport(self.socket))

    def alive(self) -> bool:
        """Whether a supervisord answers on the instance's socket."""
        try:
            return bool(self._rpc.supervisor.getState()["statecode"] == 1)
        except (OSError, xmlrpc.client.Error):
            return False

    def launch(self) -> None:
        """Starts supervisord in the background; it starts nothing by itself.

        Raises:
            StackError: if it does not answer within 15 s.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)  # noqa: PTH108
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SURGE_")}
        result = subprocess.run(
            [sys.executable, "-m", "stack.supervisord", "-c", str(self.config)],
            cwd=ROOT,
            env={**environment, "PYTHONPATH": str(ROOT), MARK: self.instance.mark},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise StackError("supervisord did not start", result.stdout + result.stderr)
        deadline = time.monotonic() + 15
        while not self.alive():
            if time.monotonic() > deadline:
                raise StackError("supervisord does not answer", tail(self.instance, "supervisord"))
            time.sleep(0.05)

    def apply_configuration(self) -> None:
        """Takes up a changed configuration file: new processes are known, changed ones stopped, removed ones gone."""
        rpc = self._rpc
        added, changed, removed = rpc.supervisor.reloadConfig()[0]
        for name in (*changed, *removed):
            rpc.supervisor.stopProcessGroup(name)
            rpc.supervisor.removeProcessGroup(name)
        for name in (*added, *changed):
            rpc.supervisor.addProcessGroup(name)

    def states(self) -> dict[str, ProcessState]:
        """Every process that supervisord knows."""
        rpc = self._rpc
        infos: list[dict[str, Any]] = rpc.supervisor.getAllProcessInfo()
        restarts: list[dict[str, Any]] = rpc.surge.restarts()
        counted = {entry["name"]: entry for entry in restarts}
        return {
            info["name"]: ProcessState(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"],
                started=float(info["start"]),
                restarts=counted[info["name"]]["restarts"],
                last_exit=counted[info["name"]]["last_exit"],
                next_start_in=counted[info["name"]]["next_start_in"],
            )
            for info in infos
        }

    def start(self, name: str) -> None:
        """Has a stopped process started; does not wait for it."""
        try:
            self._rpc.supervisor.startProcess(name, False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                message = f"{name} could not be started: {fault.faultString}"
                raise StackError(message, tail(self.instance, name)) from None

    def stop(self, names: Iterable[str], *, seconds: float = 40) -> None:
        """Stops processes side by side and waits for them."""
        asked = set(names)
        for name in asked:
            with contextlib.suppress(xmlrpc.client.Fault):
                self._rpc.supervisor.stopProcess(name, False)
        deadline = time.monotonic() + seconds
        while any(state.name in asked and state.state not in _DOWN for state in self.states().values()):
            if time.monotonic() > deadline:
                raise StackError(f"not stopped within {seconds:.0f} s: {', '.join(sorted(asked))}")
            time.sleep(0.05)

    def stop_all(self, names: Sequence[str] | None = None) -> None:
        """Stops in waves, everything or what is named: what depends on a process stops before it."""
        up = {state.name for state in self.states().values() if state.state not in _DOWN}
        chosen = up if names is None else up & set(names)
        roles = {name: name if name in PROCESSES else _COPY.sub("", name) for name in chosen}
        for wave in stop_waves():
            self.stop([name for name in chosen if roles[name] in wave])
        self.stop([name for name in chosen if roles[name] not in PROCESSES])

    def shut_down(self) -> None:
        """Ends supervisord itself, and waits until its process is gone."""
        pid = self._rpc.supervisor.getPID()
        self._rpc.supervisor.shutdown()
        with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired):
            psutil.Process(pid).wait(40)


_COPY: Final = re.compile(r"-\d+$")
_DOWN: Final = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")


def socket_path(instance: Instance) -> str:
    """The control socket: in the instance's directory, or in the temporary one where that path is too long."""
    path = str(instance.run / "supervisord.sock")
    return path if len(path) < 96 else f"/tmp/surge-{instance.mark}.sock"  # noqa: S108


def tail(instance: Instance, process: str, lines: int = 20) -> str:
    """The last lines of a process's log."""
    file = instance.log_file(process)
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 64 * 1024))
        return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])


def leftovers(instance: Instance) -> list[psutil.Process]:
    """Processes of the instance, supervisord included, by the mark in their environment and Postgres's own pid file."""
    found: list[psutil.Process] = []
    own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in own and process.environ().get(MARK) == instance.mark:
                found.append(process)
    for server in (POSTGRES, WAREHOUSE):
        with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
            postmaster = psutil.Process(int((instance.data / server / "postmaster.pid").read_text().split()[0]))
            if postmaster not in found and "postgres" in postmaster.name():
                found.append(postmaster)
    return found


def end_leftovers(instance: Instance, *, seconds: float = 20) -> list[str]:
    """Ends whatever of the instance still runs, by force if it must, and names it."""
    remaining = leftovers(instance)
    names = [f"{process.pid} {process.name()}" for process in remaining]
    for process in remaining:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGINT if "postgres" in process.name() else signal.SIGTERM)
    _, alive = psutil.wait_procs(remaining, timeout=seconds)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=5)
    return names

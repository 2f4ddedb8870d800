"""What runs: each process's state, port, memory, uptime and restarts, and how far the consumers are behind."""

import asyncio
import contextlib
from dataclasses import asdict, dataclass
from typing import Any

import psutil
from rich.table import Table
from rich.text import Text

from cdc.connect import ConnectClient, ConnectError
from stack import kafka, probes
from stack.definitions import CONNECT, KAFKA, PROCESSES, SINK, Process
from stack.instance import Instance
from stack.supervision import ProcessState, Supervisor


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """One line of ``surge status``."""

    name: str
    purpose: str
    state: str
    ready: bool
    problem: str
    pid: int
    ports: dict[str, int]
    page: str
    memory_mb: int
    uptime_seconds: int
    restarts: int
    last_exit: str
    next_start_in: float


@dataclass(frozen=True, slots=True)
class Report:
    """All of ``surge status``."""

    instance: str
    home: str
    running: bool
    processes: list[ProcessReport]
    groups: list[dict[str, Any]]
    connectors: list[dict[str, Any]]

    @property
    def healthy(self) -> bool:
        return self.running and all(process.ready for process in self.processes)

    def as_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return {**asdict(self), "healthy": self.healthy}


def memory_mb(pid: int) -> int:
    """The proportional set of a process and its children, in MB: shared pages count once."""
    total = 0
    with contextlib.suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                full = process.memory_full_info()
                total += getattr(full, "pss", 0) or full.rss
    return total // 2**20


async def _process(instance: Instance, process: Process, state: ProcessState | None) -> ProcessReport:
    name = process.name
    problem = ""
    alive = state is not None and state.pid > 0
    if alive:
        try:
            await probes.ask(instance, name)
        except probes.NotReadyError as error:
            problem = str(error) or type(error).__name__
    return ProcessReport(
        name=name,
        purpose=process.purpose,
        state=_state(state, problem),
        ready=alive and not problem,
        problem=problem,
        pid=state.pid if state else 0,
        ports={
            **({"entrance": instance.port(process.entrance)} if process.entrance is not None else {}),
            **{role: instance.port(offset) for role, offset in process.ports.items()},
        },
        page=instance.page(process),
        memory_mb=await asyncio.to_thread(memory_mb, state.pid) if state and alive else 0,
        uptime_seconds=int(state.uptime) if state else 0,
        restarts=state.restarts if state else 0,
        last_exit=state.last_exit if state else "",
        next_start_in=round(state.next_start_in, 1) if state else 0.0,
    )


def _state(state: ProcessState | None, problem: str) -> str:
    if state is None:
        return "down"
    if state.state == "BACKOFF":
        return "back-off"
    if not state.pid:
        return "down"
    return "starting" if problem and state.uptime < 20 else "not ready" if problem else "ready"


async def gather(instance: Instance) -> Report:
    """Asks everything that runs."""
    supervisor = Supervisor(instance)
    running = supervisor.alive()
    states = supervisor.states() if running else {}
    processes = await asyncio.gather(
        *(_process(instance, process, states.get(name)) for name, process in instance.processes.items())
    )
    ready = {process.name for process in processes if process.ready}
    groups: list[dict[str, Any]] = []
    if KAFKA in ready:
        with contextlib.suppress(kafka.KafkaError, OSError, TimeoutError):
            lags = await kafka.group_lags(f"127.0.0.1:{instance.port(PROCESSES[KAFKA].port)}")
            groups = [asdict(lag) for lag in lags]
    connectors: list[dict[str, Any]] = []
    for worker in sorted({CONNECT, SINK} & ready):
        async with ConnectClient(f"http://127.0.0.1:{instance.port(PROCESSES[worker].port)}") as client:
            with contextlib.suppress(ConnectError):
                connectors += [asdict(status) for status in await client.statuses()]
    return Report(
        instance=instance.name,
        home=str(instance.home),
        running=running,
        processes=list(processes),
        groups=groups,
        connectors=connectors,
    )


_STYLES = {"ready": "green", "down": "dim", "back-off": "red", "not ready": "red", "starting": "yellow"}


def tables(report: Report) -> list[Table]:
    """The report for people."""
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    for column, justify in (
        ("process", "left"),
        ("state", "left"),
        ("pid", "right"),
        ("port", "left"),
        ("memory", "right"),
        ("uptime", "right"),
        ("restarts", "right"),
        ("", "left"),
    ):
        table.add_column(column, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for process in report.processes:
        note = process.problem or process.purpose
        if process.restarts and process.last_exit:
            note = f"last ended by {process.last_exit}; {note}"
        if process.next_start_in:
            note = f"next start in {process.next_start_in:.0f} s, ended by {process.last_exit}"
        table.add_row(
            process.name,
            Text(process.state, _STYLES[process.state]),
            str(process.pid or ""),
            " ".join(str(port) for port in process.ports.values()),
            f"{process.memory_mb} MB" if process.memory_mb else "",
            _duration(process.uptime_seconds) if process.pid else "",
            Text(str(process.restarts), "yellow" if process.restarts else "dim"),
            Text(note[:90], "dim"),
        )
    shown = [table]
    if opened := [process for process in report.processes if process.page]:
        pages = Table(box=None, pad_edge=False, header_style="bold dim")
        pages.add_column("page")
        pages.add_column("of")
        for process in opened:
            pages.add_row(process.page if process.ready else Text(process.page, "dim"), Text(process.name, "dim"))
        shown.append(pages)
    if report.groups:
        groups = Table(box=None, pad_edge=False, header_style="bold dim")
        groups.add_column("consumer group")
        groups.add_column("process")
        groups.add_column("lag", justify="right")
        groups.add_column("topics")
        owners = {name: process.name for process in PROCESSES.values() for name in process.groups}
        for group in report.groups:
            behind = ", ".join(f"{topic} {lag}" for topic, lag in group["topics"].items() if lag)
            groups.add_row(
                group["group"],
                Text(owners.get(group["group"], ""), "dim"),
                Text(str(group["lag"]), "yellow" if group["lag"] else "green"),
                Text(behind, "dim"),
            )
        shown.append(groups)
    if report.connectors:
        connectors = Table(box=None, pad_edge=False, header_style="bold dim")
        connectors.add_column("connector")
        connectors.add_column("state")
        for connector in report.connectors:
            state = "/".join((connector["state"], *connector["tasks"])).lower()
            connectors.add_row(connector["name"], Text(state, "red" if "failed" in state else "green"))
        shown.append(connectors)
    return shown


def _duration(seconds: int) -> str:
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

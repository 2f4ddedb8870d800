"""How soon the shop is itself again after ``kill -9`` of each of its processes, under load."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from audit.run import run as audit
from stack import probes
from stack.bench.figures import meaning
from stack.bench.prepare import Note
from stack.bench.run import AUDIT_SECONDS, Bench, Fate, Load, opened
from stack.bench.sampler import Sample
from stack.bench.vegeta import Shot
from stack.definitions import PROCESSES, SHOP
from stack.errors import StackError
from stack.supervision import Supervisor

RATE: Final = 50.0
HEALTHY_SECONDS: Final = 10.0
DRAINED_SECONDS: Final = 60.0
ENDED_SECONDS: Final = 30.0
"""What the shop promises: ready again, the backlog gone, the slowest order at PROCESSING or cancelled."""

BEFORE: Final = 5.0
AFTER: Final = 15.0
"""Seconds of load before and after the kill."""

_LOOK: Final = 0.1
_PATIENCE: Final = 120.0

COMPONENTS: Final = tuple(name for name in SHOP if name not in ("watchdog", "mailsink"))
"""What is killed unless told: all but what only looks after others, and what stands for the mail server outside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What the kill of one process led to. All but counts are seconds; None: it did not come about."""

    process: str
    healthy: float | None = field(
        metadata=meaning("From the kill until the process, started again, says that it serves.")
    )
    refusing: float = field(
        metadata=meaning("From the kill until the last checkout that was not accepted was answered; 0: none was.")
    )
    refused: int = field(metadata=meaning("Checkouts that were not accepted."))
    drained: float | None = field(
        metadata=meaning("From the kill until no consumer group was more than one second's messages behind.")
    )
    slowest: float | None = field(
        metadata=meaning("The longest that an accepted order took to PROCESSING, or to its cancellation.")
    )
    accepted: int = field(metadata=meaning("Checkouts that were accepted."))
    lost: int = field(metadata=meaning("Accepted orders that the books do not know."))
    unfinished: int = field(metadata=meaning("Orders that were still pending, unpaid or being cancelled at the end."))

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return (
            _within(self.healthy, HEALTHY_SECONDS)
            and _within(self.drained, DRAINED_SECONDS)
            and _within(self.slowest, ENDED_SECONDS)
            and not self.lost
            and not self.unfinished
        )

    def __str__(self) -> str:
        healthy, drained, slowest = (
            "never" if seconds is None else f"{seconds:.1f} s" for seconds in (self.healthy, self.drained, self.slowest)
        )
        return (
            f"{self.process}: healthy after {healthy}, drained after {drained}, slowest order {slowest},"
            f" {self.refused} refused, {self.lost} lost"
        )


@dataclass(frozen=True, slots=True)
class Recoveries:
    """A whole run."""

    rate: float
    recoveries: Sequence[Recovery]
    audit: str
    clean: bool

    @property
    def kept(self) -> bool:
        """Whether every promise was kept and the books balance."""
        return self.clean and all(recovery.kept for recovery in self.recoveries)

    def document(self) -> dict[str, Any]:
        """The run as flat JSON: ``<process>.<figure>``, seconds and counts."""
        document: dict[str, Any] = {"scenario": "recovery", "rate": self.rate, "passed": self.kept, "audit": self.audit}
        for recovery in self.recoveries:
            for entry in fields(recovery):
                value = getattr(recovery, entry.name)
                if entry.name != "process":
                    key = f"{entry.name}_seconds" if entry.name in _SECONDS else entry.name
                    document[f"{recovery.process}.{key}"] = round(value, 2) if isinstance(value, float) else value
            document[f"{recovery.process}.kept"] = recovery.kept
        return document

    def render(self) -> RenderableType:
        """The run as a table."""
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        table.add_column("killed")
        for title in ("healthy s", "refusing s", "refused", "drained s", "slowest order s", "accepted", "lost"):
            table.add_column(title, justify="right")
        for r in self.recoveries:
            table.add_row(
                Text(r.process, "" if r.kept else "red"),
                _shown(r.healthy, HEALTHY_SECONDS),
                _shown(r.refusing),
                str(r.refused),
                _shown(r.drained, DRAINED_SECONDS),
                _shown(r.slowest, ENDED_SECONDS),
                str(r.accepted),
                Text(str(r.lost + r.unfinished), "red" if r.lost or r.unfinished else ""),
            )
        promise = (
            f"at {self.rate:.0f} orders/s: healthy within {HEALTHY_SECONDS:.0f} s, drained within"
            f" {DRAINED_SECONDS:.0f} s, no order slower than {ENDED_SECONDS:.0f} s, none lost; {self.audit}"
        )
        verdict = ("✓ kept", "green") if self.kept else ("✗ missed", "red")
        return Group(table, Text(), Text.assemble(verdict, (f"  {promise}", "dim")))


_SECONDS: Final = ("healthy", "refusing", "drained", "slowest")


def _within(seconds: float | None, limit: float) -> bool:
    return seconds is not None and seconds <= limit


def _shown(seconds: float | None, limit: float | None = None) -> Text:
    missed = limit is not None and not _within(seconds, limit)
    return Text("never" if seconds is None else f"{seconds:.1f}", "red" if missed else "")


async def measure(
    names: Sequence[str], rate: float, note: Note, tell: Callable[[Recovery], None] = lambda _: None
) -> Recoveries:
    """Kills one process after the other, each under a load of its own; each recovery is told when it is over.

    Raises:
        StackError: if the shop can't be used, or a name is no process.
    """
    if unknown := set(names) - set(PROCESSES):
        raise StackError(f"no process of the stack: {', '.join(sorted(unknown))}", f"There are {', '.join(PROCESSES)}.")
    recoveries: list[Recovery] = []
    for name in names:
        recoveries.append(await _one(name, rate, note))
        tell(recoveries[-1])
    report = await audit(wait=AUDIT_SECONDS, note=lambda what: note(f"auditing, waiting for: {what}"))
    return Recoveries(rate, recoveries, report.verdict, report.clean)


async def _one(name: str, rate: float, note: Note) -> Recovery:
    def said(what: str) -> None:
        note(f"{name}: {what}")

    async with opened(said) as bench:
        killed_at, healthy = 0.0, None

        async def kill() -> None:
            nonlocal killed_at, healthy
            await asyncio.sleep(BEFORE)
            pid = await asyncio.to_thread(_kill, bench, name)
            killed_at = time.time()
            healthy = await _healthy(bench, name, pid)

        load = await bench.load(rate, BEFORE + AFTER, meanwhile=kill)
        await bench.drain(load)
        return summed_up(name, load, killed_at, healthy, await bench.fates(load), drained_by(load.samples))


def _kill(bench: Bench, name: str) -> int:
    pid = Supervisor(bench.instance).states()[name].pid
    if not pid:
        raise StackError(f"{name} does not run")
    os.kill(pid, signal.SIGKILL)
    return pid


async def _healthy(bench: Bench, name: str, pid: int) -> float | None:
    """Seconds until another process of the name says that it serves."""
    began = time.monotonic()
    while time.monotonic() < began + _PATIENCE:
        state = (await asyncio.to_thread(Supervisor(bench.instance).states))[name]
        if state.pid not in (0, pid):
            try:
                await probes.ask(bench.instance, name)
            except probes.NotReadyError:
                pass
            else:
                return time.monotonic() - began
        await asyncio.sleep(_LOOK)
    return None


def drained_by(samples: Sequence[Sample]) -> float | None:
    """When the last sample was taken in which a group was more than a second's messages behind, or Kafka was away.

    A second's messages are the most that any second of the run brought. None: the run ended so.
    """
    most = max(
        (later.messages - earlier.messages for earlier, later in itertools.pairwise(samples) if earlier.lag),
        default=0,
    )
    behind = [not sample.lag or max(sample.lag.values()) > most for sample in samples]
    if not samples or behind[-1]:
        return None
    last = max((n for n, is_behind in enumerate(behind) if is_behind), default=-1)
    return samples[last + 1].at


def summed_up(
    process: str,
    load: Load,
    killed_at: float,
    healthy: float | None,
    fates: Sequence[Fate],
    drained_at: float | None,
) -> Recovery:
    """One kill, from what the clients were told and what the books say."""
    refused: list[Shot] = [shot for shot in load.attack.shots if shot.code != 202]
    over = [fate.over for fate in fates]
    took = [at - fate.created for fate, at in zip(fates, over, strict=True) if at is not None]
    waiting = sum(at is None and fate.confirmed is None for fate, at in zip(fates, over, strict=True))
    return Recovery(
        process=process,
        healthy=healthy,
        refusing=max((shot.due + shot.latency - killed_at for shot in refused), default=0.0),
        refused=len(refused),
        drained=None if drained_at is None else max(0.0, drained_at - killed_at),
        slowest=max(took, default=None),
        accepted=len(load.accepted),
        lost=len(load.accepted - {fate.number for fate in fates}),
        unfinished=waiting,
    )

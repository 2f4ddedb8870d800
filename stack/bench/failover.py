"""The database away: stopped for a while, and killed once, under load."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from stack import probes
from stack.bench.figures import Figures, Goal
from stack.bench.run import Bench, Fate, Load
from stack.bench.scenarios import safe
from stack.bench.vegeta import Shot
from stack.definitions import POSTGRES
from stack.errors import StackError
from stack.supervision import Supervisor

RECOVERY_SECONDS: Final = 30.0
SHARE_ACCEPTED: Final = 0.99

_LEAD: Final = 10.0
_BETWEEN: Final = 25.0
_TRAIL: Final = 25.0
_KILLED: Final = 5.0
"""Seconds that a killed Postgres is likely to take until it is back."""

_RETURN_SECONDS: Final = 60.0
_PAUSE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Outage:
    """A time without Postgres, in Unix seconds."""

    name: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return self.ended - self.began


def duration(outage_seconds: float) -> float:
    """How long the load has to last."""
    return _LEAD + outage_seconds + _BETWEEN + _KILLED + _TRAIL


async def failover(bench: Bench, rate: float, outage_seconds: float, *, audited: bool = True) -> tuple[Figures, Load]:
    """Checkouts at a constant rate while Postgres is first stopped for a while, later killed with SIGKILL."""
    outages: list[Outage] = []

    async def break_it() -> None:
        await asyncio.sleep(_LEAD)
        outages.append(await _stop(bench, outage_seconds))
        await asyncio.sleep(_BETWEEN)
        outages.append(await _kill(bench))

    load = await bench.load(rate, duration(outage_seconds), meanwhile=break_it)
    figures = await bench.figures("db-failover", load, audited=audited)
    fates = await bench.fates(load)
    for outage in outages:
        account(figures, outage, load.attack.shots, fates)
    figures.judge([*(goal for outage in outages for goal in goals(figures, outage)), *safe(figures, audited=audited)])
    return figures, load


async def _stop(bench: Bench, seconds: float) -> Outage:
    supervisor = Supervisor(bench.instance)
    began = time.time()
    await asyncio.to_thread(supervisor.stop, [POSTGRES])
    try:
        await asyncio.sleep(max(0.0, began + seconds - time.time()))
    finally:
        await asyncio.to_thread(supervisor.start, POSTGRES)
    return Outage("stop", began, await _back(bench))


async def _kill(bench: Bench) -> Outage:
    postmaster = psutil.Process(bench.sampler.pids()[POSTGRES])
    began = time.time()
    postmaster.kill()
    await asyncio.to_thread(psutil.wait_procs, [postmaster], timeout=_RETURN_SECONDS)
    return Outage("kill", began, await _back(bench))


async def _back(bench: Bench) -> float:
    deadline = time.monotonic() + _RETURN_SECONDS
    while time.monotonic() < deadline:
        try:
            await probes.ask(bench.instance, POSTGRES)
        except probes.NotReadyError:
            await asyncio.sleep(_PAUSE)
        else:
            return time.time()
    raise StackError(f"Postgres did not come back within {_RETURN_SECONDS:.0f} s: see `surge logs postgres`")


def account(figures: Figures, outage: Outage, shots: Sequence[Shot], fates: Sequence[Fate]) -> None:
    """What an outage did to the checkouts that fell into it, and to their orders."""
    meanwhile = [shot for shot in shots if outage.began <= shot.due < outage.ended]
    figures.outage_seconds[outage.name] = outage.seconds
    figures.outage_offered[outage.name] = len(meanwhile)
    figures.outage_accepted[outage.name] = sum(shot.code == 202 for shot in meanwhile)
    orders = [f for f in fates if outage.began <= f.created < outage.ended and not f.refused_by_carrier]
    if all(fate.over is not None for fate in orders):
        figures.outage_recovery_seconds[outage.name] = max(
            (fate.over - outage.ended for fate in orders if fate.over is not None), default=0.0
        )


def goals(figures: Figures, outage: Outage) -> list[Goal]:
    """Checkouts go on without the database, and their orders are completed soon after its return."""
    accepted, offered = figures.outage_accepted[outage.name], figures.outage_offered[outage.name]
    recovery = figures.outage_recovery_seconds.get(outage.name)
    return [
        Goal(
            key=f"accepted_{outage.name}",
            promise="checkouts are accepted while Postgres is away",
            measured=f"{accepted:,} of {offered:,}",
            kept=offered > 0 and accepted >= offered * SHARE_ACCEPTED,
        ),
        Goal(
            key=f"recovered_{outage.name}",
            promise=f"their orders are completed within {RECOVERY_SECONDS:.0f} s of its return",
            measured="some never" if recovery is None else f"{recovery:.1f} s",
            kept=recovery is not None and recovery <= RECOVERY_SECONDS,
        ),
    ]

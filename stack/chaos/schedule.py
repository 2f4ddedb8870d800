"""What the nemesis does and when: a pure function of the seed."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stack.definitions import CONNECT, DOCSTORE, GATEWAY, KAFKA, POSTGRES, PROCESSES, REDIS, SHOP


class Kind(StrEnum):
    """A way to hurt a process."""

    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    CUT = "cut"
    FLUSH = "flush"
    FULL_DISK = "full-disk"
    SKEW = "skew"
    TWICE = "twice"


MEANING: Final[Mapping[Kind, str]] = {
    Kind.KILL: "SIGKILL",
    Kind.PAUSE: "SIGSTOP to it and its children, then SIGCONT",
    Kind.RESTART: "stopped and started in order",
    Kind.CUT: "its proxy drops every connection and refuses new ones",
    Kind.FLUSH: "FLUSHALL",
    Kind.FULL_DISK: "no byte left on the file system of its data",
    Kind.SKEW: "its clock is wrong",
    Kind.TWICE: "every message of the last seconds that it reads is stored again",
}

TARGETS: Final[Mapping[Kind, tuple[str, ...]]] = {
    Kind.KILL: SHOP,
    Kind.PAUSE: SHOP,
    Kind.RESTART: SHOP,
    Kind.CUT: (GATEWAY, POSTGRES, REDIS, KAFKA, DOCSTORE, CONNECT, "payment-providers", "mailsink"),
    Kind.FLUSH: (REDIS,),
    Kind.FULL_DISK: (POSTGRES, REDIS, KAFKA, DOCSTORE),
    Kind.SKEW: tuple(name for name in SHOP if PROCESSES[name].groups or name == GATEWAY),
    Kind.TWICE: tuple(name for name in SHOP if PROCESSES[name].groups),
}
"""Whom each kind can hurt. Only what others connect to can be cut; that cuts their clients off as well."""

WEIGHTS: Final[Mapping[Kind, float]] = {
    Kind.KILL: 5,
    Kind.PAUSE: 3,
    Kind.RESTART: 3,
    Kind.CUT: 3,
    Kind.FLUSH: 1,
    Kind.FULL_DISK: 2,
    Kind.SKEW: 2,
    Kind.TWICE: 2,
}

SECONDS: Final[Mapping[Kind, tuple[float, float]]] = {
    Kind.KILL: (0, 0),
    Kind.PAUSE: (10, 10),
    Kind.RESTART: (0, 0),
    Kind.CUT: (2, 8),
    Kind.FLUSH: (0, 0),
    Kind.FULL_DISK: (5, 10),
    Kind.SKEW: (10, 25),
    Kind.TWICE: (0, 0),
}
"""How long each kind lasts, from … to."""

OFFSETS: Final = (-300, -60, -5, 5, 60, 300)
"""Seconds by which a clock is wrong."""

LOOK_BACK: Final = 5.0
"""Seconds whose messages are delivered again."""

GAP: Final = (3.4, 6.6)
"""Seconds between two faults, from … to: 12 a minute."""

AT_ONCE: Final = 3
"""Most faults that hold at the same moment."""

BREATH: Final = 4.0
"""Seconds after its end in which a fault still counts as holding, and its target is left alone."""

QUIET_START: Final = 2.0
"""Seconds of load before the first fault."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault: when it begins (seconds from the start), how long it lasts, how large it is.

    ``amount`` is the clock's offset in seconds for a skew, the seconds looked back for ``twice``, otherwise 0.
    """

    number: int
    at: float
    kind: Kind
    target: str
    seconds: float
    amount: float = 0.0

    @property
    def over(self) -> float:
        """When its target has had its breath."""
        return round(self.at + self.seconds + BREATH, 2)


def plan(seed: int, seconds: float, kinds: Sequence[Kind] = tuple(Kind)) -> list[Fault]:
    """The faults of a run, by when they begin: all are over before ``seconds`` are.

    The same arguments give the same faults. At most :data:`AT_ONCE` hold at once, each on a target of its own.
    """
    kinds = sorted(set(kinds))
    chance = random.Random(f"{seed} {seconds:g} {' '.join(kinds)}")
    faults: list[Fault] = []
    at = QUIET_START
    while True:
        at = math.ceil(round(at * 100, 3)) / 100
        holding = sorted((fault for fault in faults if fault.over > at), key=lambda fault: fault.over)
        if len(holding) >= AT_ONCE:
            at = holding[-AT_ONCE].over
            continue
        busy = {fault.target for fault in holding}
        if all(name in busy for kind in kinds for name in TARGETS[kind]):
            at = holding[0].over
            continue
        fault = _draw(chance, len(faults) + 1, at, kinds, busy)
        if fault.at + fault.seconds > seconds:
            return faults
        faults.append(fault)
        at += chance.uniform(*GAP)


def _draw(chance: random.Random, number: int, at: float, kinds: Sequence[Kind], busy: set[str]) -> Fault:
    open_ = {kind: [name for name in TARGETS[kind] if name not in busy] for kind in kinds}
    choices = [kind for kind in kinds if open_[kind]]
    kind = chance.choices(choices, weights=[WEIGHTS[kind] for kind in choices])[0]
    amount = 0.0
    if kind is Kind.SKEW:
        amount = float(chance.choice(OFFSETS))
    elif kind is Kind.TWICE:
        amount = LOOK_BACK
    seconds = round(chance.uniform(*SECONDS[kind]), 1)
    return Fault(number, at, kind, chance.choice(open_[kind]), seconds, amount)

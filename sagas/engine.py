"""A saga as data, and the pure functions that move it. Knows no order, no broker and no clock.

A saga is a table: for each state, which message leads where, which commands that sends, which of the commands under
way it makes pointless, and when the state times out. Every command names the events that answer it; one that was not
answered yet is *outstanding* and is sent again, with the same id, until it is.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

FIRST_RESEND: Final = dt.timedelta(seconds=60)
LONGEST_RESEND: Final = dt.timedelta(minutes=10)
FIRST_RETRY: Final = dt.timedelta(seconds=1)
LONGEST_RETRY: Final = dt.timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Go:
    """What a message leads to.

    Args:
        to: the next state, which may be the same.
        send: commands to send.
        drop: outstanding commands that nobody waits for any more.
        retry: an outstanding command that failed for now and is sent again as a new attempt, with back-off.
        emit: an event to publish; a change of state publishes the new state's event unless this names another.
        reason: why, if the message does not say.
    """

    to: str
    send: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    retry: str | None = None
    emit: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class State:
    """A state: what each message leads to, the event that entering it publishes, and how long it may last."""

    on: Mapping[str, Go]
    emits: str | None = None
    time_out: dt.timedelta | None = None


@dataclass(frozen=True)
class Saga:
    """A saga's table. Building one checks that it is whole.

    Args:
        start: the message that starts an instance.
        begin: what the start leads to.
        states: by name.
        answers: for each command the events that answer it.
        time_out: the message type by which the clock says that a state lasted too long.

    Raises:
        ValueError: if a rule leads to an unknown state, sends a command that has no answers, or nobody can be reached.
    """

    name: str
    start: str
    begin: Go
    states: Mapping[str, State]
    answers: Mapping[str, frozenset[str]]
    time_out: str
    _later: Mapping[str, frozenset[str]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rules = [("start", self.start, self.begin)]
        rules += [(name, message, go) for name, state in self.states.items() for message, go in state.on.items()]
        for name, message, go in rules:
            where = f"{self.name}: {name} on {message}"
            if go.to not in self.states:
                raise ValueError(f"{where} leads to the unknown state {go.to!r}")
            for command in (*go.send, *go.drop, *filter(None, [go.retry])):
                if command not in self.answers:
                    raise ValueError(f"{where} names {command!r}, which has no answers")
        for name, state in self.states.items():
            if state.time_out is not None and self.time_out not in state.on:
                raise ValueError(f"{self.name}: {name} times out and has no rule for {self.time_out!r}")
        reached = self._reachable(self.begin.to) | {self.begin.to}
        if unreached := set(self.states) - reached:
            raise ValueError(f"{self.name}: nothing leads to {sorted(unreached)}")
        object.__setattr__(self, "_later", {name: self._handled_after(name) for name in self.states})

    def _reachable(self, state: str) -> set[str]:
        seen: set[str] = set()
        frontier = [state]
        while frontier:
            for go in self.states[frontier.pop()].on.values():
                if go.to not in seen:
                    seen.add(go.to)
                    frontier.append(go.to)
        return seen

    def _handled_after(self, state: str) -> frozenset[str]:
        ahead = self._reachable(state)
        rules = {message for later in ahead - {state} for message in self.states[later].on}
        sent = {command for later in {state, *ahead} for go in self.states[later].on.values() for command in go.send}
        return frozenset(rules.union(*(self.answers[command] for command in sent)))

    def may_come_later(self, state: str, message: str) -> bool:
        """Whether a message only came early: a state ahead has a rule for it, or sends what it answers."""
        return message in self._later[state]


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A command that was sent and not yet answered.

    ``tries`` counts its sendings; it is due again at ``due_at``. ``sent_by`` is the sequence of the transition that
    sent it first: a saga that comes back to a state sends the same command anew, and waits for an answer of its own.
    """

    command: str
    attempt: int
    tries: int
    due_at: dt.datetime
    sent_by: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    """Where one run of a saga stands. ``sequence`` counts its transitions; ``deadline`` is its state's time-out."""

    status: str
    sequence: int
    outstanding: tuple[Outstanding, ...] = ()
    deadline: dt.datetime | None = None

    @property
    def due_at(self) -> dt.datetime | None:
        """When the clock has to look at it next; None if never."""
        moments = [o.due_at for o in self.outstanding]
        if self.deadline is not None:
            moments.append(self.deadline)
        return min(moments, default=None)


@dataclass(frozen=True, slots=True)
class Transition:
    """One step of an instance: what caused it, from where to where, and the types of what it sends."""

    sequence: int
    message_id: str
    message_type: str
    previous_status: str
    status: str
    reason: str
    outputs: tuple[str, ...]
    occurred_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Moved:
    """The message was taken: the instance as it stands now, and the step to record."""

    instance: Instance
    transition: Transition


@dataclass(frozen=True, slots=True)
class Early:
    """The message belongs to a state that is still ahead: keep it until the instance gets there."""


@dataclass(frozen=True, slots=True)
class Stale:
    """The message has nothing to say any more."""


Verdict = Moved | Early | Stale


def begin(saga: Saga, *, message_id: str, now: dt.datetime) -> Moved:
    """Starts an instance."""
    return _go(saga, Instance(saga.begin.to, 0), saga.begin, saga.start, message_id, "", now)


def advance(
    saga: Saga, instance: Instance, *, message_type: str, message_id: str, reason: str = "", now: dt.datetime
) -> Verdict:
    """What a message does to an instance.

    A message that answers an outstanding command settles it, whatever the state. A message that neither settles nor
    has a rule is early if a state ahead has one, stale otherwise.
    """
    open_commands = tuple(o for o in instance.outstanding if message_type not in saga.answers[o.command])
    settles = len(open_commands) < len(instance.outstanding)
    go = saga.states[instance.status].on.get(message_type)
    if go is not None:
        retried = next((o for o in instance.outstanding if o.command == go.retry), None)
        settled = replace(instance, outstanding=open_commands)
        return _go(saga, settled, go, message_type, message_id, reason, now, retried)
    if settles:
        stay = Go(instance.status)
        settled = replace(instance, outstanding=open_commands)
        return _go(saga, settled, stay, message_type, message_id, reason, now)
    return Early() if saga.may_come_later(instance.status, message_type) else Stale()


def _go(
    saga: Saga,
    instance: Instance,
    go: Go,
    message_type: str,
    message_id: str,
    reason: str,
    now: dt.datetime,
    retried: Outstanding | None = None,
) -> Moved:
    moves = go.to != instance.status or instance.sequence == 0
    state = saga.states[go.to]
    outstanding = [o for o in instance.outstanding if o.command not in go.drop]
    sequence = instance.sequence + 1
    outstanding += [Outstanding(command, 1, 1, now + FIRST_RESEND, sequence) for command in go.send]
    if retried is not None:
        wait = _backed_off(FIRST_RETRY, LONGEST_RETRY, retried.attempt - 1)
        outstanding.append(Outstanding(retried.command, retried.attempt + 1, 0, now + wait, retried.sent_by))
    event = go.emit or (state.emits if moves else None)
    deadline = instance.deadline
    if moves:
        deadline = now + state.time_out if state.time_out is not None else None
    transition = Transition(
        sequence=sequence,
        message_id=message_id,
        message_type=message_type,
        previous_status=instance.status,
        status=go.to,
        reason=go.reason or reason,
        outputs=(*([event] if event else []), *go.send),
        occurred_at=now,
    )
    return Moved(Instance(go.to, sequence, tuple(outstanding), deadline), transition)


def _backed_off(first: dt.timedelta, longest: dt.timedelta, doublings: int) -> dt.timedelta:
    """``first``, doubled so many times, but never more than ``longest``; a timedelta overflows after some forty."""
    return min(first * (1 << min(doublings, 20)), longest)


@dataclass(frozen=True, slots=True)
class Due:
    """What the clock finds: the instance with its next dates, the commands to send, and whether its state timed out."""

    instance: Instance
    send: tuple[Outstanding, ...]
    timed_out: bool


def due(instance: Instance, now: dt.datetime) -> Due:
    """Looks at an instance whose time has come: overdue commands are sent again, with doubling intervals.

    A time-out is asked again after :data:`FIRST_RESEND`, should its message be lost.
    """
    send: list[Outstanding] = []
    outstanding: list[Outstanding] = []
    for command in instance.outstanding:
        if command.due_at <= now:
            wait = _backed_off(FIRST_RESEND, LONGEST_RESEND, command.tries)
            command = replace(command, tries=command.tries + 1, due_at=now + wait)
            send.append(command)
        outstanding.append(command)
    timed_out = instance.deadline is not None and instance.deadline <= now
    deadline = now + FIRST_RESEND if timed_out else instance.deadline
    return Due(replace(instance, outstanding=tuple(outstanding), deadline=deadline), tuple(send), timed_out)

"""The full matrix: the saga killed at every boundary of every step it takes, while every step of an order fails.

Where :mod:`sagas.simulator` draws its misfortunes, this enumerates them. A *cell* is one order's life in simulated
time: what its customer wants, which step fails and how, and at which boundary of which of its steps the saga dies, and
for how long. Every cell must end: the order delivered, or cancelled with everything given back; no state outlasts its
deadline, and nothing that is due waits, by more than :data:`GRACE` of the saga's being there; and a kill delays the end
by no more than the outage and :data:`GRACE`.
"""

import datetime as dt
import enum
import itertools
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from contracts import topics
from contracts.envelope import Envelope
from contracts.orders import OrderStatus
from oltp.inventory.domain import Warehouse
from oltp.payments import domain as payments
from oltp.shipping.carriers import CarrierNetwork
from sagas.engine import Saga
from sagas.order import SAGA
from sagas.world import OUTBOX, SAGA_CLOCK, SAGA_GROUP, START, Crash, Manner, Moment, Problem, Provider, World, checkout

GRACE: Final = dt.timedelta(seconds=5)
"""How late the saga may be: its restart and a tick of its clock lie within."""

TICK: Final = dt.timedelta(seconds=0.5)
RESTART: Final = dt.timedelta(seconds=3)
"""From a process's death to its first message, as measured; see ``surge bench recovery``."""

TO_TIME_OUT: Final = dt.timedelta(seconds=150)
"""Longer than a payment may take."""

PAST_HOLD: Final = dt.timedelta(minutes=11)
"""Longer than stock is held for an unpaid order."""

_MOST_TURNS: Final = 2_000
_ORDER, _USER, _KEY, _CANCEL = (str(uuid.UUID(int=n, version=4)) for n in range(1, 5))
_PRODUCT, _NEAR, _FAR = (str(uuid.UUID(int=n, version=4)) for n in range(5, 8))


class Pace(enum.StrEnum):
    """Who is quicker."""

    SAGA = "saga first"  # one message at a time, and the customer's wish before all else
    OTHERS = "others first"  # the saga gets all that has happened as one batch


class Way(enum.StrEnum):
    """How a step fails."""

    AWAY = "its participant is away for 45 s"
    LONG_AWAY = "its participant is away until the payment has timed out"
    DIES_BEFORE = "its participant dies before its commit"
    DIES_AFTER = "its participant dies after its commit"
    DIES_SENT = "its participant dies after its reply"
    DIES_ANSWERED = "its participant dies with the provider's answer in hand"
    SET_ASIDE = "its participant sets it aside, and only its resending counts"
    TWICE = "it comes twice"
    SOLD_OUT = "there is no stock"
    PAST_HOLD = "its participant and the saga are away until the hold has expired"
    DECLINED = "the provider declines"
    DECLINED_ONCE = "the provider declines for the moment"
    SILENT = "the provider does nothing and says nothing, three times"
    SILENT_DONE = "the provider does it and says nothing, three times"
    REFUSED = "it is refused three times"
    TOO_LATE = "the parcel has left meanwhile"
    TOO_LATE_UNHEARD = "the parcel has left meanwhile, and the outbox is not streamed for 30 s"


_ANY: Final = (
    Way.AWAY,
    Way.LONG_AWAY,
    Way.DIES_BEFORE,
    Way.DIES_AFTER,
    Way.DIES_SENT,
    Way.SET_ASIDE,
    Way.TWICE,
)
_PROVIDER: Final = (Way.SILENT, Way.SILENT_DONE, Way.DIES_ANSWERED)
_OWN: Final[dict[str, tuple[Way, ...]]] = {
    "inventory.reserve": (Way.SOLD_OUT,),
    "payment.charge": (Way.PAST_HOLD, Way.DECLINED, Way.DECLINED_ONCE, *_PROVIDER),
    "payment.void": _PROVIDER,
    "payment.refund": (Way.REFUSED, *_PROVIDER),
    "shipping.create": (Way.REFUSED,),
    "shipping.cancel": (Way.TOO_LATE, Way.TOO_LATE_UNHEARD),
}
_DEATHS: Final = {
    Way.DIES_BEFORE: Moment.BEFORE_COMMIT,
    Way.DIES_AFTER: Moment.AFTER_COMMIT,
    Way.DIES_SENT: Moment.SENT,
    Way.DIES_ANSWERED: Moment.ANSWERED,
}
_AWAY: Final = {
    Way.AWAY: dt.timedelta(seconds=45),
    Way.LONG_AWAY: TO_TIME_OUT,
    Way.PAST_HOLD: PAST_HOLD,
    Way.TOO_LATE: dt.timedelta(seconds=20),
    Way.TOO_LATE_UNHEARD: dt.timedelta(seconds=20),
}
_OUTBOX_AWAY: Final = dt.timedelta(seconds=30)
_TIMES: Final = 3


@dataclass(frozen=True, slots=True)
class Failure:
    """A step, named by its command, and how it fails."""

    step: str
    way: Way

    def __str__(self) -> str:
        return f"{self.step}: {self.way}"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the saga did: which of its tasks, on what, and how many messages it sent."""

    who: str
    on: tuple[str, ...]
    outputs: int


@dataclass(frozen=True, slots=True)
class Kill:
    """The saga's death: at its ``step``-th step (from 0), at a boundary, with these of its messages out."""

    step: int
    moment: Moment
    out: tuple[int, ...] = ()
    away: dt.timedelta = RESTART

    def __str__(self) -> str:
        out = f" ({len(self.out)} out: {self.out})" if self.moment is Moment.SENDING else ""
        return f"the saga dies at step {self.step} {self.moment}{out} for {self.away.total_seconds():.0f} s"


@dataclass(frozen=True, slots=True)
class Cell:
    """One life of an order. ``cancel_in``: the customer cancels when the order gets there."""

    cancel_in: OrderStatus | None = None
    failure: Failure | None = None
    kill: Kill | None = None
    pace: Pace = Pace.SAGA

    def __str__(self) -> str:
        wish = f"cancelled when {self.cancel_in}" if self.cancel_in else "wanted"
        return f"{wish}; {self.failure or 'nothing fails'}; {self.kill or 'the saga lives'}; {self.pace}"


class CellBroken(AssertionError):
    """A cell that does not end as it must."""

    def __init__(self, cell: Cell, problem: str, trace: Sequence[str]) -> None:
        super().__init__(f"{cell}: {problem}\n" + "\n".join(trace))
        self.cell = cell
        self.problem = problem
        self.trace = tuple(trace)

    def __reduce__(self) -> tuple[type["CellBroken"], tuple[Cell, str, tuple[str, ...]]]:
        return CellBroken, (self.cell, self.problem, self.trace)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a cell ended. ``met``: the failing step was taken. ``rules``: each (state, message) that the saga used."""

    status: str
    seconds: float
    met: bool
    steps: tuple[Step, ...]
    rules: frozenset[tuple[str, str]]


class _Carriers(CarrierNetwork):
    """Carriers that refuse an order's first bookings."""

    refused: int = 0

    def refusal(self, order_id: str, attempt: int) -> str | None:
        return "no_capacity" if attempt <= self.refused else None


class Life:
    """One cell, lived."""

    def __init__(self, cell: Cell, *, saga: Saga = SAGA) -> None:
        self._cell = cell
        self._saga = saga
        self.trace: list[str] = []
        self._steps: list[Step] = []
        self._reading: tuple[str, ...] = ()
        self._provider_calls = 0
        self._met = self._killed = False
        self._asked_to_cancel = False
        self._up_at = dict.fromkeys((SAGA_GROUP, "inventory", "payments", "shipping", OUTBOX), START)
        carriers = _Carriers(refusal_rate=0, delay_rate=0, legs=1)
        if self._fails("shipping.create", Way.REFUSED):
            object.__setattr__(carriers, "refused", _TIMES)
        stock = 0 if self._fails("inventory.reserve", Way.SOLD_OUT) else 2
        self._world = World(
            saga,
            warehouses=[Warehouse(_NEAR, "NO", 60.0, 10.0), Warehouse(_FAR, "NO", 70.0, 20.0, 1)],
            stock={(_PRODUCT, _NEAR): stock, (_PRODUCT, _FAR): stock},
            provider=Provider(self._manner),
            carriers=carriers,
            fate=self._fate,
            note=self._note,
        )

    def _fails(self, step: str, *ways: Way) -> bool:
        failure = self._cell.failure
        return failure is not None and failure.step == step and failure.way in ways

    def _note(self, text: str) -> None:
        self.trace.append(f"{(self._world.now - START).total_seconds():8.1f}s  {text}")

    # what goes wrong

    def _manner(self, action: payments.Action) -> Manner:
        failure = self._cell.failure
        if failure is None or failure.step != self._step_of(action):
            return Manner()
        self._met = True
        self._provider_calls += 1
        first = self._provider_calls <= _TIMES
        match failure.way:
            case Way.DECLINED:
                return Manner(declines="insufficient_funds")
            case Way.DECLINED_ONCE:
                return Manner(declines="processing_error" if self._provider_calls == 1 else "")
            case Way.SILENT:
                return Manner(does=not first)
            case Way.SILENT_DONE:
                return Manner(answers=not first)
            case Way.REFUSED:
                return Manner(refuses="disputed" if first else "")
            case _:
                return Manner()

    def _step_of(self, action: payments.Action) -> str:
        """The command that has the provider called: a void is a refund where the charge went through."""
        if isinstance(action, payments.Charge):
            return "payment.charge"
        sent = {e.type for messages in self._world.log.partitions.values() for e in messages}
        return "payment.refund" if "payment.refund" in sent else "payment.void"

    def _fate(self, who: str, moment: Moment, messages: Sequence[Envelope]) -> None:
        if who in (SAGA_GROUP, SAGA_CLOCK):
            self._saga_fate(who, moment, messages)
            return
        failure = self._cell.failure
        if failure is None or self._met or failure.step not in self._reading or _DEATHS.get(failure.way) is not moment:
            return
        self._met = True
        raise Crash

    def _saga_fate(self, who: str, moment: Moment, messages: Sequence[Envelope]) -> None:
        opens = Moment.SENDING if who == SAGA_CLOCK else Moment.BEFORE_COMMIT
        if moment is opens:
            self._steps.append(Step(who, self._reading or tuple(e.type for e in messages), len(messages)))
        kill = self._cell.kill
        if kill is not None and not self._killed and kill.moment is moment and kill.step == len(self._steps) - 1:
            self._killed = True
            raise Crash([messages[n] for n in kill.out])

    # who does what when

    def run(self) -> Ending:
        """Lives the cell to its end.

        Raises:
            CellBroken: if it does not end as it must.
        """
        world = self._world
        world.place(checkout(_ORDER, _USER, _KEY, {_PRODUCT: 3}))
        try:
            for _ in range(_MOST_TURNS):
                world.check_always()
                self._check_punctual()
                if not self._turn():
                    break
            else:
                raise Problem("does not come to rest")
            world.check_at_rest()
        except Problem as problem:
            raise CellBroken(self._cell, str(problem), self.trace) from problem
        steps = world.tables.steps(_ORDER)
        return Ending(
            status=world.tables.orders[_ORDER].instance.status,
            seconds=(world.now - START).total_seconds(),
            met=self._met,
            steps=tuple(self._steps),
            rules=frozenset((step.previous_status, step.message_type) for step in steps[1:]),
        )

    def _turn(self) -> bool:
        """Somebody reads, or else time goes on. False if nothing is left to do."""
        groups = [SAGA_GROUP, "inventory", "payments", "shipping"]
        if self._cell.pace is Pace.OTHERS:
            groups.reverse()
        for group in groups:
            if self._up(group) and (places := self._world.unread(group)):
                self._read(group, places)
                return True
        return self._wait()

    def _up(self, group: str) -> bool:
        return self._up_at[group] <= self._world.now

    def _read(self, group: str, places: list[tuple[str, str]]) -> None:
        world, log, handles = self._world, self._world.log, self._world.consumers[group].handles
        ends: dict[tuple[str, str], int] = {}
        read: list[Envelope] = []
        for place in sorted(places, key=lambda place: place[0] != topics.ORDER_COMMANDS):
            for end in range(log.position(group, place), len(log.partitions[place])):
                if read and (group != SAGA_GROUP or self._cell.pace is Pace.SAGA):
                    break
                ends[place] = end + 1
                if log.partitions[place][end].type in handles:
                    read.append(log.partitions[place][end])
        self._reading = tuple(envelope.type for envelope in read)
        if not read or not self._does_not_get(group, read[0], ends):
            try:
                world.deliver(group, ends)
            except Crash:
                self._dies(group)
            self._perhaps_cancel()
        self._reading = ()

    def _does_not_get(self, group: str, message: Envelope, ends: dict[tuple[str, str], int]) -> bool:
        """Whether the failing step's participant is not there for it, or makes nothing of it."""
        failure = self._cell.failure
        if group == SAGA_GROUP or failure is None or failure.step != message.type:
            return False
        if failure.way in (Way.SOLD_OUT, Way.REFUSED):
            self._met = True
        if self._met:
            return False
        if failure.way in _AWAY:
            self._met = True
            self._up_at[group] = self._world.now + _AWAY[failure.way]
            if failure.way is Way.PAST_HOLD:
                self._up_at[SAGA_GROUP] = self._up_at[group]
            if failure.way is Way.TOO_LATE_UNHEARD:
                self._up_at[OUTBOX] = self._world.now + _OUTBOX_AWAY
            self._note(f"{group} does not get {message.type}: {failure.way}")
            return True
        if failure.way is Way.SET_ASIDE:
            self._met = True
            self._world.skip(group, ends)
            self._note(f"{group} sets {message.type} aside")
            return True
        if failure.way is Way.TWICE:
            self._met = True
            self._world.log.append([message])
        return False

    def _dies(self, group: str) -> None:
        kill = self._cell.kill
        away = kill.away if group == SAGA_GROUP and kill is not None else RESTART
        self._up_at[group] = self._world.now + away

    def _perhaps_cancel(self) -> None:
        order = self._world.tables.orders.get(_ORDER)
        if order is None or self._asked_to_cancel or order.instance.status != self._cell.cancel_in:
            return
        self._asked_to_cancel = True
        self._world.cancel(_ORDER, _CANCEL)

    def _wait(self) -> bool:
        """Time goes on to when somebody has something to do, and is there to do it."""
        world = self._world
        moments = [max(at, self._up_at[who]) for who, at in world.ahead().items()]
        moments += [at for who, at in self._up_at.items() if at > world.now]
        if not moments:
            return False
        world.now += max(1, -((world.now - min(moments)) // TICK)) * TICK
        if self._up(SAGA_GROUP):
            try:
                world.saga_clock()
            except Crash:
                self._dies(SAGA_GROUP)
        if self._up("inventory"):
            world.hold_clock()
        if self._up("payments"):
            world.payment_clock()
        if self._up("shipping") or self._fails("shipping.cancel", Way.TOO_LATE, Way.TOO_LATE_UNHEARD):
            world.carrier_clock()
        if self._up(OUTBOX):
            world.stream()
        return True

    def _check_punctual(self) -> None:
        """Nothing is later than :data:`GRACE`, counted from when the saga was there to do it."""
        world = self._world
        order = world.tables.orders.get(_ORDER)
        if order is None or not self._up(SAGA_GROUP):
            return
        up_at = self._up_at[SAGA_GROUP]
        due = order.instance.due_at
        if due is not None and world.now > max(due, up_at) + GRACE:
            raise Problem(f"what was due at {due:%T} still is at {world.now:%T}")
        limit = self._saga.states[order.instance.status].time_out
        if limit is None:
            return
        entered = next(
            step.occurred_at
            for step in reversed(world.tables.steps(_ORDER))
            if step.previous_status != step.status or step.sequence == 1
        )
        if world.now > max(entered + limit, up_at) + GRACE:
            raise Problem(f"is {order.instance.status} since {entered:%T}, longer than {limit}")


WISHES: Final = (
    None,
    OrderStatus.PENDING,
    OrderStatus.AWAITING_PAYMENT,
    OrderStatus.CONFIRMED,
    OrderStatus.PROCESSING,
    OrderStatus.SHIPPED,
    OrderStatus.DELIVERED,
)
"""When the customer cancels; None: never."""


def failures(saga: Saga = SAGA) -> Iterator[Failure]:
    """Every step that an order of this saga may take, with every way in which it fails."""
    for step in saga.answers:
        for way in (*_ANY, *_OWN.get(step, ())):
            yield Failure(step, way)


def kills(steps: Sequence[Step], *, away: dt.timedelta = RESTART) -> Iterator[Kill]:
    """Every boundary of every step that the saga took; in the middle of sending, every proper part may be out."""
    for number, step in enumerate(steps):
        parts = [part for size in range(1, step.outputs) for part in itertools.combinations(range(step.outputs), size)]
        if step.who == SAGA_CLOCK:
            parts.insert(0, ())
            moments: tuple[Moment, ...] = (Moment.BEFORE_COMMIT,)
        else:
            moments = (Moment.BEFORE_COMMIT, Moment.AFTER_COMMIT, *([Moment.SENT] if step.outputs else []))
        yield from (Kill(number, moment, away=away) for moment in moments)
        yield from (Kill(number, Moment.SENDING, part, away) for part in parts)


def lives(cancel_in: OrderStatus | None, pace: Pace, *, saga: Saga = SAGA) -> Iterator[tuple[Cell, Ending]]:
    """A row of the matrix: for one wish and pace, every failure that such an order meets × every kill of the saga.

    An outage of the saga that outlasts the payment's deadline, or the hold, is tried where nothing else fails.

    Raises:
        CellBroken: at the first cell that does not end as it must.
    """
    calm = Cell(cancel_in=cancel_in, pace=pace)
    for failure in (None, *failures(saga)):
        undisturbed = replace(calm, failure=failure)
        first = Life(undisturbed, saga=saga).run()
        if failure is not None and not first.met:
            continue
        # a killed saga may learn of the customer's wish only when it is too late: the order is delivered instead
        longest = max(first.seconds, Life(replace(undisturbed, cancel_in=None), saga=saga).run().seconds)
        yield undisturbed, first
        for away in (RESTART,) if failure is not None else (RESTART, TO_TIME_OUT, PAST_HOLD):
            for kill in kills(first.steps, away=away):
                cell = replace(undisturbed, kill=kill)
                life = Life(cell, saga=saga)
                ending = life.run()
                late = ending.seconds - longest - away.total_seconds()
                if late > GRACE.total_seconds():
                    raise CellBroken(cell, f"ends {late:.0f} s later than its outage accounts for", life.trace)
                yield cell, ending


def matrix(rows: Iterable[tuple[OrderStatus | None, Pace]], *, saga: Saga = SAGA) -> Iterator[tuple[Cell, Ending]]:
    """Several rows; all of them: ``itertools.product(WISHES, Pace)``.

    Raises:
        CellBroken: at the first cell that does not end as it must.
    """
    for cancel_in, pace in rows:
        yield from lives(cancel_in, pace, saga=saga)

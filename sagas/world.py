"""The saga and its participants in simulated time: the production cores on a log, a provider and carriers in memory.

A :class:`World` is what lasts (log, tables, the provider's books) and what the processes do to it. Whoever drives it
decides who reads what and when, and by a :data:`Fate` when a process dies.
"""

import datetime as dt
import enum
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from contracts import commands, events, topics
from contracts.envelope import Envelope, Message, caused_id, registry, reply_to, seal, topic_for
from contracts.orders import (
    Address,
    CancelReason,
    OrderLine,
    OrderStatus,
    PaymentMethod,
    PaymentMethodType,
    SaleTerms,
)
from oltp.inventory import domain as inventory
from oltp.inventory.allotment import Allotment, Oversold
from oltp.payments import domain as payments
from oltp.shipping import domain as shipping
from oltp.shipping.carriers import CarrierNetwork
from sagas import order as order_saga
from sagas.batch import Batch, Changes, Snapshot
from sagas.engine import Saga, Transition, due
from sagas.order import Order

START: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PRICE: Final = 1000
_MOMENT: Final = dt.timedelta(milliseconds=1)
"""What a batch takes: no two of one process are at the same time."""

SAGA_GROUP: Final = "order-saga"
SAGA_CLOCK: Final = "saga-clock"
OUTBOX: Final = "outbox"


class Problem(AssertionError):
    """The books do not hold."""


class Moment(enum.StrEnum):
    """Where a process can die: the boundaries of a consumer's or a clock's step."""

    BEFORE_COMMIT = "before its commit"
    ANSWERED = "with the provider's answer in hand"
    AFTER_COMMIT = "after its commit, before sending"
    SENDING = "in the middle of sending"
    SENT = "after sending, before its offsets are stored"


class Crash(Exception):
    """The process dies here; of what it was about to send, ``sent`` is out."""

    def __init__(self, sent: Sequence[Envelope] = ()) -> None:
        super().__init__(len(sent))
        self.sent = tuple(sent)


Fate = Callable[[str, Moment, Sequence[Envelope]], None]
"""Told who comes to which moment, and what it is about to send; raises :class:`Crash` if that is its end."""


def no_fate(who: str, moment: Moment, messages: Sequence[Envelope]) -> None:
    """Nobody dies."""


class Log:
    """Topics, one partition a key, and how far each consumer has committed."""

    def __init__(self) -> None:
        self.partitions: dict[tuple[str, str], list[Envelope]] = {}
        self.committed: dict[tuple[str, str, str], int] = {}

    def append(self, envelopes: Iterable[Envelope]) -> None:
        """Stores messages."""
        for envelope in envelopes:
            self.partitions.setdefault((topic_for(envelope), envelope.key), []).append(envelope)

    def position(self, group: str, place: tuple[str, str]) -> int:
        """How far a group has come in a partition."""
        return self.committed.get((group, *place), 0)

    def unread(self, group: str, names: Iterable[str]) -> list[tuple[str, str]]:
        """The partitions of these topics in which a group has something to read."""
        wanted = set(names)
        return [
            place
            for place, messages in self.partitions.items()
            if place[0] in wanted and self.position(group, place) < len(messages)
        ]


@dataclass(frozen=True, slots=True)
class Manner:
    """How the provider takes a call: whether it does what is asked, whether it says so, and what it objects to."""

    does: bool = True
    answers: bool = True
    declines: str = ""
    refuses: str = ""


class Provider:
    """The payment provider: it outlives every crash of ours, and remembers keys."""

    def __init__(self, manner: Callable[[payments.Action], Manner] = lambda _: Manner()) -> None:
        self.manner = manner
        self._results: dict[str, payments.Result] = {}
        self.captured: dict[str, int] = {}
        self.refunded: dict[str, int] = {}

    def call(self, action: payments.Action) -> payments.Result:
        """Does what is asked, once a key."""
        manner = self.manner(action)
        if not manner.does:
            return payments.Unknown("no answer, nothing done")
        result = self._do(action, manner)
        return result if manner.answers else payments.Unknown("no answer, but done")

    def _do(self, action: payments.Action, manner: Manner) -> payments.Result:
        if isinstance(action, payments.Charge):
            if action.key not in self._results:
                self._results[action.key] = self._charge(action, manner)
            return self._results[action.key]
        if isinstance(action, payments.Void):
            known = self._results.setdefault(action.charge.key, payments.Voided())
            return known if isinstance(known, payments.Captured) else payments.Voided()
        if action.key not in self._results:
            if manner.refuses:
                return payments.Refused(manner.refuses)
            order_id = action.charge.order_id
            self.refunded[order_id] = self.refunded.get(order_id, 0) + action.charge.amount
            self._results[action.key] = payments.Refunded(f"re_{order_id}")
        return self._results[action.key]

    def _charge(self, charge: payments.Charge, manner: Manner) -> payments.Result:
        if manner.declines:
            return payments.Declined(manner.declines)
        self.captured[charge.order_id] = self.captured.get(charge.order_id, 0) + charge.amount
        return payments.Captured(f"ch_{charge.key}")


@dataclass
class Tables:
    """The saga's durable state."""

    orders: dict[str, Order] = field(default_factory=dict)
    transitions: dict[tuple[str, str], Transition] = field(default_factory=dict)
    parked: dict[tuple[str, str], Envelope] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        """What a batch gets to see."""
        parked: dict[str, list[Envelope]] = {}
        for (order_id, _), envelope in self.parked.items():
            parked.setdefault(order_id, []).append(envelope)
        return Snapshot(dict(self.orders), dict(self.transitions), parked, dict(self.keys))

    def save(self, changes: Changes) -> None:
        """Commits a batch."""
        for _, order in changes.births:
            created = next(b.created for b, o in changes.births if o is order)
            self.keys[created.user_id, created.idempotency_key] = order.order_id
        self.orders.update(changes.orders)
        for order_id, transition in changes.transitions:
            self.transitions[order_id, transition.message_id] = transition
        for envelope in changes.park:
            self.parked[envelope.subject, envelope.id] = envelope
        for place in changes.unpark:
            self.parked.pop(place, None)

    def steps(self, order_id: str) -> list[Transition]:
        """An order's transitions, oldest first."""
        steps = [transition for (owner, _), transition in self.transitions.items() if owner == order_id]
        return sorted(steps, key=lambda transition: transition.sequence)


@dataclass(frozen=True, slots=True)
class Consumer:
    """What a consumer reads, which types it handles, and what it does with them."""

    topics: tuple[str, ...]
    handles: frozenset[str]
    take: Callable[[Sequence[Envelope]], list[Envelope]]


class World:
    """Everything that there is, and what each process does when its turn comes.

    Args:
        saga: the table to run.
        warehouses: where stock may lie.
        stock: units of each (product, warehouse) at the beginning.
        sale: a flash sale of one of the products, if there is one.
        provider: who is paid.
        carriers: who ships.
        fate: decides who dies where.
        note: told in words what happens.
    """

    def __init__(
        self,
        saga: Saga,
        *,
        warehouses: Sequence[inventory.Warehouse],
        stock: Mapping[tuple[str, str], int],
        provider: Provider,
        carriers: CarrierNetwork,
        fate: Fate,
        note: Callable[[str], None],
        sale: SaleTerms | None = None,
    ) -> None:
        self.now = START
        self.log = Log()
        self.tables = Tables()
        self.provider = provider
        self.outbox: list[Envelope] = []
        self.placed: list[Envelope] = []
        self.reservations: dict[str, inventory.Reservation] = {}
        self.payments: dict[str, payments.Payment] = {}
        self.fulfilments: dict[str, shipping.Fulfilment] = {}
        self.stock = inventory.Stock(warehouses, {place: inventory.Level(units) for place, units in stock.items()})
        self.allotment = Allotment(sale) if sale is not None else None
        self._queued: dict[str, Envelope] = {}
        self._initial = dict(stock)
        self._saga = saga
        self._carriers = carriers
        self._fate = fate
        self._note = note
        told = {saga.start, *(m for s in saga.states.values() for m in s.on)}.union(*saga.answers.values())
        self.consumers: Final[Mapping[str, Consumer]] = {
            SAGA_GROUP: Consumer(
                (
                    topics.ORDER_EVENTS,
                    topics.ORDER_COMMANDS,
                    topics.INVENTORY_EVENTS,
                    topics.PAYMENT_EVENTS,
                    topics.SHIPPING_EVENTS,
                ),
                frozenset(told),
                self._saga_takes,
            ),
            "inventory": Consumer(
                (topics.INVENTORY_COMMANDS, topics.ORDER_EVENTS),
                _named(*typing.get_args(inventory.Command)),
                self._inventory_takes,
            ),
            "payments": Consumer(
                (topics.PAYMENT_COMMANDS,), _named(*typing.get_args(payments.Command)), self._payments_take
            ),
            "shipping": Consumer(
                (topics.SHIPPING_COMMANDS,),
                _named(commands.CreateShipment, commands.CancelShipment),
                self._shipping_takes,
            ),
        }

    # customers

    def place(self, order: Envelope, *, times: int = 1) -> None:
        """Stores an accepted checkout in the log."""
        self.placed.append(order)
        self._note(f"order {order.subject[:4]} placed")
        self.log.append([order] * times)

    def cancel(self, order_id: str, message_id: str) -> None:
        """A customer wants an order cancelled."""
        self._note(f"order {order_id[:4]} to be cancelled")
        payload = commands.CancelOrder(order_id=order_id, reason=CancelReason.CUSTOMER_REQUEST, actor_id=message_id)
        self.log.append([seal(payload, id=message_id, source="simulator", subject=order_id, time=self.now)])

    # consumers

    def unread(self, group: str) -> list[tuple[str, str]]:
        """The partitions in which a consumer has something to read."""
        return self.log.unread(group, self.consumers[group].topics)

    def deliver(self, group: str, ends: Mapping[tuple[str, str], int]) -> list[Envelope]:
        """A consumer takes what it has not read, up to an offset in each partition; returns what it sent.

        Raises:
            Crash: if it dies; its offsets are not stored then.
        """
        self.now += _MOMENT
        batch: list[Envelope] = []
        for place, last in ends.items():
            batch += self.log.partitions[place][self.log.position(group, place) : last]
        consumer = self.consumers[group]
        batch = [envelope for envelope in batch if envelope.type in consumer.handles]
        if not batch:
            self.skip(group, ends)
            return []
        try:
            outputs = consumer.take(batch)
            self._fate(group, Moment.AFTER_COMMIT, outputs)
            self._send(group, outputs)
            self._fate(group, Moment.SENT, ())
        except Crash as crash:
            self._note(f"{group} takes {names(batch)} and dies; {names(crash.sent)} is out")
            raise
        self.skip(group, ends)
        self._note(f"{group} takes {names(batch)}, sends {names(outputs)}")
        return outputs

    def skip(self, group: str, ends: Mapping[tuple[str, str], int]) -> None:
        """A consumer's offsets are stored."""
        for place, last in ends.items():
            self.log.committed[group, *place] = last

    def _send(self, who: str, outputs: Sequence[Envelope]) -> None:
        try:
            self._fate(who, Moment.SENDING, outputs)
        except Crash as crash:
            self.log.append(crash.sent)
            raise
        self.log.append(outputs)

    def _saga_takes(self, batch: Sequence[Envelope]) -> list[Envelope]:
        work = Batch(self._saga, self.tables.snapshot(), self.now)
        for envelope in batch:
            work.take(envelope, registry.decode(envelope))
        self._fate(SAGA_GROUP, Moment.BEFORE_COMMIT, work.messages)
        self.tables.save(work.changes)
        return work.messages

    def _inventory_takes(self, batch: Sequence[Envelope]) -> list[Envelope]:
        stock = inventory.Stock(self.stock.warehouses.values(), self.stock.levels())
        allotment, reservations = self._copied_allotment(), dict(self.reservations)
        replies: list[Envelope] = []
        for envelope in batch:
            payload = registry.decode(envelope)
            assert isinstance(payload, inventory.Command)
            current = reservations.get(envelope.subject)
            decision = inventory.decide(current, payload, stock, self.now, allotment=allotment)
            if decision.reservation is not None:
                _apply(decision, decision.reservation, current, stock, allotment)
                reservations[envelope.subject] = decision.reservation
                if decision.reservation.status is inventory.ReservationStatus.QUEUED:
                    self._queued[envelope.subject] = envelope
            if decision.reply is not None:
                replies.append(self._reply(envelope, decision.reply))
        turns = self._take_turns(allotment, stock, reservations)
        self._fate("inventory", Moment.BEFORE_COMMIT, replies)
        self.stock, self.reservations, self.allotment = stock, reservations, allotment
        self.outbox += turns
        return replies

    def _copied_allotment(self) -> Allotment | None:
        if self.allotment is None:
            return None
        a = self.allotment
        return Allotment(
            a.terms,
            taken=a.taken,
            paid=a.paid,
            waiting=a.waiting,
            last_place=a.last_place,
            closed=a.closed,
            customers=a.customers,
            queue=a.queue,
        )

    def _take_turns(
        self, allotment: Allotment | None, stock: inventory.Stock, reservations: dict[str, inventory.Reservation]
    ) -> list[Envelope]:
        replies: list[Envelope] = []
        while allotment is not None and (turn := inventory.next_in_line(allotment, stock, self.now)) is not None:
            assert turn.reservation is not None
            assert turn.reply is not None
            order_id = turn.reservation.order_id
            _apply(turn, turn.reservation, reservations[order_id], stock, allotment)
            reservations[order_id] = turn.reservation
            replies.append(self._reply(self._queued[order_id], turn.reply))
        return replies

    def end_sale(self) -> None:
        """The flash sale is over: nobody waits any more."""
        allotment, reservations = self._copied_allotment(), dict(self.reservations)
        assert allotment is not None
        allotment.closed = True
        turns = self._take_turns(allotment, self.stock, reservations)
        self.allotment, self.reservations = allotment, reservations
        self.outbox += turns
        self._note(f"the sale is over, {len(turns)} waited")

    def _payments_take(self, batch: Sequence[Envelope]) -> list[Envelope]:
        states = dict(self.payments)
        replies: list[Envelope] = []
        touched: list[str] = []
        for envelope in batch:
            payload = registry.decode(envelope)
            assert isinstance(payload, payments.Command)
            decision = payments.decide(
                states.get(envelope.subject),
                payload,
                payments.Cause(envelope.id, envelope.type),
                payment_id=f"pay_{envelope.subject}",
                provider="simulated",
                now=self.now,
            )
            states[envelope.subject] = decision.state
            touched.append(envelope.subject)
            replies += self._payment_replies(decision.replies)
        self._fate("payments", Moment.BEFORE_COMMIT, replies)
        self.payments = states
        for order_id in touched:
            replies += self._call_provider(order_id)
        return replies

    def _call_provider(self, order_id: str) -> list[Envelope]:
        replies: list[Envelope] = []
        for _ in range(3):
            action = payments.next_action(self.payments[order_id])
            if action is None:
                break
            result = self.provider.call(action)
            self._fate("payments", Moment.ANSWERED, ())
            decision = payments.conclude(self.payments[order_id], action, result, now=self.now)
            self.payments[order_id] = decision.state
            replies += self._payment_replies(decision.replies)
        return replies

    def _payment_replies(self, replies: Iterable[payments.Reply]) -> list[Envelope]:
        return [
            seal(
                reply.payload,
                id=caused_id(reply.cause.id, registry.name_of(type(reply.payload))),
                source="surge/payments",
                subject=str(getattr(reply.payload, "order_id", "")),
                time=self.now,
                causationid=reply.cause.id,
            )
            for reply in replies
        ]

    def _shipping_takes(self, batch: Sequence[Envelope]) -> list[Envelope]:
        fulfilments = dict(self.fulfilments)
        replies: list[Envelope] = []
        for envelope in batch:
            payload = registry.decode(envelope)
            assert isinstance(payload, commands.CreateShipment | commands.CancelShipment)
            decision = shipping.decide(
                fulfilments.get(envelope.subject),
                payload,
                cause=envelope.id,
                now=self.now,
                carriers=self._carriers,
                origins={},
            )
            fulfilments[envelope.subject] = decision.state
            replies.append(self._reply(envelope, decision.reply.message))
        self._fate("shipping", Moment.BEFORE_COMMIT, replies)
        self.fulfilments = fulfilments
        return replies

    def _reply(self, envelope: Envelope, payload: Message) -> Envelope:
        return reply_to(envelope, payload, source="simulator", time=self.now)

    def stream(self) -> None:
        """Change capture brings what was written to the outbox into the log."""
        if self.outbox:
            self._note(f"streamed: {names(self.outbox)}")
        self.log.append(self.outbox)
        self.outbox.clear()

    # clocks: but for the saga's, what they say is written to the outbox along with what happened

    def saga_clock(self) -> None:
        """Sends again what was not answered, tells the saga of time-outs, and commits once that is out.

        Raises:
            Crash: if it dies; its commit is lost then.
        """
        moved: list[Order] = []
        messages: list[Envelope] = []
        for order in self.tables.orders.values():
            at = order.instance.due_at
            if at is None or at > self.now:
                continue
            is_due = due(order.instance, self.now)
            order = order_saga.with_instance(order, is_due.instance)
            moved.append(order)
            messages += [order_saga.resend(order, command, self.now) for command in is_due.send]
            if is_due.timed_out:
                messages.append(order_saga.time_out(order, self.now))
        if not moved:
            return
        try:
            self._send(SAGA_CLOCK, messages)
            self._fate(SAGA_CLOCK, Moment.BEFORE_COMMIT, ())
        except Crash as crash:
            self._note(f"the saga's clock dies; {names(crash.sent)} is out")
            raise
        self.tables.orders.update({order.order_id: order for order in moved})
        self._note(f"the saga's clock sends {names(messages)}")

    def hold_clock(self) -> None:
        """Tells of holds whose time is over."""
        for reservation in self.reservations.values():
            if (expired := inventory.hold_expired(reservation, self.now)) is not None:
                id = caused_id(reservation.order_id, "inventory.hold_expired", str(self.now))
                self.outbox.append(seal(expired, id=id, source="s", subject=reservation.order_id, time=self.now))
                self._note(f"the hold of {reservation.order_id[:4]} has expired")

    def carrier_clock(self) -> None:
        """Lets parcels go on their way."""
        for order_id, fulfilment in list(self.fulfilments.items()):
            progress = shipping.advance(fulfilment, now=self.now, carriers=self._carriers)
            self.fulfilments[order_id] = progress.state
            happened = [
                seal(
                    happening.message,
                    id=caused_id(order_id, registry.name_of(type(happening.message)), happening.key),
                    source="surge/shipping",
                    subject=order_id,
                    time=happening.at,
                )
                for happening in progress.happenings
            ]
            self.outbox += happened
            if happened:
                self._note(f"carriers: {names(happened)}")

    def payment_clock(self) -> None:
        """Asks the provider again for what is due.

        Raises:
            Crash: if the process dies with an answer in hand.
        """
        for order_id, payment in list(self.payments.items()):
            if payments.next_action(payment) is not None:
                self.outbox += self._call_provider(order_id)

    def ahead(self) -> dict[str, dt.datetime]:
        """For each process, or the outbox, that has something to do by itself: the moment from which on it has."""
        holds = (
            r.expires_at
            for r in self.reservations.values()
            if r.status is inventory.ReservationStatus.HELD and not r.confirmed
        )
        waiting = any(payments.next_action(payment) is not None for payment in self.payments.values())
        moments: dict[str, Iterable[dt.datetime | None]] = {
            SAGA_GROUP: (order.instance.due_at for order in self.tables.orders.values()),
            "inventory": (at for at in holds if at is not None and at > self.now),
            "payments": [self.now] if waiting else [],
            "shipping": (fulfilment.next_event_at for fulfilment in self.fulfilments.values()),
            OUTBOX: [self.now] if self.outbox else [],
        }
        first = {who: min((at for at in when if at is not None), default=None) for who, when in moments.items()}
        return {who: at for who, at in first.items() if at is not None}

    # the books

    def check_always(self) -> None:
        """What must hold at every moment.

        Raises:
            Problem: if it does not.
        """
        for order_id, captured in self.provider.captured.items():
            total = self._total(order_id)
            if captured != total:
                raise Problem(f"order {order_id} over {total} was charged {captured}")
            if self.provider.refunded.get(order_id, 0) not in (0, total):
                raise Problem(f"order {order_id} over {total} was refunded {self.provider.refunded[order_id]}")

    def _total(self, order_id: str) -> int:
        created = next(e for e in self.placed if e.subject == order_id)
        payload = registry.decode(created)
        assert isinstance(payload, events.OrderCreated)
        return payload.total_amount

    def check_at_rest(self) -> None:
        """What must hold once nothing is left to do: every order at its end, stock and money where they belong.

        Raises:
            Problem: if it does not.
        """
        if set(self.tables.orders) != {envelope.subject for envelope in self.placed}:
            raise Problem("an accepted order is missing")
        if self.tables.parked:
            raise Problem(f"messages are parked for ever: {list(self.tables.parked)}")
        for order in self.tables.orders.values():
            self._check_order(order)
        if self.allotment is not None:
            self._check_sale(self.allotment)
        for place, level in self.stock.levels().items():
            shipped = sum(
                a.quantity
                for r in self.reservations.values()
                if r.status is inventory.ReservationStatus.FULFILLED
                for a in r.allocations
                if (a.product_id, a.warehouse_id) == place
            )
            if level.reserved or level.quantity != self._initial[place] - shipped:
                raise Problem(f"stock {place}: {level}, began with {self._initial[place]}, {shipped} shipped")

    def _check_sale(self, allotment: Allotment) -> None:
        claims = [r.claim for r in self.reservations.values() if r.claim is not None]
        taken = sum(r.share.taken for r in self.reservations.values())
        if allotment.queue or allotment.waiting:
            raise Problem(f"orders wait for ever: {[claim.order_id for claim in allotment.queue]}")
        if taken != allotment.taken:
            raise Problem(f"{allotment.taken} units of the sale are taken, and orders have {taken}")
        orders = [order for order in self.tables.orders.values() if order.sale is not None]
        sold = [order for order in orders if order.instance.status == OrderStatus.DELIVERED]
        if len(sold) != taken or taken > allotment.terms.units:
            raise Problem(f"{len(sold)} of {allotment.terms.units} units were sold, {taken} are taken")
        if len({order.user_id for order in sold}) != len(sold):
            raise Problem("a customer bought more than one may")
        logged = [e.subject for e in self.log.partitions.get((topics.ORDER_EVENTS, allotment.terms.product_id), ())]
        taken_up = [claim.order_id for claim in sorted(claims, key=lambda claim: claim.place)]
        came = sorted(taken_up, key=logged.index)
        if taken_up != came:
            raise Problem(f"orders came as {came}, and were taken up as {taken_up}")

    def _check_order(self, order: Order) -> None:
        order_id, status = order.order_id, order.instance.status
        kept = self.provider.captured.get(order_id, 0) - self.provider.refunded.get(order_id, 0)
        reservation = self.reservations.get(order_id)
        held = reservation.status if reservation is not None else None
        parcels = self.fulfilments.get(order_id)
        where = f"order {order_id} is {status}"
        if order.instance.outstanding:
            raise Problem(f"{where} and waits for {order.instance.outstanding}")
        steps = self.tables.steps(order_id)
        if [step.sequence for step in steps] != list(range(1, order.instance.sequence + 1)):
            raise Problem(f"{where} and its transitions have gaps")
        stored = {e.id for messages in self.log.partitions.values() for e in messages if e.subject == order_id}
        if unsent := [e.type for step in steps for e in order_saga.outputs(order, step) if e.id not in stored]:
            raise Problem(f"{where} and {', '.join(unsent)} was never sent")
        if status == OrderStatus.DELIVERED:
            if kept != order.total_amount:
                raise Problem(f"{where} and {kept} of {order.total_amount} is paid")
            if held is not inventory.ReservationStatus.FULFILLED:
                raise Problem(f"{where} and its stock is {held}")
            if parcels is None or parcels.state is not shipping.State.DELIVERED:
                raise Problem(f"{where} and its parcels are not")
        elif status == OrderStatus.CANCELLED:
            if kept:
                raise Problem(f"{where} and {kept} is still charged")
            if held in (inventory.ReservationStatus.HELD, inventory.ReservationStatus.FULFILLED):
                raise Problem(f"{where} and its stock is {held}")
            if parcels is not None and parcels.state in (shipping.State.DISPATCHED, shipping.State.DELIVERED):
                raise Problem(f"{where} and its parcels are {parcels.state}")
        else:
            raise Problem(f"{where} and nothing moves it")


def _apply(
    decision: inventory.Decision,
    after: inventory.Reservation,
    before: inventory.Reservation | None,
    stock: inventory.Stock,
    allotment: Allotment | None,
) -> None:
    """Moves stock and allotment by a decision, which must neither oversell nor pass anybody who waits."""
    try:
        stock.apply(decision.changes)
        if allotment is None:
            return
        claim = after.claim
        if claim is not None and after.share.taken and not (before is not None and before.share.taken):
            passed = [other.order_id for other in allotment.queue if other.place < claim.place]
            if passed:
                raise Problem(f"order {claim.order_id} was served and passed {passed} who waited before it")
        inventory.move(allotment, before, after)
    except (inventory.OutOfBounds, Oversold) as error:
        raise Problem(f"oversold: {error}") from error


def _named(*types: type[Message]) -> frozenset[str]:
    return frozenset(map(registry.name_of, types))


def checkout(
    order_id: str, user_id: str, key: str, units: Mapping[str, int], sale: SaleTerms | None = None
) -> Envelope:
    """An accepted checkout of so many units of each product, one of which may be in a flash sale."""
    lines = [
        OrderLine(product_id=p, sku="S", name="N", category="C", quantity=quantity, unit_price=PRICE)
        for p, quantity in units.items()
    ]
    payload = events.OrderCreated(
        order_id=order_id,
        user_id=user_id,
        idempotency_key=key,
        request_hash="",
        currency="USD",
        total_amount=sum(line.quantity * line.unit_price for line in lines),
        lines=lines,
        shipping_address=Address(
            name="N", line1="L", city="Oslo", postal_code="0150", country="NO", latitude=59.9, longitude=10.7
        ),
        payment_method=PaymentMethod(type=PaymentMethodType.WALLET, token="tok_ok"),  # noqa: S106
        queue_position=0,
        created_at=START,
        sale=sale,
    )
    return seal(
        payload,
        id=caused_id(order_id, "order.created"),
        source="simulator",
        subject=order_id,
        time=START,
        partitionkey=sale.product_id if sale is not None else "",
    )


def names(envelopes: Sequence[Envelope]) -> str:
    """Messages in a few words."""
    return ", ".join(f"{e.type} {e.subject[:4]}" for e in envelopes) or "nothing"

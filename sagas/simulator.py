"""A deterministic simulator of the whole saga: the production cores, on a log and clocks that misbehave by a seed.

One run places a few orders on scarce stock and then takes random steps: a consumer gets a batch, and may crash before
its commit, after it, in the middle of sending, or before its offsets are stored; messages are delivered twice and out
of order; the provider answers late, or not at all after having charged; customers cancel; carriers refuse; time leaps.
Then the faults stop, everything comes to rest, and the books are checked. The same seed takes the same steps.
"""

import datetime as dt
import random
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from contracts import commands, events
from contracts.envelope import Envelope, Message, caused_id, registry, reply_to, seal, topic_for
from contracts.orders import (
    Address,
    CancelReason,
    OrderLine,
    OrderStatus,
    PaymentMethod,
    PaymentMethodType,
)
from oltp.inventory import domain as inventory
from oltp.payments import domain as payments
from oltp.shipping import domain as shipping
from oltp.shipping.carriers import CarrierNetwork
from sagas import order as order_saga
from sagas.batch import Batch, Changes, Snapshot
from sagas.engine import Saga, Transition, due
from sagas.order import SAGA, Order

START: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PRICE: Final = 1000
MOST_STEPS_TO_REST: Final = 5_000


class BooksBroken(AssertionError):
    """A run ended, or came to a moment, in which the books do not hold. Carries the seed that shows it again."""

    def __init__(self, seed: int, problem: str, trace: Sequence[str]) -> None:
        super().__init__(f"seed {seed}: {problem}  (again: surge saga simulate --seed {seed} --trace)")
        self.seed = seed
        self.problem = problem
        self.trace = tuple(trace)

    def __reduce__(self) -> tuple[type["BooksBroken"], tuple[int, str, tuple[str, ...]]]:
        return BooksBroken, (self.seed, self.problem, self.trace)


class _Crash(Exception):
    """The process dies here."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How likely each misfortune is, per step or message."""

    crash: float = 0.25
    duplicate: float = 0.08
    reorder: float = 0.10
    provider_silent: float = 0.20
    provider_declines: float = 0.12
    cancel: float = 0.012
    leap: float = 0.02

    @classmethod
    def none(cls) -> "Odds":
        """A calm world."""
        return cls(0, 0, 0, 0, 0, 0, 0)


class Log:
    """Topics, one partition an order, and how far each consumer has committed."""

    def __init__(self) -> None:
        self.partitions: dict[tuple[str, str], list[Envelope]] = {}
        self.committed: dict[tuple[str, str, str], int] = {}

    def append(self, envelopes: Iterable[Envelope]) -> None:
        for envelope in envelopes:
            self.partitions.setdefault((topic_for(envelope), envelope.subject), []).append(envelope)

    def unread(self, group: str, topics: Iterable[str]) -> list[tuple[str, str]]:
        """The partitions in which a group has something to read."""
        wanted = set(topics)
        return [
            place
            for place, messages in self.partitions.items()
            if place[0] in wanted and self.committed.get((group, *place), 0) < len(messages)
        ]


class Provider:
    """The payment provider: it outlives every crash of ours, and remembers keys."""

    def __init__(self, rng: random.Random, odds: Odds) -> None:
        self._rng = rng
        self.odds = odds
        self._results: dict[str, payments.Result] = {}
        self.captured: dict[str, int] = {}
        self.refunded: dict[str, int] = {}

    def call(self, action: payments.Action) -> payments.Result:
        """Does what is asked, once a key; may keep the answer to itself, before or after doing it."""
        if self._rng.random() < self.odds.provider_silent / 2:
            return payments.Unknown("no answer, nothing done")
        result = self._do(action)
        if self._rng.random() < self.odds.provider_silent / 2:
            return payments.Unknown("no answer, but done")
        return result

    def _do(self, action: payments.Action) -> payments.Result:
        if isinstance(action, payments.Charge):
            if action.key not in self._results:
                self._results[action.key] = self._charge(action)
            return self._results[action.key]
        if isinstance(action, payments.Void):
            known = self._results.setdefault(action.charge.key, payments.Voided())
            return known if isinstance(known, payments.Captured) else payments.Voided()
        if action.key not in self._results:
            order_id = action.charge.order_id
            self.refunded[order_id] = self.refunded.get(order_id, 0) + action.charge.amount
            self._results[action.key] = payments.Refunded(f"re_{order_id}")
        return self._results[action.key]

    def _charge(self, charge: payments.Charge) -> payments.Result:
        if self._rng.random() < self.odds.provider_declines:
            return payments.Declined(self._rng.choice(["insufficient_funds", "processing_error"]))
        self.captured[charge.order_id] = self.captured.get(charge.order_id, 0) + charge.amount
        return payments.Captured(f"ch_{charge.key}")


@dataclass
class _Saga:
    """The saga's durable state."""

    orders: dict[str, Order] = field(default_factory=dict)
    transitions: dict[tuple[str, str], Transition] = field(default_factory=dict)
    parked: dict[tuple[str, str], Envelope] = field(default_factory=dict)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)

    def snapshot(self) -> Snapshot:
        parked: dict[str, list[Envelope]] = {}
        for (order_id, _), envelope in self.parked.items():
            parked.setdefault(order_id, []).append(envelope)
        return Snapshot(dict(self.orders), dict(self.transitions), parked, dict(self.keys))

    def save(self, changes: Changes) -> None:
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


@dataclass(frozen=True, slots=True)
class Result:
    """A run that held: what it did, and how its orders ended."""

    seed: int
    steps: int
    crashes: int
    messages: int
    statuses: tuple[str, ...]


class Run:
    """One seeded run.

    Args:
        seed: fixes every choice.
        saga: the table to run; tests give a broken one to see that the books notice.
        orders: how many orders are placed, on stock that does not suffice for all.
        steps: how many steps are taken before the faults stop.
    """

    def __init__(
        self, seed: int, *, saga: Saga = SAGA, orders: int = 3, steps: int = 90, odds: Odds | None = None
    ) -> None:
        self.seed = seed
        self._rng = random.Random(seed)
        self._saga = saga
        self._odds = odds or Odds()
        self._steps = steps
        self._now = START
        self.trace: list[str] = []
        self.crashes = 0
        self.taken = 0
        self.log = Log()
        self.provider = Provider(self._rng, self._odds)
        self.books = _Saga()
        self.reservations: dict[str, inventory.Reservation] = {}
        self.payments: dict[str, payments.Payment] = {}
        self.fulfilments: dict[str, shipping.Fulfilment] = {}
        self._carriers = CarrierNetwork(seed=seed, refusal_rate=0.3, delay_rate=0.3)
        self._products = [self._id() for _ in range(2)]
        warehouses = [inventory.Warehouse(self._id(), "NO", 60.0 + n, 10.0, n) for n in range(2)]
        self._initial = {(p, w.warehouse_id): self._rng.randint(0, 5) for p in self._products for w in warehouses}
        levels = {place: inventory.Level(units) for place, units in self._initial.items()}
        self.stock = inventory.Stock(warehouses, levels)
        self._waiting = [self._checkout() for _ in range(orders)]
        self._placed: list[Envelope] = []
        self._consumers: dict[str, tuple[tuple[str, ...], Callable[[list[Envelope]], list[Envelope]]]] = {
            "order-saga": (
                ("order-events", "order-commands", "inventory-events", "payment-events", "shipping-events"),
                self._saga_takes,
            ),
            "inventory": (("inventory-commands", "order-events"), self._inventory_takes),
            "payments": (("payment-commands",), self._payments_take),
            "shipping": (("shipping-commands",), self._shipping_takes),
        }
        self._saga_types = {saga.start, *(m for s in saga.states.values() for m in s.on)}.union(*saga.answers.values())

    # the world

    def _id(self) -> str:
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def _note(self, text: str) -> None:
        self.trace.append(f"{self.taken:4} {(self._now - START).total_seconds():8.1f}s  {text}")

    def _checkout(self) -> Envelope:
        order_id = self._id()
        bought = self._rng.sample(self._products, self._rng.randint(1, 2))
        lines = [
            OrderLine(product_id=p, sku="S", name="N", category="C", quantity=self._rng.randint(1, 2), unit_price=PRICE)
            for p in bought
        ]
        payload = events.OrderCreated(
            order_id=order_id,
            user_id=self._id(),
            idempotency_key=self._id(),
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
        )
        id = caused_id(order_id, "order.created")
        return seal(payload, id=id, source="simulator", subject=order_id, time=START)

    def run(self) -> Result:
        """Takes the run's steps, lets it come to rest, and checks the books.

        Raises:
            BooksBroken: if they do not hold.
        """
        try:
            for _ in range(self._steps):
                self._step()
                self._check_always()
            self._rest()
            self._check_at_rest()
        except inventory.OutOfBounds as error:
            raise BooksBroken(self.seed, f"oversold: {error}", self.trace) from error
        statuses = tuple(order.instance.status for order in self.books.orders.values())
        messages = sum(map(len, self.log.partitions.values()))
        return Result(self.seed, self.taken, self.crashes, messages, statuses)

    def _step(self) -> None:
        self.taken += 1
        self._now += dt.timedelta(seconds=self._rng.random() * 2)
        dice = self._rng.random()
        if dice < 0.08 and self._waiting:
            self._place()
        elif dice < 0.08 + self._odds.cancel and self._placed:
            self._cancel()
        elif dice < 0.22:
            self._clocks()
        elif dice < 0.22 + self._odds.leap:
            self._now += dt.timedelta(seconds=self._rng.choice([70, 130, 700]))
            self._note("time leaps")
        elif dice < 0.30 and self._rng.random() < self._odds.duplicate * 4:
            self._duplicate()
        elif dice < 0.38 and self._rng.random() < self._odds.reorder * 4:
            self._reorder()
        else:
            self._deliver()

    def _place(self) -> None:
        order = self._waiting.pop()
        self._placed.append(order)
        self._note(f"order {order.subject[:4]} placed")
        self.log.append([order] * (2 if self._rng.random() < self._odds.duplicate else 1))

    def _cancel(self) -> None:
        order = self._rng.choice(self._placed)
        self._note(f"order {order.subject[:4]} to be cancelled")
        payload = commands.CancelOrder(
            order_id=order.subject, reason=CancelReason.CUSTOMER_REQUEST, actor_id=self._id()
        )
        self.log.append([seal(payload, id=self._id(), source="simulator", subject=order.subject, time=self._now)])

    def _duplicate(self) -> None:
        place = self._rng.choice(list(self.log.partitions) or [("", "")])
        if messages := self.log.partitions.get(place):
            again = self._rng.choice(messages)
            self._note(f"{again.type} of {again.subject[:4]} comes again")
            messages.append(again)

    def _reorder(self) -> None:
        place = self._rng.choice(list(self.log.partitions) or [("", "")])
        messages = self.log.partitions.get(place, [])
        read = max((n for (_, *where), n in self.log.committed.items() if tuple(where) == place), default=0)
        if len(messages) - read >= 2:
            unread = messages[read:]
            self._rng.shuffle(unread)
            messages[read:] = unread
            self._note(f"{place[0]} of {place[1][:4]} is shuffled")

    # consumers

    def _deliver(self, odds: Odds | None = None) -> bool:
        """One consumer takes one batch. False if nobody has anything to read."""
        crash = (odds or self._odds).crash
        busy = [(g, places) for g, (topics, _) in self._consumers.items() if (places := self.log.unread(g, topics))]
        if not busy:
            return False
        group, places = self._rng.choice(busy)
        self._rng.shuffle(places)
        batch: list[Envelope] = []
        ends: dict[tuple[str, str], int] = {}
        for place in places[: self._rng.randint(1, len(places))]:
            first = self.log.committed.get((group, *place), 0)
            last = self._rng.randint(first + 1, len(self.log.partitions[place]))
            batch += self.log.partitions[place][first:last]
            ends[place] = last
        self._crash_at = self._rng.choice(["before", "after", "sending", "sent"]) if self._rng.random() < crash else ""
        try:
            outputs = self._consumers[group][1](batch)
            self._maybe_crash("after")
            if self._crash_at == "sending":
                self.log.append(outputs[: self._rng.randint(0, len(outputs))])
                raise _Crash("sending")
            self.log.append(outputs)
            self._maybe_crash("sent")
        except _Crash as crashed:
            self.crashes += 1
            self._note(f"{group} takes {_names(batch)} and dies {crashed}")
            return True
        for place, last in ends.items():
            self.log.committed[(group, *place)] = last
        self._note(f"{group} takes {_names(batch)}, sends {_names(outputs)}")
        return True

    def _maybe_crash(self, moment: str) -> None:
        if self._crash_at == moment:
            raise _Crash(moment)

    def _saga_takes(self, batch: list[Envelope]) -> list[Envelope]:
        work = Batch(self._saga, self.books.snapshot(), self._now)
        for envelope in batch:
            if envelope.type in self._saga_types:
                work.take(envelope, registry.decode(envelope))
        self._maybe_crash("before")
        self.books.save(work.changes)
        return work.messages

    def _inventory_takes(self, batch: list[Envelope]) -> list[Envelope]:
        stock = inventory.Stock(self.stock.warehouses.values(), self.stock.levels())
        reservations = dict(self.reservations)
        replies: list[Envelope] = []
        for envelope in batch:
            payload = registry.decode(envelope)
            if not isinstance(payload, inventory.Command):
                continue
            decision = inventory.decide(reservations.get(envelope.subject), payload, stock, self._now)
            stock.apply(decision.changes)
            if decision.reservation is not None:
                reservations[envelope.subject] = decision.reservation
            if decision.reply is not None:
                replies.append(self._reply(envelope, decision.reply))
        self._maybe_crash("before")
        self.stock, self.reservations = stock, reservations
        return replies

    def _payments_take(self, batch: list[Envelope]) -> list[Envelope]:
        replies: list[Envelope] = []
        touched: list[str] = []
        for envelope in batch:
            payload = registry.decode(envelope)
            assert isinstance(payload, payments.Command)
            decision = payments.decide(
                self.payments.get(envelope.subject),
                payload,
                payments.Cause(envelope.id, envelope.type),
                payment_id=f"pay_{envelope.subject}",
                provider="simulated",
                now=self._now,
            )
            self.payments[envelope.subject] = decision.state
            touched.append(envelope.subject)
            replies += self._payment_replies(decision.replies)
        self._maybe_crash("before")
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
            if self._rng.random() < self._odds.crash / 5:
                raise _Crash("with the provider's answer in hand")
            decision = payments.conclude(self.payments[order_id], action, result, now=self._now)
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
                time=self._now,
                causationid=reply.cause.id,
            )
            for reply in replies
        ]

    def _shipping_takes(self, batch: list[Envelope]) -> list[Envelope]:
        fulfilments = dict(self.fulfilments)
        replies: list[Envelope] = []
        for envelope in batch:
            payload = registry.decode(envelope)
            assert isinstance(payload, commands.CreateShipment | commands.CancelShipment)
            decision = shipping.decide(
                fulfilments.get(envelope.subject),
                payload,
                cause=envelope.id,
                now=self._now,
                carriers=self._carriers,
                origins={},
            )
            fulfilments[envelope.subject] = decision.state
            replies.append(self._reply(envelope, decision.reply.message))
        self._maybe_crash("before")
        self.fulfilments = fulfilments
        return replies

    def _reply(self, envelope: Envelope, payload: Message) -> Envelope:
        return reply_to(envelope, payload, source="simulator", time=self._now)

    # clocks: what they say is born in a transaction, so it reaches the log if and only if it happened

    def _clocks(self) -> None:
        self._rng.choice([self._saga_clock, self._hold_clock, self._carrier_clock, self._payment_clock])()

    def _saga_clock(self) -> None:
        for order in list(self.books.orders.values()):
            at = order.instance.due_at
            if at is None or at > self._now:
                continue
            is_due = due(order.instance, self._now)
            order = order_saga.with_instance(order, is_due.instance)
            self.books.orders[order.order_id] = order
            if self._rng.random() < self._odds.crash:
                self._note("the saga's clock dies before it sends")
                continue
            messages = [order_saga.resend(order, command, self._now) for command in is_due.send]
            if is_due.timed_out:
                messages.append(order_saga.time_out(order, self._now))
            self.log.append(messages)
            self._note(f"the saga's clock sends {_names(messages)}")

    def _hold_clock(self) -> None:
        for reservation in self.reservations.values():
            if (expired := inventory.hold_expired(reservation, self._now)) is not None:
                id = caused_id(reservation.order_id, "inventory.hold_expired", str(self._now))
                self.log.append([seal(expired, id=id, source="s", subject=reservation.order_id, time=self._now)])
                self._note(f"the hold of {reservation.order_id[:4]} has expired")

    def _carrier_clock(self) -> None:
        for order_id, fulfilment in list(self.fulfilments.items()):
            progress = shipping.advance(fulfilment, now=self._now, carriers=self._carriers)
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
            self.log.append(happened)
            if happened:
                self._note(f"carriers: {_names(happened)}")

    def _payment_clock(self) -> None:
        for order_id, payment in list(self.payments.items()):
            if payments.next_action(payment) is not None:
                try:
                    replies = self._call_provider(order_id)
                except _Crash:
                    self.crashes += 1
                    continue
                self.log.append(replies)

    # the end

    def _rest(self) -> None:
        """No more faults: everything is delivered and every clock ticks until nothing is left to do."""
        calm = Odds.none()
        self._odds = calm
        self.provider.odds = replace(calm, provider_declines=self.provider.odds.provider_declines)
        while self._waiting:
            self._place()
        for _ in range(MOST_STEPS_TO_REST):
            self.taken += 1
            if self._deliver(calm):
                continue
            moments = [o.instance.due_at for o in self.books.orders.values()]
            moments += [f.next_event_at for f in self.fulfilments.values()]
            moments += [self._now for p in self.payments.values() if payments.next_action(p) is not None]
            ahead = [moment for moment in moments if moment is not None]
            if not ahead:
                return
            self._now = max(self._now, min(ahead))
            for clock in (self._saga_clock, self._hold_clock, self._carrier_clock, self._payment_clock):
                clock()
        raise BooksBroken(self.seed, "does not come to rest", self.trace)

    def _broken(self, problem: str) -> BooksBroken:
        return BooksBroken(self.seed, problem, self.trace)

    def _check_always(self) -> None:
        for order_id, captured in self.provider.captured.items():
            total = self._total(order_id)
            if captured != total:
                raise self._broken(f"order {order_id} over {total} was charged {captured}")
            if self.provider.refunded.get(order_id, 0) not in (0, total):
                raise self._broken(f"order {order_id} over {total} was refunded {self.provider.refunded[order_id]}")

    def _total(self, order_id: str) -> int:
        created = next(e for e in self._placed if e.subject == order_id)
        payload = registry.decode(created)
        assert isinstance(payload, events.OrderCreated)
        return payload.total_amount

    def _check_at_rest(self) -> None:
        if set(self.books.orders) != {envelope.subject for envelope in self._placed}:
            raise self._broken("an accepted order is missing")
        if self.books.parked:
            raise self._broken(f"messages are parked for ever: {list(self.books.parked)}")
        for order in self.books.orders.values():
            self._check_order(order)
        for place, level in self.stock.levels().items():
            shipped = sum(
                a.quantity
                for r in self.reservations.values()
                if r.status is inventory.ReservationStatus.FULFILLED
                for a in r.allocations
                if (a.product_id, a.warehouse_id) == place
            )
            if level.reserved or level.quantity != self._initial[place] - shipped:
                raise self._broken(f"stock {place}: {level}, began with {self._initial[place]}, {shipped} shipped")

    def _check_order(self, order: Order) -> None:
        order_id, status = order.order_id, order.instance.status
        kept = self.provider.captured.get(order_id, 0) - self.provider.refunded.get(order_id, 0)
        reservation = self.reservations.get(order_id)
        held = reservation.status if reservation is not None else None
        parcels = self.fulfilments.get(order_id)
        where = f"order {order_id} is {status}"
        if order.instance.outstanding:
            raise self._broken(f"{where} and waits for {order.instance.outstanding}")
        steps = [t for (owner, _), t in self.books.transitions.items() if owner == order_id]
        if sorted(t.sequence for t in steps) != list(range(1, order.instance.sequence + 1)):
            raise self._broken(f"{where} and its transitions have gaps")
        if status == OrderStatus.DELIVERED:
            if kept != order.total_amount:
                raise self._broken(f"{where} and {kept} of {order.total_amount} is paid")
            if held is not inventory.ReservationStatus.FULFILLED:
                raise self._broken(f"{where} and its stock is {held}")
            if parcels is None or parcels.state is not shipping.State.DELIVERED:
                raise self._broken(f"{where} and its parcels are not")
        elif status == OrderStatus.CANCELLED:
            if kept:
                raise self._broken(f"{where} and {kept} is still charged")
            if held in (inventory.ReservationStatus.HELD, inventory.ReservationStatus.FULFILLED):
                raise self._broken(f"{where} and its stock is {held}")
            if parcels is not None and parcels.state in (shipping.State.DISPATCHED, shipping.State.DELIVERED):
                raise self._broken(f"{where} and its parcels are {parcels.state}")
        else:
            raise self._broken(f"{where} and nothing moves it")


def _names(envelopes: Sequence[Envelope]) -> str:
    return ", ".join(f"{e.type} {e.subject[:4]}" for e in envelopes) or "nothing"


def simulate(
    seeds: Iterable[int], *, saga: Saga = SAGA, progress: Callable[[Result], None] | None = None
) -> list[Result]:
    """Runs every seed.

    Raises:
        BooksBroken: at the first seed whose books do not hold.
    """
    results = []
    for seed in seeds:
        result = Run(seed, saga=saga).run()
        if progress is not None:
            progress(result)
        results.append(result)
    return results

"""A batch of messages applied to the orders that they speak of. Pure: state in, changes and messages out."""

import datetime as dt
from dataclasses import dataclass, field, replace

from contracts.envelope import Envelope, Message, registry
from contracts.events import InventoryReserved, OrderCreated
from sagas import order as order_saga
from sagas.engine import Early, Moved, Saga, Transition, advance, begin
from sagas.order import Order


@dataclass(frozen=True, slots=True)
class Birth:
    """A new order as its ``order.created`` gave it, with the message's place in the log."""

    created: OrderCreated
    partition: int
    offset: int


@dataclass(slots=True)
class Snapshot:
    """What a batch needs to know: its orders (locked), the steps its messages took before, and what waits for them.

    ``recorded`` holds each step that a message of the batch took before, and those that were taken along with it.
    """

    orders: dict[str, Order] = field(default_factory=dict)
    recorded: dict[tuple[str, str], Transition] = field(default_factory=dict)
    parked: dict[str, list[Envelope]] = field(default_factory=dict)
    taken_keys: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass(slots=True)
class Changes:
    """What a batch writes."""

    births: list[tuple[Birth, Order]] = field(default_factory=list)
    orders: dict[str, Order] = field(default_factory=dict)
    transitions: list[tuple[str, Transition]] = field(default_factory=list)
    park: list[Envelope] = field(default_factory=list)
    unpark: list[tuple[str, str]] = field(default_factory=list)


class Batch:
    """Applies messages one after the other to a snapshot and collects what to write and to send.

    ``refused`` are the ids of new orders that were dropped, each with the order that its customer already has by the
    same key. Only a gateway that lost its memory produces one, and it answers with the order that exists.
    """

    def __init__(self, saga: Saga, snapshot: Snapshot, now: dt.datetime) -> None:
        self._saga = saga
        self._snapshot = snapshot
        self._now = now
        self.changes = Changes()
        self.messages: list[Envelope] = []
        self._by_order: dict[str, list[Transition]] | None = None
        self.refused: list[tuple[str, str]] = []

    def take(self, envelope: Envelope, payload: Message, partition: int = 0, offset: int = 0) -> None:
        """Applies one message, which lay at ``offset`` of ``partition``."""
        order = self._snapshot.orders.get(envelope.subject)
        recorded = self._snapshot.recorded.get((envelope.subject, envelope.id))
        if order is not None and recorded is not None:
            if isinstance(payload, OrderCreated):
                order = replace(order, lines=tuple(payload.lines))
            for step in self._taken_along(order.order_id, recorded):
                self.messages += order_saga.outputs(order, step)
        elif isinstance(payload, OrderCreated):
            if order is None:
                self._create(envelope, payload, partition, offset)
        elif order is None:
            self._park(envelope)
        else:
            self._advance(order, envelope, payload)

    def _taken_along(self, order_id: str, first: Transition) -> list[Transition]:
        """A step, and those after it in the same batch: parked messages that it took up are not delivered again."""
        if self._by_order is None:
            self._by_order = {}
            for (owner, _), step in self._snapshot.recorded.items():
                self._by_order.setdefault(owner, []).append(step)
        steps = [
            step
            for step in self._by_order.get(order_id, ())
            if step.sequence > first.sequence and step.occurred_at == first.occurred_at
        ]
        return [first, *sorted(steps, key=lambda step: step.sequence)]

    def _create(self, envelope: Envelope, created: OrderCreated, partition: int, offset: int) -> None:
        key = created.user_id, created.idempotency_key
        taken = self._snapshot.taken_keys.setdefault(key, created.order_id)
        if taken != created.order_id:
            self.refused.append((created.order_id, taken))
            return
        moved = begin(self._saga, message_id=envelope.id, now=self._now)
        order = Order(
            order_id=created.order_id,
            user_id=created.user_id,
            total_amount=created.total_amount,
            currency=created.currency,
            payment_method=created.payment_method,
            shipping_address=created.shipping_address,
            sale=created.sale,
            lines=tuple(created.lines),
            correlation_id=envelope.correlationid,
            instance=moved.instance,
        )
        self.changes.births.append((Birth(created, partition, offset), order))
        self._record(order, moved.transition)

    def _advance(self, order: Order, envelope: Envelope, payload: Message) -> None:
        verdict = advance(
            self._saga,
            order.instance,
            message_type=envelope.type,
            message_id=envelope.id,
            reason=order_saga.reason_of(payload),
            now=self._now,
        )
        if isinstance(verdict, Moved):
            order = replace(order, instance=verdict.instance)
            if isinstance(payload, InventoryReserved):
                order = replace(order, allocations=tuple(payload.allocations))
            order = replace(order, cancel_reason=order_saga.cancel_reason(verdict.transition, order.cancel_reason))
            self._record(order, verdict.transition)
        elif isinstance(verdict, Early):
            self._park(envelope)

    def _record(self, order: Order, transition: Transition) -> None:
        self._snapshot.orders[order.order_id] = order
        self._snapshot.recorded[order.order_id, transition.message_id] = transition
        self.changes.orders[order.order_id] = order
        self.changes.transitions.append((order.order_id, transition))
        self.messages += order_saga.outputs(order, transition)
        self._retake_parked(order.order_id)

    def _park(self, envelope: Envelope) -> None:
        waiting = self._snapshot.parked.setdefault(envelope.subject, [])
        if any(other.id == envelope.id for other in waiting):
            return
        waiting.append(envelope)
        stored = envelope.subject, envelope.id
        if stored in self.changes.unpark:
            self.changes.unpark.remove(stored)
        else:
            self.changes.park.append(envelope)

    def _retake_parked(self, order_id: str) -> None:
        waiting = self._snapshot.parked.pop(order_id, [])
        for envelope in waiting:
            if any(envelope is parked for parked in self.changes.park):
                self.changes.park = [parked for parked in self.changes.park if parked is not envelope]
            else:
                self.changes.unpark.append((order_id, envelope.id))
        for envelope in waiting:
            self.take(envelope, registry.decode(envelope))

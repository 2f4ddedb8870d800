"""Pure rules of orders as they are read: what an order is made of, how its story reads, which filter it fits.

An order is a set of facts that only grows: how it was placed (never changes), and one step a transition (never
changes once taken). Facts can be added in any order and any number of times; the newest step says where it stands.
"""

import datetime as dt
import enum
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contracts import events
from contracts.envelope import registry
from contracts.orders import CancelReason, OrderStatus

CREATED: Final = registry.name_of(events.OrderCreated)
CANCELLATION_REFUSED: Final = registry.name_of(events.OrderCancellationRefused)

EVENT_OF_STATUS: Final[Mapping[OrderStatus, str]] = {
    OrderStatus.PENDING: CREATED,
    OrderStatus.AWAITING_PAYMENT: registry.name_of(events.OrderReserved),
    OrderStatus.CONFIRMED: registry.name_of(events.OrderConfirmed),
    OrderStatus.PROCESSING: registry.name_of(events.OrderProcessing),
    OrderStatus.SHIPPED: registry.name_of(events.OrderShipped),
    OrderStatus.DELIVERED: registry.name_of(events.OrderDelivered),
    OrderStatus.CANCELLING: registry.name_of(events.OrderCancelling),
    OrderStatus.CANCELLED: registry.name_of(events.OrderCancelled),
}
"""The event that says an order came into a status."""

TERMINAL: Final = frozenset({OrderStatus.DELIVERED, OrderStatus.CANCELLED})
BEYOND_CANCELLATION: Final = frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED})


class PaymentState(enum.StrEnum):
    """What came of an order's payment, as far as its saga has heard."""

    NOT_REQUESTED = "not_requested"
    REQUESTED = "requested"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    REFUNDED = "refunded"


_PAYMENT_EVENTS: Final[Mapping[str, PaymentState]] = {
    registry.name_of(events.PaymentSucceeded): PaymentState.CAPTURED,
    registry.name_of(events.PaymentFailed): PaymentState.DECLINED,
    registry.name_of(events.PaymentVoided): PaymentState.VOIDED,
    registry.name_of(events.PaymentRefunded): PaymentState.REFUNDED,
}


@dataclass(frozen=True, slots=True)
class Item:
    """One product of an order at the price it was bought for (minor units, each)."""

    product_id: str
    sku: str
    name: str
    category: str
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True)
class Step:
    """One transition that customers see. ``type`` is the event that told of it."""

    sequence: int
    type: str
    previous_status: OrderStatus
    status: OrderStatus
    reason: str
    occurred_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Placement:
    """What was bought, when, for how much and by which means; known from the start and never changed."""

    created_at: dt.datetime
    currency: str
    total_amount: int
    payment_method: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What one source knows of an order. Without ``placement`` it is a mere part of the story."""

    order_id: str
    placement: Placement | None = None
    steps: Mapping[int, Step] = field(default_factory=dict)

    def joined(self, other: "Facts") -> "Facts":
        """The facts of both; the order of joining makes no difference."""
        return Facts(self.order_id, self.placement or other.placement, {**other.steps, **self.steps})


@dataclass(frozen=True, slots=True)
class Order:
    """An order as its customer reads it: placed, with at least one step, oldest first."""

    order_id: str
    placement: Placement
    timeline: tuple[Step, ...]

    @property
    def last(self) -> Step:
        """The newest step: it says where the order stands."""
        return self.timeline[-1]

    @property
    def status(self) -> OrderStatus:
        return self.last.status

    @property
    def updated_at(self) -> dt.datetime:
        return self.last.occurred_at

    @property
    def created_at(self) -> dt.datetime:
        return self.placement.created_at

    @property
    def cancel_reason(self) -> str | None:
        """Why it is being or was cancelled; None if it is not."""
        return self.last.reason if self.status in (OrderStatus.CANCELLING, OrderStatus.CANCELLED) else None

    @property
    def key(self) -> tuple[dt.datetime, str]:
        """Its place among all orders: by time, then by id."""
        return self.placement.created_at, self.order_id


def first_step(created_at: dt.datetime) -> Step:
    """The step by which an order comes to be."""
    return Step(1, CREATED, OrderStatus.PENDING, OrderStatus.PENDING, "", created_at)


def facts_of_creation(created: events.OrderCreated) -> Facts:
    """What ``order.created`` tells."""
    items = tuple(
        Item(line.product_id, line.sku, line.name, line.category, line.quantity, line.unit_price)
        for line in created.lines
    )
    placement = Placement(
        created_at=created.created_at,
        currency=created.currency,
        total_amount=created.total_amount,
        payment_method=created.payment_method.type,
        items=items,
    )
    return Facts(created.order_id, placement, {1: first_step(created.created_at)})


def facts_of_transition(name: str, moved: events.OrderTransition) -> Facts:
    """What an event about a transition tells; ``name`` is its type."""
    step = Step(moved.sequence, name, moved.previous_status, moved.status, moved.reason, moved.occurred_at)
    return Facts(moved.order_id, None, {moved.sequence: step})


@dataclass(frozen=True, slots=True)
class Recorded:
    """A transition as the saga recorded it, whether or not a customer sees it. ``outputs`` are the types it sent."""

    sequence: int
    message_id: str
    message_type: str
    previous_status: OrderStatus
    status: OrderStatus
    reason: str
    outputs: tuple[str, ...]
    occurred_at: dt.datetime


def _announced(recorded: Recorded) -> str | None:
    """The event that told of a transition; None if customers were not told."""
    if recorded.sequence == 1:
        return CREATED
    told = next((name for name in recorded.outputs if name.startswith("order.")), None)
    if told is None and recorded.status is not recorded.previous_status:
        return EVENT_OF_STATUS[recorded.status]
    return told


def timeline(
    recorded: Iterable[Recorded],
    *,
    status: OrderStatus,
    sequence: int,
    cancel_reason: str | None,
    created_at: dt.datetime,
    updated_at: dt.datetime,
) -> dict[int, Step]:
    """The steps of a stored order that customers see: the same that its events told.

    An order that was written without (all of) its transitions, as an imported one may be, still ends where it stands.
    """
    steps = {1: first_step(created_at)}
    for row in recorded:
        name = _announced(row)
        if name is None or row.sequence == 1:
            continue
        reason = row.reason
        if row.status is OrderStatus.CANCELLED and row.previous_status is not OrderStatus.CANCELLED:
            reason = cancel_reason or reason
        steps[row.sequence] = Step(row.sequence, name, row.previous_status, row.status, reason, row.occurred_at)
    last = steps[max(steps)]
    if last.status is not status:
        number = max(sequence, last.sequence + 1)
        steps[number] = Step(number, EVENT_OF_STATUS[status], last.status, status, cancel_reason or "", updated_at)
    return steps


def order_of(facts: Facts) -> Order | None:
    """The order that the facts make up; None while it is not known how it was placed."""
    if facts.placement is None:
        return None
    steps = {1: first_step(facts.placement.created_at), **facts.steps}
    return Order(facts.order_id, facts.placement, tuple(steps[number] for number in sorted(steps)))


def payment_state(recorded: Iterable[Recorded]) -> PaymentState:
    """What the order's transitions say of its payment."""
    state = PaymentState.NOT_REQUESTED
    for row in recorded:
        if row.message_type in _PAYMENT_EVENTS:
            state = _PAYMENT_EVENTS[row.message_type]
        elif "payment.charge" in row.outputs:
            state = PaymentState.REQUESTED
    return state


_SETTLED: Final[Mapping[CancelReason, PaymentState]] = {
    CancelReason.PAYMENT_FAILED: PaymentState.DECLINED,
    CancelReason.PAYMENT_TIMEOUT: PaymentState.VOIDED,
    CancelReason.CUSTOMER_REQUEST: PaymentState.REFUNDED,
    CancelReason.ADMIN_REQUEST: PaymentState.REFUNDED,
}


def payment_settled(status: OrderStatus, cancel_reason: str | None) -> PaymentState:
    """What came of the payment of an order that was brought in as settled history."""
    if status is OrderStatus.CANCELLED and cancel_reason is not None:
        return _SETTLED.get(CancelReason(cancel_reason), PaymentState.NOT_REQUESTED)
    return PaymentState.CAPTURED


def payment_told(order: Order) -> PaymentState:
    """What the order's visible steps say of its payment, for when what its saga recorded can't be read."""
    statuses = {step.status for step in order.timeline}
    if OrderStatus.CONFIRMED in statuses:
        return PaymentState.CAPTURED
    if order.cancel_reason == CancelReason.PAYMENT_FAILED:
        return PaymentState.DECLINED
    return PaymentState.REQUESTED if OrderStatus.AWAITING_PAYMENT in statuses else PaymentState.NOT_REQUESTED


@dataclass(frozen=True, slots=True)
class Filter:
    """Which orders somebody asks for; empty members let everything through. Dates: from is inclusive, to is not."""

    statuses: frozenset[OrderStatus] = frozenset()
    date_from: dt.datetime | None = None
    date_to: dt.datetime | None = None
    price_min: int | None = None
    price_max: int | None = None
    text: str = ""

    def admits(self, order: Order) -> bool:
        """Whether the order is among them. Text is looked for in its id and its products' names, in any case."""
        wanted = self.text.casefold()
        return (
            (not self.statuses or order.status in self.statuses)
            and (self.date_from is None or order.created_at >= self.date_from)
            and (self.date_to is None or order.created_at < self.date_to)
            and (self.price_min is None or order.placement.total_amount >= self.price_min)
            and (self.price_max is None or order.placement.total_amount <= self.price_max)
            and (
                not wanted
                or wanted in order.order_id
                or any(wanted in item.name.casefold() for item in order.placement.items)
            )
        )


@dataclass(frozen=True, slots=True)
class Outstanding:
    """A command of the order's saga that was not answered yet, with how often it was sent."""

    command: str
    attempt: int
    tries: int
    due_at: dt.datetime


@dataclass(frozen=True, slots=True)
class StoredOrder:
    """An order as Postgres has it, with everything that its saga recorded."""

    order_id: str
    user_id: str
    status: OrderStatus
    sequence: int
    cancel_reason: str | None
    placement: Placement
    shipping_address: Mapping[str, Any]
    recorded: tuple[Recorded, ...]
    outstanding: tuple[Outstanding, ...]
    correlation_id: str
    updated_at: dt.datetime
    queue_position: int = 0
    sale_id: str | None = None

    @property
    def facts(self) -> Facts:
        """What customers know of it."""
        steps = timeline(
            self.recorded,
            status=self.status,
            sequence=self.sequence,
            cancel_reason=self.cancel_reason,
            created_at=self.placement.created_at,
            updated_at=self.updated_at,
        )
        return Facts(self.order_id, self.placement, steps)

    @property
    def order(self) -> Order:
        """The order as its customer reads it."""
        steps = self.facts.steps
        return Order(self.order_id, self.placement, tuple(steps[number] for number in sorted(steps)))

    @property
    def payment(self) -> PaymentState:
        """What came of its payment."""
        told = payment_state(self.recorded)
        if told is PaymentState.NOT_REQUESTED and all(row.sequence > 1 for row in self.recorded):
            return payment_settled(self.status, self.cancel_reason)
        return told


def month_of(moment: dt.datetime) -> str:
    """The month that a moment lies in, ``yyyy-mm``, UTC."""
    return f"{moment.astimezone(dt.UTC):%Y-%m}"


def months_down(first: str, last: str) -> list[str]:
    """The months from ``first`` back to ``last``, newest first; empty if ``last`` is later."""
    year, month = (int(part) for part in first.split("-"))
    months: list[str] = []
    while (name := f"{year:04d}-{month:02d}") >= last:
        months.append(name)
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return months


def month_before(month: str) -> str:
    """The month before."""
    year, number = (int(part) for part in month.split("-"))
    return f"{year:04d}-{number - 1:02d}" if number > 1 else f"{year - 1:04d}-12"


def month_after(month: str) -> str:
    """The month after."""
    year, number = (int(part) for part in month.split("-"))
    return f"{year:04d}-{number + 1:02d}" if number < 12 else f"{year + 1:04d}-01"


def moment_of_id(order_id: str) -> dt.datetime | None:
    """When a UUIDv7 was made; None for another kind of id."""
    parsed = uuid.UUID(order_id)
    if parsed.version != 7:
        return None
    return dt.datetime.fromtimestamp((parsed.int >> 80) / 1000, dt.UTC)


def newest_first(orders: Iterable[Order]) -> list[Order]:
    """Orders as every list shows them."""
    return sorted(orders, key=lambda order: order.key, reverse=True)

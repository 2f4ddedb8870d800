"""The order saga: the specification's state machine with its compensations, as one table.

To add a participant or a step, add its command to ``answers``, name it in a rule's ``send``, and give
:data:`COMMANDS` the function that builds it (``docs/sagas.md`` walks through an example).
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from contracts import commands, events
from contracts.envelope import Envelope, Message, caused_id, registry, seal
from contracts.orders import (
    Address,
    Allocation,
    CancelReason,
    OrderLine,
    OrderStatus,
    PaymentMethod,
    SaleTerms,
    StockLine,
)
from sagas.engine import Go, Instance, Outstanding, Saga, State, Transition

SOURCE: Final = "surge/order-saga"

PAYMENT_TIME_OUT: Final = dt.timedelta(minutes=2)
"""How long a payment may take. Well under the 10-minute hold: the saga gives the stock back, not the hold's end."""


def order_saga(payment_time_out: dt.timedelta = PAYMENT_TIME_OUT) -> Saga:
    """The table. A payment that takes longer than ``payment_time_out`` is undone and the order cancelled."""
    return Saga(
        name="order",
        start="order.created",
        begin=Go(OrderStatus.PENDING, send=("inventory.reserve",)),
        time_out="order.time_out",
        states={
            OrderStatus.PENDING: State(
                on={
                    "inventory.reserved": Go(OrderStatus.AWAITING_PAYMENT, send=("payment.charge",)),
                    "inventory.failed": Go(OrderStatus.CANCELLED),
                    "order.cancel": Go(OrderStatus.CANCELLED, send=("inventory.release",), drop=("inventory.reserve",)),
                },
            ),
            OrderStatus.AWAITING_PAYMENT: State(
                emits="order.reserved",
                time_out=payment_time_out,
                on={
                    "payment.succeeded": Go(OrderStatus.CONFIRMED, send=("shipping.create",)),
                    "payment.failed": Go(
                        OrderStatus.CANCELLED, send=("inventory.release",), reason=CancelReason.PAYMENT_FAILED
                    ),
                    "order.cancel": Go(
                        OrderStatus.CANCELLED, send=("payment.void", "inventory.release"), drop=("payment.charge",)
                    ),
                    "order.time_out": Go(
                        OrderStatus.CANCELLED,
                        send=("payment.void", "inventory.release"),
                        drop=("payment.charge",),
                        reason=CancelReason.PAYMENT_TIMEOUT,
                    ),
                    "inventory.hold_expired": Go(
                        OrderStatus.CANCELLED,
                        send=("payment.void", "inventory.release"),
                        drop=("payment.charge",),
                        reason=CancelReason.PAYMENT_TIMEOUT,
                    ),
                },
            ),
            OrderStatus.CONFIRMED: State(
                emits="order.confirmed",
                on={
                    "shipment.created": Go(OrderStatus.PROCESSING),
                    "shipment.failed": Go(OrderStatus.CONFIRMED, retry="shipping.create"),
                    "order.cancel": Go(OrderStatus.CANCELLING, send=("shipping.cancel",), drop=("shipping.create",)),
                },
            ),
            OrderStatus.PROCESSING: State(
                emits="order.processing",
                on={
                    "shipment.in_transit": Go(OrderStatus.SHIPPED, send=("inventory.fulfil",)),
                    "order.cancel": Go(OrderStatus.CANCELLING, send=("shipping.cancel",)),
                },
            ),
            OrderStatus.CANCELLING: State(
                emits="order.cancelling",
                on={
                    "shipment.cancelled": Go(OrderStatus.CANCELLED, send=("payment.refund", "inventory.release")),
                    "shipment.cancel_refused": Go(OrderStatus.PROCESSING, emit="order.cancellation_refused"),
                    "shipment.in_transit": Go(OrderStatus.SHIPPED, send=("inventory.fulfil",)),
                },
            ),
            OrderStatus.SHIPPED: State(
                emits="order.shipped",
                on={
                    "shipment.delivered": Go(OrderStatus.DELIVERED),
                    "order.cancel": Go(OrderStatus.SHIPPED, emit="order.cancellation_refused"),
                },
            ),
            OrderStatus.DELIVERED: State(
                emits="order.delivered",
                on={"order.cancel": Go(OrderStatus.DELIVERED, emit="order.cancellation_refused")},
            ),
            OrderStatus.CANCELLED: State(emits="order.cancelled", on={}),
        },
        answers={
            "inventory.reserve": frozenset({"inventory.reserved", "inventory.failed"}),
            "inventory.release": frozenset({"inventory.released"}),
            "inventory.fulfil": frozenset({"inventory.fulfilled"}),
            "payment.charge": frozenset({"payment.succeeded", "payment.failed"}),
            "payment.void": frozenset({"payment.voided", "payment.refunded"}),
            "payment.refund": frozenset({"payment.refunded"}),
            "shipping.create": frozenset({"shipment.created", "shipment.failed"}),
            "shipping.cancel": frozenset({"shipment.cancelled", "shipment.cancel_refused"}),
        },
    )


SAGA: Final = order_saga()


@dataclass(frozen=True, slots=True)
class Order:
    """An order: what was bought (never changes), and where its saga stands.

    ``lines`` may be left empty where nothing needs them: only ``inventory.reserve`` does.
    """

    order_id: str
    user_id: str
    total_amount: int
    currency: str
    payment_method: PaymentMethod
    shipping_address: Address
    instance: Instance
    correlation_id: str = ""
    cancel_reason: str | None = None
    allocations: tuple[Allocation, ...] = ()
    sale: SaleTerms | None = None
    lines: tuple[OrderLine, ...] = field(default=(), compare=False)


def _reserve(order: Order, attempt: int) -> Message:
    units: dict[str, int] = {}
    for line in order.lines:
        units[line.product_id] = units.get(line.product_id, 0) + line.quantity
    stock = [StockLine(product_id=product_id, quantity=quantity) for product_id, quantity in units.items()]
    return commands.ReserveInventory(
        order_id=order.order_id,
        lines=stock,
        destination=order.shipping_address,
        customer_id=order.user_id,
        sale=order.sale,
    )


COMMANDS: Final[Mapping[str, Callable[[Order, int], Message]]] = {
    "inventory.reserve": _reserve,
    "inventory.release": lambda order, _: commands.ReleaseInventory(
        order_id=order.order_id, reason=order.cancel_reason or ""
    ),
    "inventory.fulfil": lambda order, _: commands.FulfilInventory(order_id=order.order_id),
    "payment.charge": lambda order, _: commands.ChargePayment(
        order_id=order.order_id,
        user_id=order.user_id,
        amount=order.total_amount,
        currency=order.currency,
        method=order.payment_method,
    ),
    "payment.void": lambda order, _: commands.VoidPayment(order_id=order.order_id),
    "payment.refund": lambda order, _: commands.RefundPayment(order_id=order.order_id),
    "shipping.create": lambda order, attempt: commands.CreateShipment(
        order_id=order.order_id,
        user_id=order.user_id,
        allocations=list(order.allocations),
        destination=order.shipping_address,
        attempt=attempt,
    ),
    "shipping.cancel": lambda order, _: commands.CancelShipment(order_id=order.order_id),
}
"""How each command is built from the order; a command means the same each time it is built."""

EVENTS: Final[Mapping[str, type[events.OrderTransition]]] = {
    registry.name_of(cls): cls
    for cls in (
        events.OrderReserved,
        events.OrderConfirmed,
        events.OrderProcessing,
        events.OrderShipped,
        events.OrderDelivered,
        events.OrderCancelling,
        events.OrderCancelled,
        events.OrderCancellationRefused,
    )
}


def reason_of(message: Message) -> str:
    """Why, in a message's own words; empty if it gives none."""
    return str(getattr(message, "reason", ""))


_REFUSALS: Final = {reason.value: reason for reason in (CancelReason.SOLD_OUT, CancelReason.ALREADY_BOUGHT)}


def cancel_reason(transition: Transition, known: str | None) -> str | None:
    """Why the order is cancelled after a transition, ``known`` before it; None if it is not.

    The reason is given when the cancelling begins: shipping's answer, which ends it, knows none.
    """
    if transition.status not in (OrderStatus.CANCELLING, OrderStatus.CANCELLED):
        return None
    if known is not None:
        return known
    if transition.message_type == "inventory.failed":
        return _REFUSALS.get(transition.reason, CancelReason.OUT_OF_STOCK)
    return transition.reason or CancelReason.CUSTOMER_REQUEST


def command(
    order: Order, name: str, attempt: int, *, sent_by: int, now: dt.datetime, causation_id: str = ""
) -> Envelope:
    """A command in its envelope.

    The id depends on the order, the command, the transition that sent it and the attempt alone: a resend has the same.
    What is wanted in a flash sale is asked for in the order in which the log has its orders: under one key, like them.
    """
    together = order.sale.product_id if order.sale is not None and name == "inventory.reserve" else ""
    return seal(
        COMMANDS[name](order, attempt),
        id=caused_id(order.order_id, name, f"{sent_by}.{attempt}"),
        source=SOURCE,
        subject=order.order_id,
        time=now,
        correlationid=order.correlation_id,
        causationid=causation_id,
        partitionkey=together,
    )


def with_instance(order: Order, instance: Instance, lines: tuple[OrderLine, ...] = ()) -> Order:
    """The order with its saga moved on, and with its lines where they are needed."""
    return replace(order, instance=instance, lines=lines or order.lines)


def resend(order: Order, outstanding: Outstanding, now: dt.datetime) -> Envelope:
    """An outstanding command, again."""
    return command(order, outstanding.command, outstanding.attempt, sent_by=outstanding.sent_by, now=now)


def time_out(order: Order, now: dt.datetime) -> Envelope:
    """The clock's message that the order's state lasted too long."""
    status = OrderStatus(order.instance.status)
    payload = commands.TimeOutOrder(order_id=order.order_id, status=status, sequence=order.instance.sequence)
    return seal(
        payload,
        id=caused_id(order.order_id, "order.time_out", status),
        source=SOURCE,
        subject=order.order_id,
        time=now,
        correlationid=order.correlation_id,
    )


def outputs(order: Order, transition: Transition) -> list[Envelope]:
    """What a transition sends: the same messages with the same ids, now and whenever it is found again."""
    sealed: list[Envelope] = []
    for name in transition.outputs:
        if name in COMMANDS:
            envelope = command(
                order,
                name,
                1,
                sent_by=transition.sequence,
                now=transition.occurred_at,
                causation_id=transition.message_id,
            )
        else:
            envelope = seal(
                _event(order, transition, name),
                id=caused_id(transition.message_id, name),
                source=SOURCE,
                subject=order.order_id,
                time=transition.occurred_at,
                correlationid=order.correlation_id,
                causationid=transition.message_id,
            )
        sealed.append(envelope)
    return sealed


def _event(order: Order, transition: Transition, name: str) -> Message:
    return EVENTS[name](
        order_id=order.order_id,
        user_id=order.user_id,
        sequence=transition.sequence,
        previous_status=OrderStatus(transition.previous_status),
        status=OrderStatus(transition.status),
        total_amount=order.total_amount,
        currency=order.currency,
        occurred_at=transition.occurred_at,
        reason=(order.cancel_reason if transition.status == OrderStatus.CANCELLED else None) or transition.reason,
    )

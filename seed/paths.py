"""What the order saga writes about an order that ends in each of the ways; taken from the saga's own table."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from sagas import order as order_saga
from sagas.engine import Instance, Moved, Transition, advance, begin
from seed.history import Ending

_PAID = ("inventory.reserved", "payment.succeeded", "shipment.created")
_WITHDRAWN = (*_PAID, "order.cancel", "shipment.cancelled", "payment.refunded", "inventory.released")

MESSAGES: dict[Ending, tuple[str, ...]] = {
    Ending.DELIVERED: (*_PAID, "shipment.in_transit", "inventory.fulfilled", "shipment.delivered"),
    Ending.SHIPPED: (*_PAID, "shipment.in_transit", "inventory.fulfilled"),
    Ending.PROCESSING: _PAID,
    Ending.PAYMENT_FAILED: ("inventory.reserved", "payment.failed", "inventory.released"),
    Ending.OUT_OF_STOCK: ("inventory.failed",),
    Ending.PAYMENT_TIMEOUT: ("inventory.reserved", "order.time_out", "payment.voided", "inventory.released"),
    Ending.CUSTOMER_REQUEST: _WITHDRAWN,
    Ending.ADMIN_REQUEST: _WITHDRAWN,
}
"""The messages after ``order.created`` that bring an order to each ending."""

_REASONS = {
    Ending.OUT_OF_STOCK: {"inventory.failed": "out_of_stock"},
    Ending.CUSTOMER_REQUEST: {"order.cancel": "customer_request"},
    Ending.ADMIN_REQUEST: {"order.cancel": "admin_request"},
}


@dataclass(frozen=True, slots=True)
class Path:
    """An order's course: where it stands at the end, its steps, and why it was cancelled."""

    instance: Instance
    steps: tuple[Transition, ...]
    cancel_reason: str | None
    step_of: Mapping[str, int]
    """How many steps after the creation each message came."""


@cache
def path(ending: Ending) -> Path:
    """The course to an ending.

    Raises:
        ValueError: if the saga's table does not lead there, or leaves a command unanswered.
    """
    now = dt.datetime.fromtimestamp(0, dt.UTC)
    moved = begin(order_saga.SAGA, message_id="", now=now)
    steps = [moved.transition]
    cancel_reason = None
    for message in MESSAGES[ending]:
        reason = _REASONS.get(ending, {}).get(message, "")
        verdict = advance(order_saga.SAGA, moved.instance, message_type=message, message_id="", reason=reason, now=now)
        if not isinstance(verdict, Moved):
            raise ValueError(f"{ending.name}: the saga has no use for {message} in {moved.instance.status}")
        moved = verdict
        steps.append(moved.transition)
        cancel_reason = order_saga.cancel_reason(moved.transition, cancel_reason)
    if moved.instance.outstanding or moved.instance.deadline:
        raise ValueError(f"{ending.name}: the saga still waits for {moved.instance.outstanding}")
    step_of = {step.message_type: n for n, step in enumerate(steps)}
    return Path(moved.instance, tuple(steps), cancel_reason, step_of)

"""Schema ``payments``."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from seed.copy import Table, table
from seed.history import Ending
from seed.ids import part_id
from seed.money import dollars
from seed.placed import PlacedOrder

PAYMENTS: Final = table(
    "payments",
    "payments",
    """order_id payment_id user_id provider method token amount currency status reason tombstone answer attempts
    duration_ms provider_reference created_at updated_at""",
)
ATTEMPTS: Final = table(
    "payments",
    "payment_attempts",
    "order_id action provider idempotency_key outcome detail duration_ms attempted_at",
)
REFUNDS: Final = table(
    "payments",
    "refunds",
    "order_id payment_id provider amount currency status provider_reference requested_at completed_at",
)

PROVIDER: Final = "simulated"
"""Of every payment of the past: none ever reached Stripe or PayPal, so only the provider in process can refund it."""

_TOKENS: Final = {"card": "pm_card_visa", "paypal": "B-4242", "wallet": "tok_wallet"}
_PAYMENT_ID: Final = 15


def token(order: PlacedOrder) -> str:
    """The payment token that the order was placed with."""
    return _TOKENS[order.method]


def rows(orders: Iterable[PlacedOrder], *, currency: str) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The payments of orders that got as far, the calls made for them, and what was refunded."""
    payments: list[tuple[Any, ...]] = []
    attempts: list[tuple[Any, ...]] = []
    refunds: list[tuple[Any, ...]] = []
    for order in orders:
        if not order.reserved:
            continue
        order_id, payment_id, amount = order.order_id, part_id(order.order_id, _PAYMENT_ID), dollars(order.total)
        asked_at = order.due("inventory.reserved")
        paid_at, failed_at = order.moment("payment.succeeded"), order.moment("payment.failed")
        voided_at, refunded_at = order.moment("payment.voided"), order.moment("payment.refunded")
        answered_at = paid_at or failed_at or voided_at or asked_at
        took_ms = int((answered_at - asked_at).total_seconds() * 1000)
        key = f"{order_id}:1"
        reason = {Ending.PAYMENT_FAILED: order.decline, Ending.PAYMENT_TIMEOUT: "cancelled"}.get(order.ending, "")
        status = "refunded" if refunded_at else "succeeded" if paid_at else "voided" if voided_at else "failed"
        payments.append(
            (
                *(order_id, payment_id, order.customer.user_id, PROVIDER, order.method, token(order), amount, currency),
                *(status, reason, bool(voided_at or refunded_at), "succeeded" if paid_at else "failed", 1, took_ms),
                *(f"sim_{key}" if paid_at else "", asked_at, refunded_at or answered_at),
            )
        )
        outcome = "captured" if paid_at else "declined" if failed_at else "unknown"
        detail = "" if paid_at else reason if failed_at else "timeout"
        attempts.append((order_id, "charge", PROVIDER, key, outcome, detail, took_ms, asked_at))
        if voided_at:
            attempts.append((order_id, "void", PROVIDER, f"{key}:void", "voided", "", 40, voided_at))
        if refunded_at:
            refund = f"{order_id}:refund"
            attempts.append((order_id, "refund", PROVIDER, refund, "refunded", "", 40, refunded_at))
            money = (amount, currency, "succeeded", f"sim_{refund}")
            refunds.append((order_id, payment_id, PROVIDER, *money, order.due("shipment.cancelled"), refunded_at))
    yield PAYMENTS, payments
    yield ATTEMPTS, attempts
    yield REFUNDS, refunds

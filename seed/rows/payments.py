"""Schema ``payments``."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from seed import fraud
from seed.copy import Table, table
from seed.history import DECLINES, METHODS, Chunk, Ending
from seed.ids import parts
from seed.paths import path
from seed.plan import DAY_MS
from seed.rendered import Rendered
from seed.rows.orders import TOKENS, Payload
from seed.wire import (
    Fixed,
    concatenated,
    hexadecimal,
    joined,
    nullable,
    payload,
    piece,
    pieces,
    prefixed,
    take,
)

PAYMENTS: Final = table(
    "payments",
    "payments",
    """order_id payment_id user_id amount duration_ms created_at updated_at currency provider method token status reason
    tombstone answer attempts""",
)
ATTEMPTS: Final = table(
    "payments",
    "payment_attempts",
    "order_id duration_ms attempted_at idempotency_key action provider outcome detail",
)
REFUNDS: Final = table(
    "payments",
    "refunds",
    "order_id payment_id amount requested_at completed_at currency provider status",
)
DISPUTES: Final = table(
    "payments",
    "disputes",
    "order_id payment_id amount opened_at updated_at dispute_id closed_at currency provider reason status",
)

PROVIDER: Final = "simulated"
"""Of every payment of the past: none ever reached Stripe or PayPal, so only the provider in process can refund it.

It keeps no books, so it has given out no references either.
"""

_PAYMENT: Final = 15
_DISPUTE: Final = 16
_VOID_MS: Final = 40


def moment(part: Chunk, message: str) -> npt.NDArray[np.int64]:
    """When a message moved each order; 0 where it never came."""
    column = np.array([path(ending).step_of.get(message, 0) for ending in Ending])[part.ending]
    moments: npt.NDArray[np.int64] = np.where(column > 0, part.steps[np.arange(len(part)), column - 1], 0)
    return moments


def rows(part: Chunk, rendered: Rendered) -> Iterator[tuple[Table, Payload]]:
    """The payments of orders that got as far, the calls made for recorded ones, refunds, and chargebacks."""
    asked = moment(part, "inventory.reserved")
    chosen = np.flatnonzero(asked > 0)
    yield PAYMENTS, _payments(part, rendered, chosen, asked)
    if part.recorded.any():
        yield ATTEMPTS, _attempts(part, chosen[part.recorded[chosen]], asked)
    refunded = np.flatnonzero(moment(part, "payment.refunded") > 0)
    if len(refunded):
        yield REFUNDS, _refunds(part, rendered, refunded)
    disputed = _disputed(part, rendered)
    if len(disputed[0]):
        yield DISPUTES, _disputes(part, rendered, *disputed)


def _answered(part: Chunk, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """When a payment was decided."""
    first = moment(part, "payment.succeeded")
    for message in ("payment.failed", "payment.voided"):
        first = np.where(first > 0, first, moment(part, message))
    return np.where(first > 0, first, asked)


def _payments(part: Chunk, rendered: Rendered, chosen: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]) -> Payload:
    answered, refunded = _answered(part, asked), moment(part, "payment.refunded")
    ids = part.ids[chosen]
    head = (
        Fixed(len(chosen), len(PAYMENTS.columns))
        .uuid(ids)
        .uuid(parts(ids, _PAYMENT))
        .uuid(rendered.world.people.ids[part.suspicion.customer[chosen]])
        .money(part.total[chosen])
        .int4((answered - asked)[chosen])
        .moment(asked[chosen])
        .moment(np.where(refunded > 0, refunded, answered)[chosen])
        .build()
    )
    kinds = []
    for ending in Ending:
        steps = path(ending).step_of
        failed, answer = "payment.failed" in steps, "succeeded" if "payment.succeeded" in steps else "failed"
        status = "refunded" if "payment.refunded" in steps else "voided" if "payment.voided" in steps else answer
        for method in METHODS:
            for decline in DECLINES:
                reason = decline if failed else "cancelled" if status == "voided" else ""
                kinds.append(
                    piece(rendered.currency, PROVIDER, method, TOKENS[method], status, reason)
                    + piece(status in ("refunded", "voided"), answer, 1)
                )
    kind = (part.ending * len(METHODS) + part.method) * len(DECLINES) + part.decline
    return payload(head, take(pieces(kinds), kind[chosen]))


def _attempts(part: Chunk, chosen: npt.NDArray[np.int64], asked: npt.NDArray[np.int64]) -> Payload:
    answered = _answered(part, asked)
    ids, texts36 = part.ids[chosen], hexadecimal(part.ids[chosen])
    paid = moment(part, "payment.succeeded")[chosen] > 0
    failed = moment(part, "payment.failed")[chosen] > 0
    kinds = [
        piece("charge", PROVIDER, outcome, detail) for outcome, detail in (("captured", ""), ("unknown", "timeout"))
    ]
    kinds += [piece("charge", PROVIDER, "declined", decline) for decline in DECLINES]
    kind = np.where(paid, 0, np.where(failed, 2 + part.decline[chosen], 1))
    calls = [
        joined(
            Fixed(len(chosen), len(ATTEMPTS.columns))
            .uuid(ids)
            .int4((answered - asked)[chosen])
            .moment(asked[chosen])
            .ascii(prefixed(b"", texts36, b":1"))
            .build(),
            take(pieces(kinds), kind),
        )
    ]
    for message, suffix, action, outcome in (
        ("payment.voided", b":1:void", "void", "voided"),
        ("payment.refunded", b":refund", "refund", "refunded"),
    ):
        at = moment(part, message)[chosen]
        some = np.flatnonzero(at > 0)
        if len(some):
            calls.append(
                Fixed(len(some), len(ATTEMPTS.columns))
                .uuid(ids[some])
                .int4(np.full(len(some), _VOID_MS))
                .moment(at[some])
                .ascii(prefixed(b"", texts36[some], suffix))
                .constant(action, PROVIDER, outcome, "")
                .build()
            )
    return payload(concatenated(calls))


def _refunds(part: Chunk, rendered: Rendered, chosen: npt.NDArray[np.int64]) -> Payload:
    ids = part.ids[chosen]
    head = (
        Fixed(len(chosen), len(REFUNDS.columns))
        .uuid(ids)
        .uuid(parts(ids, _PAYMENT))
        .money(part.total[chosen])
        .moment(moment(part, "shipment.cancelled")[chosen])
        .moment(moment(part, "payment.refunded")[chosen])
        .constant(rendered.currency, PROVIDER, "succeeded")
    )
    return payload(head.build())


def _disputed(
    part: Chunk, rendered: Rendered
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which orders were charged back, when, and a number between 0 and 255 that decides what came of it."""
    # the order's own random bits, so that nothing else depends on how many are drawn
    bits = part.ids[:, 9].astype(np.int64) << 24 | part.ids[:, 10].astype(np.int64) << 16
    bits |= part.ids[:, 11].astype(np.int64) << 8 | part.ids[:, 12]
    share = np.where(part.suspicion.fraud, fraud.DISPUTED_SHARE, fraud.HONEST_DISPUTES)
    opened = part.created + (4 + part.ids[:, 13].astype(np.int64) % 41) * DAY_MS
    disputed = (bits / 2**32 < share) & part.ended(Ending.DELIVERED, Ending.SHIPPED)
    chosen = np.flatnonzero(disputed & (opened < rendered.world.plan.now_ms))
    return chosen, opened[chosen], part.ids[chosen, 14].astype(np.int64)


def _disputes(
    part: Chunk,
    rendered: Rendered,
    chosen: npt.NDArray[np.int64],
    opened: npt.NDArray[np.int64],
    drawn: npt.NDArray[np.int64],
) -> Payload:
    ids = part.ids[chosen]
    closed = opened + 30 * DAY_MS
    is_closed = closed < rendered.world.plan.now_ms
    is_fraud = part.suspicion.fraud[chosen]
    lost = is_closed & (drawn < np.where(is_fraud, 235, 110))
    head = (
        Fixed(len(chosen), len(DISPUTES.columns))
        .uuid(ids)
        .uuid(parts(ids, _PAYMENT))
        .money(part.total[chosen])
        .moment(opened)
        .moment(np.where(is_closed, closed, opened))
        .ascii(prefixed(b"dp_", hexadecimal(parts(ids, _DISPUTE))))
        .build()
    )
    # thieves' victims say so; honest customers miss a parcel, and some claim what is not so
    reason = np.where(is_fraud & (drawn % 8 > 0), 0, 1 + drawn % 3)
    reasons = ("fraudulent", "product_not_received", "product_unacceptable", "fraudulent")
    statuses = ("open", "won", "lost")
    kinds = [piece(rendered.currency, PROVIDER, why, status) for why in reasons for status in statuses]
    status = np.where(~is_closed, 0, np.where(lost, 2, 1))
    when = nullable(Fixed(len(chosen)).moment(closed).build(), is_closed)
    return payload(head, when, take(pieces(kinds), reason * len(statuses) + status))

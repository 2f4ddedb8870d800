"""The payment routes: webhooks for the providers, lists for admins."""

import datetime as dt
import uuid
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Security
from fastapi.security import APIKeyHeader

from contracts.orders import PaymentMethodType
from kit.auth import CurrentAdmin
from kit.db import ReadSessionDep, WriteSessionDep
from kit.errors import Forbidden, Invalid, NotFound, Unauthorized, Unavailable, responses
from kit.ids import is_uuid
from kit.pagination import Page, decode_cursor, encode_cursor
from oltp.payments import schemas, service
from oltp.payments.domain import Status
from oltp.payments.errors import InvalidSignature, UnknownPayment
from oltp.payments.repository import PaymentFilter, PaymentReads
from oltp.payments.schemas import PaymentDetail, PaymentRead, WebhookTaken

router = APIRouter(tags=["payments"])

_STRIPE_SIGNATURE: Final = APIKeyHeader(
    name="Stripe-Signature",
    scheme_name="stripeSignature",
    description="Stripe's signature over time and body (HMAC-SHA256).",
    auto_error=False,
)
_PAYPAL_SIGNATURE: Final = APIKeyHeader(
    name="PAYPAL-TRANSMISSION-SIG",
    scheme_name="paypalSignature",
    description="PayPal's signature; its other `PAYPAL-…` headers are needed too.",
    auto_error=False,
)
_EVENT_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The provider's event, byte for byte as it was signed.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
_BAD_CURSOR: Final = Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
_WEBHOOK_PROBLEMS: Final = (InvalidSignature, NotFound, Invalid, Unavailable)


@router.post(
    "/api/payments/webhooks/stripe",
    summary="Take an event from Stripe",
    response_model=WebhookTaken,
    responses=responses(*_WEBHOOK_PROBLEMS),
    dependencies=[Security(_STRIPE_SIGNATURE)],
    openapi_extra=_EVENT_BODY,
)
async def stripe_webhook(request: Request, session: WriteSessionDep) -> WebhookTaken:
    """Outcomes of charges, refunds and disputes, signed; each event counts once, however often it is sent."""
    return await _take(request, session, "stripe")


@router.post(
    "/api/payments/webhooks/paypal",
    summary="Take an event from PayPal",
    response_model=WebhookTaken,
    responses=responses(*_WEBHOOK_PROBLEMS),
    dependencies=[Security(_PAYPAL_SIGNATURE)],
    openapi_extra=_EVENT_BODY,
)
async def paypal_webhook(request: Request, session: WriteSessionDep) -> WebhookTaken:
    """Outcomes of captures, refunds and disputes, verified with PayPal; each event counts once."""
    return await _take(request, session, "paypal")


async def _take(request: Request, session: WriteSessionDep, provider: str) -> WebhookTaken:
    webhook = request.state.payment_webhooks.get(provider)
    if webhook is None:
        raise NotFound(f"No payment method is served by {provider} here.")
    now = request.state.resources.clock.now()
    event = await webhook.receive(await request.body(), request.headers, now)
    await service.take_notice(
        session, provider=provider, event_id=event.id, type=event.type, notice=event.notice, now=now
    )
    return WebhookTaken(received=True)


@router.get(
    "/api/admin/payments",
    summary="List payments",
    response_model=Page[PaymentRead],
    responses=responses(Unauthorized, Forbidden, Invalid, Unavailable),
)
async def list_payments(
    _: CurrentAdmin,
    session: ReadSessionDep,
    status: Annotated[Status | None, Query(description="Only payments that stand here.")] = None,
    method: Annotated[PaymentMethodType | None, Query(description="Only payments by this method.")] = None,
    reason: Annotated[
        str | None,
        Query(
            description="Only payments that failed for this reason.",
            min_length=1,
            max_length=64,
            pattern="^[a-z0-9_]+$",
            examples=["insufficient_funds"],
        ),
    ] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the page before.", max_length=200)] = None,
    limit: Annotated[int, Query(description="Rows on a page.", ge=1, le=200)] = 50,
) -> Page[PaymentRead]:
    """Payments, newest first."""
    chosen = PaymentFilter(
        status=None if status is None else status.value,
        method=None if method is None else method.value,
        reason=reason,
        before=None if cursor is None else _place(cursor),
    )
    rows = await PaymentReads(session).page(chosen, limit + 1)
    last = rows[limit - 1] if len(rows) > limit else None
    return Page(
        items=[schemas.payment(row) for row in rows[:limit]],
        next_cursor=None if last is None else encode_cursor(last.created_at.isoformat(), str(last.order_id)),
    )


@router.get(
    "/api/admin/payments/{order_id}",
    summary="Show an order's payment",
    response_model=PaymentDetail,
    responses=responses(Unauthorized, Forbidden, UnknownPayment, Invalid, Unavailable),
)
async def show_payment(_: CurrentAdmin, session: ReadSessionDep, order_id: uuid.UUID) -> PaymentDetail:
    """The payment with every call to its provider, its refund and its disputes."""
    payments, wanted = PaymentReads(session), str(order_id)
    row = await payments.get(wanted)
    if row is None:
        raise UnknownPayment("There is no payment for this order.")
    return schemas.detail(
        row, await payments.attempts(wanted), await payments.refund(wanted), await payments.disputes(wanted)
    )


def _place(cursor: str) -> tuple[dt.datetime, str]:
    created_at, order_id = decode_cursor(cursor, 2)
    try:
        place = dt.datetime.fromisoformat(created_at), str(order_id)
    except (TypeError, ValueError):
        raise _BAD_CURSOR from None
    if place[0].tzinfo is None or not 1970 <= place[0].year < 9999 or not is_uuid(place[1]):
        raise _BAD_CURSOR
    return place

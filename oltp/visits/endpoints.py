"""HTTP to the visits: what happens on a page and never reaches the API otherwise."""

import datetime as dt
from typing import Any, Final, cast

from fastapi import APIRouter, Request

from contracts.storefront import StorefrontEvent, StorefrontKind
from kit.errors import BadRequest, Invalid, responses
from oltp.visits.errors import SessionRequired
from oltp.visits.recorder import Recorder
from oltp.visits.schemas import CartChanged, CheckoutStarted, Noted, PageEvents, ProductViewed, Searched

router = APIRouter(tags=["visits"])

_SESSION_PARAMETERS: Final[list[dict[str, Any]]] = [
    {
        "name": "X-Session-ID",
        "in": "header",
        "required": True,
        "description": "The visit, a UUID. The cookie `session_id` does as well; who is signed in needs neither.",
        "schema": {"type": "string", "format": "uuid"},
        "example": "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e",
    }
]


@router.post(
    "/api/events",
    status_code=202,
    summary="Tell what a visitor did",
    response_model=Noted,
    responses=responses(BadRequest, SessionRequired, Invalid),
    openapi_extra={"parameters": _SESSION_PARAMETERS},
)
async def tell(body: PageEvents, request: Request) -> Noted:
    """Takes what happened on a page. Visitors need not be signed in; they need a session.

    Events may be lost: nothing that a customer sees depends on them.
    """
    recorder = cast(Recorder, request.state.visits)
    visit = recorder.of(request.headers.raw)
    session_id = visit.session_id
    if session_id is None:
        raise SessionRequired("Send the visit's UUID as X-Session-ID, or sign in.")
    now = recorder.clock.now()
    kept = sum(
        recorder.keep(_event(event, session_id, visit.user_id, visit.device, visit.referrer, now))
        for event in body.events
    )
    return Noted(accepted=kept, dropped=len(body.events) - kept)


def _event(
    event: ProductViewed | Searched | CartChanged | CheckoutStarted,
    session_id: str,
    user_id: str | None,
    device: str,
    referrer: str,
    now: dt.datetime,
) -> StorefrontEvent:
    return StorefrontEvent(
        event_id=event.event_id,
        kind=StorefrontKind(event.kind),
        session_id=session_id,
        occurred_at=now - dt.timedelta(milliseconds=event.age_ms),
        user_id=user_id,
        product_id=str(event.product_id) if isinstance(event, ProductViewed | CartChanged) else None,
        query=event.query if isinstance(event, Searched) else None,
        results=event.results if isinstance(event, Searched | CartChanged) else None,
        quantity=event.quantity if isinstance(event, CartChanged) else None,
        device=device,
        referrer=referrer,
        experiment=event.shown.experiment if event.shown is not None else None,
        variant=event.shown.variant if event.shown is not None else None,
    )

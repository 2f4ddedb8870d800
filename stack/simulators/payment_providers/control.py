"""What the real providers do not offer: faults on demand, the books, disputes, webhooks sent again.

Like the Stripe API these routes want the Stripe key as bearer.
"""

import hmac
import time
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from stack.simulators.payment_providers.faults import FaultDesk, Faults
from stack.simulators.payment_providers.paypal_api import PayPalApi
from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.store import Store
from stack.simulators.payment_providers.stripe_api import StripeApi
from stack.simulators.payment_providers.webhooks import Webhooks


class OrderBook(BaseModel):
    """What a provider moved for one order, in minor units."""

    order_id: str
    provider: Literal["stripe", "paypal"]
    currency: str
    captures: int = Field(description="Captures made.")
    captured: int = Field(description="Their sum.")
    refunds: int = Field(description="Refunds made.")
    refunded: int = Field(description="Their sum.")
    charged_back: int = Field(description="What lost disputes took.")


class OrderBooks(BaseModel):
    """A page of books by order id."""

    items: list[OrderBook]
    next_after: str | None = Field(description="`after` of the next page; null on the last one.")


class WebhookRecord(BaseModel):
    """How the delivery of an event stands."""

    sequence: int
    provider: Literal["stripe", "paypal"]
    event_id: str
    type: str
    tries: int
    due_at: float | None
    last_status: str


class DisputeRequest(BaseModel):
    """Opens a dispute about what was captured for an order."""

    model_config = ConfigDict(extra="forbid")

    order_id: str
    reason: str | None = Field(default=None, description="In the provider's words; default: fraud.")


class DisputeDecision(BaseModel):
    """Ends a dispute."""

    model_config = ConfigDict(extra="forbid")

    outcome: Literal["won", "lost"] = Field(description="Seen from the shop.")


def create_router(
    settings: SimulatorSettings, store: Store, faults: FaultDesk, stripe: StripeApi, paypal: PayPalApi, hooks: Webhooks
) -> APIRouter:
    """The control routes."""
    expected = f"Bearer {settings.stripe_api_key.get_secret_value()}"

    async def authorised(request: Request) -> None:
        if not hmac.compare_digest(request.headers.get("authorization", "").encode(), expected.encode()):
            raise HTTPException(401, "Send the Stripe key as bearer.")

    router = APIRouter(prefix="/_control", tags=["control"], dependencies=[Depends(authorised)])

    @router.get("/faults")
    async def read_faults() -> Faults:
        return faults.current

    @router.put("/faults")
    async def change_faults(values: dict[str, Any]) -> Faults:
        try:
            return faults.change(values)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None

    @router.get("/orders")
    async def books(
        after: str = "", order_id: str | None = None, limit: Annotated[int, Query(ge=1, le=5000)] = 1000
    ) -> OrderBooks:
        totals = store.totals(after=after, limit=limit, order_id=order_id)
        return OrderBooks(
            items=[OrderBook(**asdict(total)) for total in totals],
            next_after=totals[-1].order_id if len(totals) == limit else None,
        )

    @router.post("/disputes", status_code=201)
    async def dispute(request: DisputeRequest) -> dict[str, Any]:
        opened = None
        with store.transaction():
            for charge in store.find("charge", order_id=request.order_id):
                opened = opened or stripe.open_dispute(charge["id"], request.reason or "fraudulent")
            for capture in store.find("capture", order_id=request.order_id):
                opened = opened or paypal.open_dispute(capture["id"], request.reason or "UNAUTHORISED")
        if opened is None:
            raise HTTPException(404, "Nothing that could be disputed was captured for this order.")
        return opened

    @router.post("/disputes/{dispute_id}/close")
    async def close(dispute_id: str, decision: DisputeDecision) -> dict[str, Any]:
        won = decision.outcome == "won"
        with store.transaction():
            ended = stripe.end_dispute(dispute_id, won=won) or paypal.end_dispute(dispute_id, won=won)
        if ended is None:
            raise HTTPException(404, "There is no such open dispute.")
        return ended

    @router.get("/webhooks")
    async def webhooks(after: int = 0, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> list[WebhookRecord]:
        records = store.deliveries(limit=limit, after=after)
        return [
            WebhookRecord(**{name: value for name, value in asdict(record).items() if name != "body"})
            for record in records
        ]

    @router.post("/webhooks/{event_id}/redeliver", status_code=202)
    async def redeliver(event_id: str) -> dict[str, str]:
        if not store.redeliver(event_id, time.time()):
            raise HTTPException(404, "There is no such event.")
        hooks.wake()
        return {"event_id": event_id}

    @router.post("/reset", status_code=204)
    async def reset() -> None:
        store.clear()
        faults.reset()

    return router

"""What admins see of payments, and what providers are answered. Amounts are minor units."""

import datetime as dt
import uuid
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row

from contracts.orders import PaymentMethodType
from oltp.payments.domain import Status
from oltp.payments.repository import minor_units

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"
_AT = "2026-01-05T12:00:00Z"


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class PaymentRead(_Schema):
    """An order's payment."""

    order_id: uuid.UUID = Field(description="Order.", examples=[_ID])
    payment_id: uuid.UUID = Field(description="Payment.", examples=[_ID])
    user_id: uuid.UUID | None = Field(description="Customer; null if the order was withdrawn before its charge came.")
    method: PaymentMethodType | None = Field(description="How it was paid; null as above.", examples=["card"])
    provider: str = Field(description="Who took it; empty as above.", examples=["stripe"])
    amount: int = Field(description="Minor units of the currency.", examples=[4999])
    currency: str = Field(description="ISO 4217; empty as above.", examples=["USD"])
    status: Status = Field(description="Where it stands.", examples=["succeeded"])
    reason: str = Field(description="Why it failed; empty if it did not.", examples=["insufficient_funds"])
    obstacle: str = Field(
        description="What the last unanswered or refused call said, while one is due.", examples=["timeout"]
    )
    attempts: int = Field(description="Calls made to charge.", examples=[1])
    tries: int = Field(description="Calls in a row without an answer, of what is due now.", examples=[0])
    duration_ms: int = Field(description="From the charge's arrival to its outcome.", examples=[180])
    provider_reference: str = Field(description="The provider's id.", examples=["pi_3Ox1"])
    next_attempt_at: dt.datetime | None = Field(description="When the provider is asked again.", examples=[None])
    created_at: dt.datetime = Field(description="When the first command came.", examples=[_AT])
    updated_at: dt.datetime = Field(description="When it last changed.", examples=[_AT])


class AttemptRead(_Schema):
    """One call to a provider."""

    action: Literal["charge", "void", "refund"] = Field(description="What was asked.", examples=["charge"])
    provider: str = Field(description="Whom.", examples=["stripe"])
    idempotency_key: str = Field(description="With which key.", examples=[f"{_ID}:1"])
    outcome: Literal["captured", "declined", "voided", "refunded", "refused", "unknown"] = Field(
        description="What came of it.", examples=["captured"]
    )
    detail: str = Field(description="Reason, error, or the provider's id.", examples=["pi_3Ox1"])
    duration_ms: int = Field(description="How long it took.", examples=[42])
    attempted_at: dt.datetime = Field(description="When.", examples=[_AT])


class RefundRead(_Schema):
    """What went back, or is to."""

    amount: int = Field(description="Minor units of the currency.", examples=[4999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    status: Literal["pending", "succeeded"] = Field(description="Where it stands.", examples=["succeeded"])
    provider_reference: str = Field(description="The provider's id, once it is done.", examples=["re_3Ox1"])
    requested_at: dt.datetime = Field(description="When it was asked for.", examples=[_AT])
    completed_at: dt.datetime | None = Field(description="When it went back.", examples=[_AT])


class DisputeRead(_Schema):
    """A customer's dispute about the payment."""

    dispute_id: str = Field(description="The provider's id.", examples=["du_1Ox1"])
    provider: str = Field(description="Who told of it.", examples=["stripe"])
    amount: int = Field(description="Minor units of the currency.", examples=[4999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    reason: str = Field(description="In the provider's words.", examples=["fraudulent"])
    status: Literal["open", "won", "lost"] = Field(description="Seen from the shop.", examples=["open"])
    opened_at: dt.datetime = Field(description="When it was opened.", examples=[_AT])
    closed_at: dt.datetime | None = Field(description="When it was decided.", examples=[None])


class PaymentDetail(PaymentRead):
    """An order's payment with what was done for it."""

    calls: list[AttemptRead] = Field(description="Calls to the provider in their order, the last 200.")
    refund: RefundRead | None = Field(description="Its refund, if there is one.")
    disputes: list[DisputeRead] = Field(description="Disputes about it, newest first.")


class WebhookTaken(_Schema):
    """The message was taken, or had been before."""

    received: Literal[True] = Field(description="Always true.", examples=[True])


def _payment(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "amount": minor_units(row.amount), "method": row.method or None}


def payment(row: Row[Any]) -> PaymentRead:
    """A row of the list."""
    return PaymentRead(**_payment(row))


def _money(row: Row[Any]) -> dict[str, Any]:
    return {**row._mapping, "amount": minor_units(row.amount)}


def detail(
    row: Row[Any], calls: Sequence[Row[Any]], refund: Row[Any] | None, disputes: Sequence[Row[Any]]
) -> PaymentDetail:
    """A payment with what was done for it."""
    return PaymentDetail(
        **_payment(row),
        calls=[AttemptRead(**{name: value for name, value in call._mapping.items() if name != "id"}) for call in calls],
        refund=None if refund is None else RefundRead(**_money(refund)),
        disputes=[DisputeRead(**_money(dispute)) for dispute in disputes],
    )

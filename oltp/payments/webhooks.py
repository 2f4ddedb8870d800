"""Webhooks of Stripe and PayPal: are they genuine, and what do they tell."""

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
import stripe
import structlog

from kit.errors import Invalid, Unavailable
from kit.ids import is_uuid
from kit.resources import Resources
from oltp.payments.domain import Captured, Declined, Refunded, Voided
from oltp.payments.errors import InvalidSignature
from oltp.payments.providers import PayPalClient, paypal_client
from oltp.payments.providers.paypal import PayPalAway, PayPalError, minor_units
from oltp.payments.providers.stripe import decline_reason
from oltp.payments.service import DisputeNotice, Notice
from oltp.payments.settings import PaymentsSettings

log = structlog.get_logger()

_PAYPAL_DAYS: Final = 3
"""PayPal repeats a message for three days, and its transmission time may be the first one's."""

_PAYPAL_WON: Final = frozenset({"RESOLVED_SELLER_FAVOUR", "RESOLVED_WITH_PAYOUT", "CANCELED_BY_BUYER", "DENIED"})


@dataclass(frozen=True, slots=True)
class Event:
    """A genuine message: its id and type at the provider, and what it tells payments, if anything."""

    id: str
    type: str
    notice: Notice | DisputeNotice | None


class Webhook(Protocol):
    """One provider's webhook."""

    async def receive(self, body: bytes, headers: Mapping[str, str], now: dt.datetime) -> Event:
        """The event in a request.

        Raises:
            InvalidSignature: if the provider did not send it, or long ago.
            Invalid: if it is signed and not understood.
            Unavailable: if that cannot be found out at present.
        """
        ...


class StripeWebhook:
    """Verified with the endpoint's shared secret."""

    def __init__(self, secret: str, tolerance_seconds: int) -> None:
        self._secret = secret
        self._tolerance = tolerance_seconds

    async def receive(self, body: bytes, headers: Mapping[str, str], now: dt.datetime) -> Event:
        """The event in a request; see :class:`Webhook`."""
        header = headers.get("stripe-signature", "")
        try:
            if not header.isascii():
                raise InvalidSignature("The `Stripe-Signature` header is not in Stripe's form.")
            stripe.WebhookSignature.verify_header(body, header, self._secret, self._tolerance)
        except (stripe.SignatureVerificationError, UnicodeDecodeError) as error:
            raise InvalidSignature("The `Stripe-Signature` header does not fit this body and time.") from error
        document = _parsed(body)
        try:
            return Event(str(document["id"])[:255], str(document["type"])[:255], _stripe_notice(document))
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid("body", "is not an event of Stripe's API") from error


class PayPalWebhook:
    """Verified by PayPal's own API, which knows the certificate that it was signed with."""

    def __init__(self, client: PayPalClient, webhook_id: str) -> None:
        self._client = client
        self._webhook_id = webhook_id

    async def receive(self, body: bytes, headers: Mapping[str, str], now: dt.datetime) -> Event:
        """The event in a request; see :class:`Webhook`."""
        transmission = {
            name: headers.get(f"paypal-{name.replace('_', '-')}", "")
            for name in ("auth_algo", "cert_url", "transmission_id", "transmission_sig", "transmission_time")
        }
        if not all(value and value.isascii() for value in transmission.values()):
            raise InvalidSignature("PayPal's `PAYPAL-…` headers are missing.")
        sent_at = _time(transmission["transmission_time"])
        if sent_at is None or abs(now - sent_at) > dt.timedelta(days=_PAYPAL_DAYS):
            raise InvalidSignature("The message is too old.")
        document = _parsed(body)
        # the signature covers the body's bytes: they are handed on as they came
        asked = orjson.dumps({**transmission, "webhook_id": self._webhook_id, "webhook_event": orjson.Fragment(body)})
        try:
            answer = await self._client.request("POST", "/v1/notifications/verify-webhook-signature", body=asked)
        except PayPalAway as error:
            raise Unavailable("PayPal cannot be asked about this message at present.", retry_after=30) from error
        except PayPalError as error:
            if error.status != 400:
                raise Unavailable("PayPal cannot be asked about this message at present.", retry_after=30) from error
            raise InvalidSignature("PayPal does not understand this message's signature.") from error
        if answer.get("verification_status") != "SUCCESS":
            raise InvalidSignature("PayPal did not sign this message.")
        try:
            return Event(str(document["id"])[:255], str(document["event_type"])[:255], _paypal_notice(document))
        except (KeyError, TypeError, ValueError) as error:
            raise Invalid("body", "is not an event of PayPal's API") from error


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """The webhooks of the providers that are in use, as ``payment_webhooks`` in the request state."""
    settings = PaymentsSettings()
    used = set(settings.payments_providers.values())
    webhooks: dict[str, Webhook] = {}
    if "stripe" in used:
        secret = settings.stripe_webhook_secret.get_secret_value()
        if not secret:
            raise ValueError("SURGE_STRIPE_WEBHOOK_SECRET is needed: a payment method is served by Stripe")
        webhooks["stripe"] = StripeWebhook(secret, settings.webhook_tolerance_seconds)
    if "paypal" not in used:
        yield {"payment_webhooks": webhooks}
        return
    if not settings.paypal_webhook_id:
        raise ValueError("SURGE_PAYPAL_WEBHOOK_ID is needed: a payment method is served by PayPal")
    client = paypal_client(settings)
    webhooks["paypal"] = PayPalWebhook(client, settings.paypal_webhook_id)
    try:
        yield {"payment_webhooks": webhooks}
    finally:
        await client.close()


def _stripe_notice(event: dict[str, Any]) -> Notice | DisputeNotice | None:
    subject = event["data"]["object"]
    kind = str(event["type"])
    if kind in ("charge.dispute.created", "charge.dispute.closed"):
        status = "open" if kind.endswith("created") else "lost" if subject["status"] == "lost" else "won"
        return DisputeNotice(
            dispute_id=str(subject["id"]),
            reference=str(subject["payment_intent"]),
            amount=int(subject["amount"]),
            currency=str(subject["currency"]).upper(),
            reason=str(subject["reason"]),
            status=status,
            opened_at=dt.datetime.fromtimestamp(int(subject["created"]), dt.UTC),
        )
    if kind not in ("payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled"):
        refunded = kind == "charge.refunded" and subject["refunded"]
        return _notice(subject["metadata"], Refunded("")) if refunded else None
    metadata, reference = subject["metadata"], str(subject["id"])
    if kind == "payment_intent.succeeded":
        return _notice(metadata, Captured(reference))
    if kind == "payment_intent.canceled":
        return _notice(metadata, Voided())
    return _notice(metadata, Declined(decline_reason(subject["last_payment_error"] or {})))


def _paypal_notice(event: dict[str, Any]) -> Notice | DisputeNotice | None:
    subject = event["resource"]
    match str(event["event_type"]):
        case "PAYMENT.CAPTURE.COMPLETED":
            return _paypal_charge(subject, Captured(str(subject["id"])))
        case "PAYMENT.CAPTURE.DENIED" | "PAYMENT.CAPTURE.DECLINED":
            return _paypal_charge(subject, Declined("instrument_declined"))
        case "PAYMENT.CAPTURE.REFUNDED":
            return _paypal_charge(subject, Refunded(str(subject["id"])))
        case "CUSTOMER.DISPUTE.CREATED" | "CUSTOMER.DISPUTE.RESOLVED" as kind:
            outcome = subject.get("dispute_outcome", {}).get("outcome_code")
            status = "open" if kind.endswith("CREATED") else "won" if outcome in _PAYPAL_WON else "lost"
            amount = subject["dispute_amount"]
            opened_at = _time(str(subject["create_time"]))
            if opened_at is None:
                raise ValueError("create_time")
            return DisputeNotice(
                dispute_id=str(subject["dispute_id"]),
                reference=str(subject["disputed_transactions"][0]["seller_transaction_id"]),
                amount=minor_units(str(amount["value"]), str(amount["currency_code"])),
                currency=str(amount["currency_code"]),
                reason=str(subject["reason"]).lower(),
                status=status,
                opened_at=opened_at,
            )
        case _:
            return None


def _paypal_charge(subject: dict[str, Any], result: Captured | Declined | Refunded) -> Notice | None:
    key = str(subject.get("custom_id", ""))
    return _notice({"order_id": key.partition(":")[0], "key": key}, result)


def _notice(metadata: Mapping[str, Any], result: Captured | Declined | Voided | Refunded) -> Notice | None:
    """None for objects that this shop did not make."""
    order_id = str(metadata.get("order_id", ""))
    return Notice(order_id, str(metadata.get("key", "")), result) if is_uuid(order_id) else None


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Invalid("body", "is not JSON") from error
    if not isinstance(document, dict):
        raise Invalid("body", "is not a JSON object")
    return document


def _time(text: str) -> dt.datetime | None:
    try:
        parsed = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo is not None else None

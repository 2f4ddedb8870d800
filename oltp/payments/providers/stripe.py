"""Stripe, through its SDK: one PaymentIntent an attempt, created, then confirmed with automatic capture.

Creating and confirming are two calls on purpose. An intent can be captured only once and a cancelled one never, which
holds longer than Stripe remembers idempotency keys (a day), and a void of unknown outcome can cancel without charging
first. The SDK's own retries are off: the caller asks again, with the same keys.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import httpx
import stripe
import structlog

from oltp.payments.domain import (
    CANCELLED,
    Captured,
    Charge,
    Declined,
    Refund,
    Refunded,
    Refused,
    Unknown,
    Void,
    Voided,
)
from oltp.payments.providers.port import INVALID_METHOD

if TYPE_CHECKING:
    from stripe import PaymentIntent

log = structlog.get_logger()

_UNEXPECTED_STATE: Final = "payment_intent_unexpected_state"
_CONFIRMABLE: Final = "requires_confirmation"


class StripeTransport(stripe.HTTPClient):
    """The SDK's requests over an httpx client of ours, whose pool and time-outs are set here."""

    name = "httpx"

    def __init__(self, client: httpx.AsyncClient) -> None:
        super().__init__()
        self._client = client

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """One request.

        Raises:
            stripe.APIConnectionError: if no answer came.
        """
        try:
            response = await self._client.request(method, url, headers=dict(headers), content=post_data)
        except httpx.HTTPError as error:
            raise stripe.APIConnectionError(f"{type(error).__name__}: {error}") from error  # type: ignore[no-untyped-call]
        return response.content, response.status_code, response.headers

    async def sleep_async(self, secs: float) -> None:
        """Never used: retries are off."""
        raise AssertionError("the SDK was told not to retry")

    async def close_async(self) -> None:
        """Closes the connections."""
        await self._client.aclose()


class StripeProvider:
    """Charges cards. A token is the id of a PaymentMethod (``pm_…``)."""

    def __init__(
        self,
        *,
        api_key: str,
        api_base: str,
        timeout: float,
        connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not api_key:
            raise ValueError("SURGE_STRIPE_API_KEY is needed: a payment method is served by Stripe")
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._transport = StripeTransport(httpx.AsyncClient(timeout=timeout, limits=limits, transport=transport))
        self._client = stripe.StripeClient(
            api_key, base_addresses={"api": api_base}, http_client=self._transport, max_network_retries=0
        )

    async def charge(self, charge: Charge) -> Captured | Declined | Unknown:
        """Takes the amount, once for each key."""
        reference = charge.reference
        try:
            intent = await self._intent(charge)
            reference = intent.id
            if intent.status == _CONFIRMABLE:
                intent = await self._client.v1.payment_intents.confirm_async(
                    reference,
                    # customers are not at hand: a card that asks for authentication declines
                    {"error_on_requires_action": True},
                    {"idempotency_key": _again(f"{charge.key}:confirm", charge.tries)},
                )
            return _outcome(intent)
        except stripe.CardError as error:
            return Declined(decline_reason(_said(error)))
        except stripe.InvalidRequestError as error:
            if error.code == _UNEXPECTED_STATE:
                return await self._found(reference)
            if error.code == "resource_missing" and error.param == "payment_method":
                return Declined(INVALID_METHOD)
            log.error("payment.stripe_refused", key=charge.key, code=error.code, param=error.param, error=str(error))
            return Declined(error.code or "invalid_request")
        except stripe.StripeError as error:
            return _unknown(error, reference)

    async def void(self, void: Void) -> Voided | Captured | Unknown:
        """Cancels the intent, creating it first if it never was: afterwards nobody can confirm it."""
        charge, reference = void.charge, void.charge.reference
        try:
            intent = await self._intent(charge)
            reference = intent.id
            if intent.status not in ("succeeded", "canceled"):
                intent = await self._client.v1.payment_intents.cancel_async(
                    reference, {"cancellation_reason": "abandoned"}, {"idempotency_key": _again(void.key, charge.tries)}
                )
            outcome = _outcome(intent)
        except stripe.InvalidRequestError as error:
            if error.code == _UNEXPECTED_STATE:
                outcome = await self._found(reference)
            elif not reference:
                return Voided()
            else:
                return _unknown(error, reference)
        except stripe.StripeError as error:
            return _unknown(error, reference)
        match outcome:
            case Captured() | Unknown():
                return outcome
            case Declined(reason) if reason == CANCELLED:
                return Voided()
            case Declined(reason):
                return Unknown(f"not cancelled: {reason}", reference)

    async def refund(self, refund: Refund) -> Refunded | Refused | Unknown:
        """Refunds the intent in full; Stripe itself refuses to give back more than was taken."""
        charge = refund.charge
        try:
            if charge.tries and (known := await self._refunded(charge.reference)):
                return known
            made = await self._client.v1.refunds.create_async(
                {
                    "payment_intent": charge.reference,
                    "reason": "requested_by_customer",
                    "metadata": {"order_id": charge.order_id},
                },
                {"idempotency_key": _again(refund.key, charge.tries)},
            )
            if made.status in ("succeeded", "pending"):
                return Refunded(made.id)
            return Refused(made.failure_reason or str(made.status))
        except stripe.InvalidRequestError as error:
            if error.code == "charge_already_refunded":
                return Refunded("")
            return Refused(error.code or "invalid_request")
        except stripe.StripeError as error:
            return _unknown(error, charge.reference)

    async def close(self) -> None:
        """Closes its connections."""
        await self._transport.close_async()

    async def _intent(self, charge: Charge) -> "PaymentIntent":
        """The attempt's intent as it stands: found if it is known, else created, with what Stripe remembers by key."""
        intents = self._client.v1.payment_intents
        if charge.reference:
            return await intents.retrieve_async(charge.reference)
        intent = await intents.create_async(
            {
                "amount": charge.amount,
                "currency": charge.currency.lower(),
                "payment_method": charge.token,
                "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
                "description": f"Order {charge.order_id}",
                "metadata": {"order_id": charge.order_id, "key": charge.key},
            },
            {"idempotency_key": charge.key},
        )
        # a repeated create answers with the intent as it was then
        return await intents.retrieve_async(intent.id) if charge.tries else intent

    async def _found(self, reference: str) -> Captured | Declined | Unknown:
        try:
            return _outcome(await self._client.v1.payment_intents.retrieve_async(reference))
        except stripe.StripeError as error:
            return _unknown(error, reference)

    async def _refunded(self, reference: str) -> Refunded | None:
        for refund in (await self._client.v1.refunds.list_async({"payment_intent": reference})).data:
            if refund.status in ("succeeded", "pending"):
                return Refunded(refund.id)
        return None


def _outcome(intent: "PaymentIntent") -> Captured | Declined | Unknown:
    match intent.status:
        case "succeeded":
            return Captured(intent.id)
        case "canceled":
            return Declined(CANCELLED)
        case "requires_payment_method":
            failure = intent.last_payment_error
            return Declined(decline_reason(failure.to_dict()) if failure is not None else INVALID_METHOD)
        case status:
            return Unknown(str(status), intent.id)


def decline_reason(failure: Mapping[str, Any]) -> str:
    """The issuer's decline code, or Stripe's error code where it gives none."""
    reason = failure.get("decline_code") or failure.get("code")
    return "card_declined" if not reason or reason == "generic_decline" else str(reason)


def _said(error: stripe.CardError) -> Mapping[str, Any]:
    body = error.json_body if isinstance(error.json_body, Mapping) else {}
    return body.get("error") or {"code": error.code}


def _unknown(error: stripe.StripeError, reference: str) -> Unknown:
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError | stripe.IdempotencyError):
        log.error("payment.stripe_misused", error=str(error))
    return Unknown(f"{type(error).__name__}: {error.user_message or ''}".rstrip(": "), reference)


def _again(key: str, tries: int) -> str:
    """The key of a call that is safe to repeat: a fresh one after a lost answer.

    Stripe answers a key for a day with what it answered first, a server error included, which would never end.
    """
    return f"{key}:{tries}" if tries else key

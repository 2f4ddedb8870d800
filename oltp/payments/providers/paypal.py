"""PayPal Orders v2 over HTTP: an order an attempt, created, then captured with the customer's billing agreement.

Every POST carries ``PayPal-Request-Id``. PayPal cannot cancel an order that is to be captured; a void turns its intent
to AUTHORIZE instead, after which no capture can succeed. The order's invoice id makes PayPal refuse a second capture
for the shop's order even after it has forgotten the request ids (six hours).
"""

import asyncio
import time
from typing import Any, Final

import httpx
import orjson
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

log = structlog.get_logger()

_WITHOUT_MINOR_UNITS: Final = frozenset({"JPY", "KRW"})
_STILL_OPEN: Final = frozenset({"ORDER_COMPLETION_IN_PROGRESS", "DUPLICATE_INVOICE_ID"})
_FENCED: Final = frozenset({"ACTION_DOES_NOT_MATCH_INTENT", "PAYMENT_TYPE_NOT_SUPPORTED_FOR_INTENT"})
_BAD_TOKEN: Final = frozenset({"TOKEN_ID_NOT_FOUND", "BILLING_AGREEMENT_NOT_FOUND", "IDENTIFIER_NOT_FOUND"})


class PayPalAway(Exception):
    """No answer, or one that says nothing about what happened."""


class PayPalError(Exception):
    """PayPal understood and refused. ``issue`` is the first of its ``details``, or the error's name."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        details = document.get("details") or [{}]
        self.status = status
        self.issue = str(details[0].get("issue") or document.get("name") or status)
        super().__init__(f"{status} {self.issue}: {document.get('message', '')}")


class PayPalClient:
    """PayPal's REST API with its access token, which is fetched once and kept until it runs out."""

    def __init__(
        self,
        *,
        client_id: str,
        client_secret: str,
        api_base: str,
        timeout: float,
        connections: int = 64,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if not client_id or not client_secret:
            raise ValueError("SURGE_PAYPAL_CLIENT_ID and SURGE_PAYPAL_CLIENT_SECRET are needed: PayPal is in use")
        self._credentials = httpx.BasicAuth(client_id, client_secret)
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(base_url=api_base, timeout=timeout, limits=limits, transport=transport)
        self._token = ""
        self._token_ends = 0.0
        self._lock = asyncio.Lock()

    async def request(
        self, method: str, path: str, *, json: object | None = None, body: bytes | None = None, request_id: str = ""
    ) -> dict[str, Any]:
        """One call; ``body`` are ready JSON bytes in place of ``json``.

        Raises:
            PayPalError: if it was refused.
            PayPalAway: if the outcome is not known.
        """
        content = body if body is not None else None if json is None else orjson.dumps(json)
        headers = {"Content-Type": "application/json", "Prefer": "return=representation"}
        if request_id:
            headers["PayPal-Request-Id"] = request_id
        for last in (False, True):
            token = await self._access_token()
            response = await self._send(
                method, path, content=content, headers={**headers, "Authorization": f"Bearer {token}"}
            )
            if response.status_code != 401 or last:
                return _document(response)
            if self._token == token:
                self._token = ""
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Closes its connections."""
        await self._http.aclose()

    async def _access_token(self) -> str:
        async with self._lock:
            if not self._token or time.monotonic() > self._token_ends:
                response = await self._send(
                    "POST", "/v1/oauth2/token", data={"grant_type": "client_credentials"}, auth=self._credentials
                )
                if response.status_code in (400, 401):
                    log.error("payment.paypal_credentials_refused", status=response.status_code)
                    raise PayPalAway("credentials refused")
                granted = _document(response)
                self._token = str(granted["access_token"])
                self._token_ends = time.monotonic() + max(0.0, float(granted["expires_in"]) - 60)
            return self._token

    async def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            return await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise PayPalAway(f"{type(error).__name__}: {error}".rstrip(": ")) from error


class PayPalProvider:
    """Charges PayPal accounts. A token is the id of a billing agreement (``B-…``)."""

    def __init__(self, client: PayPalClient) -> None:
        self._client = client

    async def charge(self, charge: Charge) -> Captured | Declined | Unknown:
        """Takes the amount, once for each key."""
        reference = charge.reference
        try:
            order = await self._order(charge)
            reference = str(order["id"])
            if order["status"] != "COMPLETED" and order["intent"] == "CAPTURE":
                order = await self._client.request(
                    "POST",
                    f"/v2/checkout/orders/{reference}/capture",
                    json={"payment_source": {"token": {"id": charge.token, "type": "BILLING_AGREEMENT"}}},
                    request_id=f"{charge.key}:capture",
                )
            return _outcome(order)
        except PayPalAway as error:
            return Unknown(str(error), reference)
        except PayPalError as error:
            if error.issue == "ORDER_ALREADY_CAPTURED":
                return await self._found(reference)
            if error.issue in _STILL_OPEN or error.status in (401, 409, 429):
                return Unknown(error.issue.lower(), reference)
            if error.issue in _FENCED or (error.status == 404 and reference):
                return Declined(CANCELLED)
            if error.issue in _BAD_TOKEN or (error.status == 400 and reference):
                return Declined(INVALID_METHOD)
            if error.status != 422:
                log.error("payment.paypal_refused", key=charge.key, error=str(error))
            return Declined(error.issue.lower())

    async def void(self, void: Void) -> Voided | Captured | Unknown:
        """Takes the order's intent to capture away, creating it first if it never was."""
        charge, reference = void.charge, void.charge.reference
        try:
            order = await self._order(charge)
            reference = str(order["id"])
            if order["status"] != "COMPLETED" and order["intent"] == "CAPTURE":
                await self._client.request(
                    "PATCH",
                    f"/v2/checkout/orders/{reference}",
                    json=[{"op": "replace", "path": "/intent", "value": "AUTHORIZE"}],
                )
                return Voided()
            outcome = _outcome(order)
        except PayPalAway as error:
            return Unknown(str(error), reference)
        except PayPalError as error:
            if error.issue == "ORDER_ALREADY_COMPLETED":
                outcome = await self._found(reference)
            elif error.status == 404 or (error.status in (400, 422) and not reference):
                return Voided()
            else:
                return Unknown(error.issue.lower(), reference)
        return Voided() if isinstance(outcome, Declined) else outcome

    async def refund(self, refund: Refund) -> Refunded | Refused | Unknown:
        """Refunds the capture in full."""
        reference = refund.charge.reference
        try:
            made = await self._client.request(
                "POST", f"/v2/payments/captures/{reference}/refund", json={}, request_id=refund.key
            )
        except PayPalAway as error:
            return Unknown(str(error), reference)
        except PayPalError as error:
            if error.issue == "CAPTURE_FULLY_REFUNDED":
                return Refunded("")
            if error.status in (401, 409, 429):
                return Unknown(error.issue.lower(), reference)
            return Refused(error.issue.lower())
        if made["status"] in ("COMPLETED", "PENDING"):
            return Refunded(str(made["id"]))
        return Refused(str(made["status"]).lower())

    async def close(self) -> None:
        """Closes its connections."""
        await self._client.close()

    async def _order(self, charge: Charge) -> dict[str, Any]:
        if charge.reference:
            return await self._client.request("GET", f"/v2/checkout/orders/{charge.reference}")
        order = {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "custom_id": charge.key,
                    "invoice_id": charge.order_id,
                    "amount": {"currency_code": charge.currency, "value": decimal(charge.amount, charge.currency)},
                }
            ],
        }
        return await self._client.request("POST", "/v2/checkout/orders", json=order, request_id=charge.key)

    async def _found(self, reference: str) -> Captured | Declined | Unknown:
        try:
            return _outcome(await self._client.request("GET", f"/v2/checkout/orders/{reference}"))
        except (PayPalAway, PayPalError) as error:
            return Unknown(str(error), reference)


def decimal(amount: int, currency: str) -> str:
    """Minor units as PayPal writes an amount."""
    return str(amount) if currency in _WITHOUT_MINOR_UNITS else f"{amount // 100}.{amount % 100:02d}"


def minor_units(value: str, currency: str) -> int:
    """An amount as PayPal writes it in minor units.

    Raises:
        ValueError: if it is no amount.
    """
    whole, _, part = value.partition(".")
    if currency in _WITHOUT_MINOR_UNITS:
        return int(whole)
    return int(whole) * 100 + int(part.ljust(2, "0")[:2] or "0")


def _outcome(order: dict[str, Any]) -> Captured | Declined | Unknown:
    captures = [capture for unit in order["purchase_units"] for capture in unit.get("payments", {}).get("captures", [])]
    for capture in captures:
        if capture["status"] in ("COMPLETED", "REFUNDED", "PARTIALLY_REFUNDED"):
            return Captured(str(capture["id"]))
        if capture["status"] == "PENDING":
            return Unknown("capture_pending", str(order["id"]))
    if captures:
        return Declined("instrument_declined")
    if order["intent"] != "CAPTURE":
        return Declined(CANCELLED)
    return Unknown(str(order["status"]).lower(), str(order["id"]))


def _document(response: httpx.Response) -> dict[str, Any]:
    if response.status_code >= 500:
        raise PayPalAway(f"HTTP {response.status_code}")
    if response.status_code == 204:
        return {}
    try:
        document = orjson.loads(response.content)
    except orjson.JSONDecodeError as error:
        raise PayPalAway("the answer is no JSON") from error
    if not isinstance(document, dict):
        raise PayPalAway("the answer is no JSON object")
    if response.status_code >= 400:
        raise PayPalError(response.status_code, document)
    return document

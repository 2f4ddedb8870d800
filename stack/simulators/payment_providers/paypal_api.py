"""A subset of PayPal's REST APIs: OAuth 2 tokens, Orders v2, captures and refunds, disputes, webhook verification.

https://developer.paypal.com/api/rest says what is imitated: ``PayPal-Request-Id`` repeats the first answer, 409 while
the first call is under way; errors with a name and ``details[].issue``; no more than one completed capture for an
invoice id. ``PayPal-Mock-Response`` forces an issue, as in PayPal's negative testing.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from stack.simulators.payment_providers.faults import FaultDesk
from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.store import Remembered, Store
from stack.simulators.payment_providers.webhooks import AUTH_ALGORITHM, Webhooks

TOKEN_SECONDS: Final = 32_400
_WITHOUT_MINOR_UNITS: Final = frozenset({"JPY", "KRW"})
_AMOUNT: Final = re.compile(r"^\d{1,10}(\.\d{2})?$")
_TOKEN: Final = re.compile(r"^[0-9a-zA-Z_-]{1,255}$")

TOKENS_DECLINED: Final = {
    f"B-{issue}": issue
    for issue in (
        "INSTRUMENT_DECLINED",
        "PAYER_CANNOT_PAY",
        "TRANSACTION_REFUSED",
        "AGREEMENT_ALREADY_CANCELLED",
        "COMPLIANCE_VIOLATION",
        "PAYER_ACCOUNT_RESTRICTED",
        "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
        "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED",
        "TOKEN_ID_NOT_FOUND",
    )
}
"""Billing agreement → the issue that its capture is refused for."""

_DISPUTED: Final = "B-DISPUTE"
_ANSWER_LOST: Final = "B-TIMEOUT"
_NEVER_ANSWERS: Final = "B-UNAVAILABLE"
_FORCED: Final = frozenset({"B-OK", _DISPUTED, _ANSWER_LOST})

_BY_CHANCE: Final = {
    "insufficient_funds": "PAYER_CANNOT_PAY",
    "card_declined": "INSTRUMENT_DECLINED",
    "expired_card": "AGREEMENT_ALREADY_CANCELLED",
    "fraudulent": "COMPLIANCE_VIOLATION",
}
"""A reason from the settings → PayPal's word for it."""

_NAMES: Final = {
    400: ("INVALID_REQUEST", "Request is not well-formed, syntactically incorrect, or violates schema."),
    403: ("NOT_AUTHORIZED", "Authorization failed due to insufficient permissions."),
    404: ("RESOURCE_NOT_FOUND", "The specified resource does not exist."),
    409: ("RESOURCE_CONFLICT", "The request conflicts with another one."),
    422: ("UNPROCESSABLE_ENTITY", "The request was understood and could not be carried out."),
    500: ("INTERNAL_SERVER_ERROR", "An internal server error occurred."),
    503: ("SERVICE_UNAVAILABLE", "The service is unavailable."),
}

Document = dict[str, Any]


class PayPalFault(Exception):
    """An error in PayPal's form."""

    def __init__(self, status: int, issue: str, description: str = "", field: str = "") -> None:
        super().__init__(issue)
        name, message = _NAMES[status]
        detail = {"issue": issue, "description": description or issue.replace("_", " ").capitalize()}
        if field:
            detail["field"] = field
        self.status = status
        self.document: Document = {
            "name": name,
            "message": message,
            "debug_id": secrets.token_hex(7),
            "details": [detail],
            "links": [],
        }


@dataclass(slots=True)
class _Answer:
    status: int
    body: Document | None
    lost: bool = False


class _Held(Exception):
    """PayPal never answers: nothing is done."""


class PayPalApi:
    """The endpoints and their rules."""

    def __init__(self, settings: SimulatorSettings, store: Store, faults: FaultDesk, webhooks: Webhooks) -> None:
        self._client_id = settings.paypal_client_id
        self._client_secret = settings.paypal_client_secret.get_secret_value()
        self._webhook_id = settings.paypal_webhook_id
        self._store = store
        self._faults = faults
        self._webhooks = webhooks
        self._under_way: set[str] = set()

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(tags=["paypal"])
        router.add_api_route("/v1/oauth2/token", self._token, methods=["POST"])

        def route(method: str, path: str, operation: Callable[..., _Answer]) -> None:
            async def endpoint(request: Request) -> Response:
                return await self._serve(request, operation)

            router.add_api_route(path, endpoint, methods=[method], name=f"paypal {method} {path}")

        route("POST", "/v2/checkout/orders", self._create)
        route("GET", "/v2/checkout/orders/{id}", self._read("order"))
        route("PATCH", "/v2/checkout/orders/{id}", self._patch)
        route("POST", "/v2/checkout/orders/{id}/capture", self._capture)
        route("GET", "/v2/payments/captures/{id}", self._read("capture"))
        route("POST", "/v2/payments/captures/{id}/refund", self._refund)
        route("GET", "/v2/payments/refunds/{id}", self._read("paypal_refund"))
        route("GET", "/v1/customer/disputes/{id}", self._read("paypal_dispute", key="dispute_id"))
        route("POST", "/v1/notifications/verify-webhook-signature", self._verify)
        return router

    # what a call goes through

    async def _token(self, request: Request) -> Response:
        if self._faults.current.outage:
            return JSONResponse(PayPalFault(503, "SERVICE_UNAVAILABLE").document, 503)
        expected = f"{self._client_id}:{self._client_secret}"
        if not hmac.compare_digest(_basic(request.headers.get("authorization", "")).encode(), expected.encode()):
            return JSONResponse(
                {"error": "invalid_client", "error_description": "Client Authentication failed"}, status_code=401
            )
        form = (await request.body()).decode("utf-8", "replace")
        if "grant_type=client_credentials" not in form.split("&"):
            return JSONResponse(
                {"error": "unsupported_grant_type", "error_description": "Grant Type is NULL or unknown"}, 400
            )
        ends = int(time.time()) + TOKEN_SECONDS
        return JSONResponse(
            {
                "scope": "https://uri.paypal.com/services/payments/payment",
                "access_token": f"A21AA{ends}.{self._seal(ends)}",
                "token_type": "Bearer",
                "app_id": "APP-SURGE",
                "expires_in": TOKEN_SECONDS,
                "nonce": secrets.token_hex(8),
            }
        )

    async def _serve(self, request: Request, operation: Callable[..., _Answer]) -> Response:
        debug = {"PayPal-Debug-Id": secrets.token_hex(7)}
        changes = request.method != "GET" and "notifications" not in request.url.path
        try:
            self._admit(request)
            body = await request.body()
            document = _parsed(body) if request.method != "GET" else None
            key = request.headers.get("paypal-request-id", "")[:108]
            mock = request.headers.get("paypal-mock-response", "")
            if mock:
                raise PayPalFault(422, str(_object(_parsed(mock.encode())).get("mock_application_codes", "MOCK")))
            call: Callable[[], _Answer] = lambda: operation(document, **request.path_params)  # noqa: E731
            answer, lost = await self._once(
                f"{request.url.path}|{key}" if key else "", key or str(request.url), call, changes
            )
        except PayPalFault as fault:
            return JSONResponse(fault.document, fault.status, headers=debug)
        except _Unauthorized:
            return JSONResponse(
                {"error": "invalid_token", "error_description": "Token signature verification failed"},
                401,
                headers=debug,
            )
        if lost:
            await self._faults.hold()
            return JSONResponse(PayPalFault(500, "ANSWER_LOST").document, 500, headers=debug)
        if answer.body is None:
            return Response(status_code=answer.status, headers=debug)
        return JSONResponse(answer.body, answer.status, headers=debug)

    def _admit(self, request: Request) -> None:
        if self._faults.current.outage:
            raise PayPalFault(503, "SERVICE_UNAVAILABLE")
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        ends, _, seal = token.removeprefix("A21AA").partition(".")
        known = ends.isascii() and ends.isdigit() and len(ends) < 20
        valid = known and hmac.compare_digest(self._seal(int(ends)).encode(), seal.encode()) and int(ends) > time.time()
        if scheme.lower() != "bearer" or not valid:
            raise _Unauthorized

    async def _once(self, key: str, draw: str, call: Callable[[], _Answer], changes: bool) -> tuple[_Answer, bool]:
        if key and (known := self._store.recall("paypal", key)) is not None:
            return _Answer(200, known.body), False
        if key in self._under_way and key:
            raise PayPalFault(409, "PREVIOUS_REQUEST_IN_PROGRESS")
        self._under_way.add(key)
        try:
            await self._faults.take_time(draw)
            with self._store.transaction():
                answer = call()
                if key and answer.body is not None:
                    self._store.remember("paypal", key, Remembered("", answer.status, answer.body))
        except _Held:
            await self._faults.hold()
            raise PayPalFault(500, "NO_ANSWER") from None
        finally:
            self._under_way.discard(key)
        return answer, changes and (answer.lost or self._faults.drops(draw))

    def _seal(self, ends: int) -> str:
        return hmac.new(self._client_secret.encode(), str(ends).encode(), hashlib.sha256).hexdigest()

    # orders

    def _create(self, document: object) -> _Answer:
        order = _object(document)
        intent = order.get("intent")
        if intent not in ("CAPTURE", "AUTHORIZE"):
            raise PayPalFault(400, "INVALID_PARAMETER_VALUE", field="/intent")
        units = order.get("purchase_units")
        if not isinstance(units, list) or len(units) != 1:
            raise PayPalFault(400, "INVALID_ARRAY_MAX_ITEMS", "One purchase unit, please.", "/purchase_units")
        unit = _object(units[0])
        amount = _object(unit.get("amount", {}))
        currency, value = str(amount.get("currency_code", "")), str(amount.get("value", ""))
        if not re.fullmatch("[A-Z]{3}", currency):
            raise PayPalFault(400, "INVALID_PARAMETER_SYNTAX", field="/purchase_units/0/amount/currency_code")
        if not _AMOUNT.match(value) or minor_units(value, currency) == 0:
            raise PayPalFault(422, "CANNOT_BE_ZERO_OR_NEGATIVE", field="/purchase_units/0/amount/value")
        created: Document = {
            "id": _new_id(),
            "intent": intent,
            "status": "CREATED",
            "create_time": _now(),
            "purchase_units": [
                {
                    "reference_id": "default",
                    **{name: str(unit[name]) for name in ("custom_id", "invoice_id") if name in unit},
                    "amount": {"currency_code": currency, "value": value},
                }
            ],
            "links": [],
        }
        self._store.put("order", created, order_id=_order_id(created))
        return _Answer(201, created)

    def _patch(self, document: object, id: str) -> _Answer:
        order = self._order(id)
        if order["status"] == "COMPLETED":
            raise PayPalFault(422, "ORDER_ALREADY_COMPLETED", "The order cannot be patched after it is completed.")
        if not isinstance(document, list) or not document:
            raise PayPalFault(400, "MALFORMED_REQUEST_JSON")
        for operation in document:
            patch = _object(operation)
            if patch.get("op") != "replace":
                raise PayPalFault(400, "INVALID_PATCH_OPERATION")
            if patch.get("path") != "/intent":
                raise PayPalFault(422, "NOT_PATCHABLE")
            if patch.get("value") not in ("CAPTURE", "AUTHORIZE"):
                raise PayPalFault(400, "INVALID_PARAMETER_VALUE", field="/intent")
            order["intent"] = patch["value"]
        self._store.put("order", order)
        return _Answer(204, None)

    def _capture(self, document: object, id: str) -> _Answer:
        order = self._order(id)
        if order["status"] == "COMPLETED":
            raise PayPalFault(422, "ORDER_ALREADY_CAPTURED", "Order already captured.")
        if order["intent"] != "CAPTURE":
            raise PayPalFault(422, "ACTION_DOES_NOT_MATCH_INTENT", "The order is not to be captured.")
        source = _object(_object(document).get("payment_source", {}))
        if not source:
            raise PayPalFault(422, "ORDER_NOT_APPROVED", "The payer has not approved the order.")
        token = str(_object(source.get("token", {})).get("id", ""))
        if not _TOKEN.match(token):
            raise PayPalFault(400, "INVALID_PARAMETER_SYNTAX", field="/payment_source/token/id")
        if not token.startswith("B-"):
            raise PayPalFault(422, "TOKEN_ID_NOT_FOUND", "There is no such billing agreement.")
        if token in TOKENS_DECLINED:
            raise PayPalFault(422, TOKENS_DECLINED[token])
        if token == _NEVER_ANSWERS:
            raise _Held
        unit = order["purchase_units"][0]
        reason = None if token in _FORCED else self._faults.decline(unit.get("custom_id", id))
        if reason is not None:
            raise PayPalFault(422, _BY_CHANCE.get(reason, "INSTRUMENT_DECLINED"))
        order_id = _order_id(order)
        if "invoice_id" in unit and any(
            other["status"] == "COMPLETED" and other["id"] != id
            for other in self._store.find("order", order_id=order_id)
        ):
            raise PayPalFault(422, "DUPLICATE_INVOICE_ID", "There is a payment for this invoice already.")
        amount = unit["amount"]
        capture: Document = {
            "id": _new_id(),
            "status": "COMPLETED",
            "amount": amount,
            "final_capture": True,
            **{name: unit[name] for name in ("custom_id", "invoice_id") if name in unit},
            "seller_protection": {"status": "ELIGIBLE"},
            "create_time": _now(),
            "update_time": _now(),
            "supplementary_data": {"related_ids": {"order_id": id}},
            "links": [],
        }
        unit["payments"] = {"captures": [capture]}
        order |= {"status": "COMPLETED", "payment_source": {"token": {"id": token, "type": "BILLING_AGREEMENT"}}}
        self._store.put("order", order)
        self._store.put("capture", capture, order_id=order_id, parent=id)
        self._store.move(
            "paypal",
            "capture",
            capture["id"],
            order_id=order_id,
            amount=minor_units(amount["value"], amount["currency_code"]),
            currency=amount["currency_code"],
            at=time.time(),
        )
        self._event("PAYMENT.CAPTURE.COMPLETED", "capture", capture)
        if token == _DISPUTED:
            self.open_dispute(capture["id"], "UNAUTHORISED", delay=0.5)
        return _Answer(201, order, lost=token == _ANSWER_LOST)

    def _refund(self, document: object, id: str) -> _Answer:
        capture = self._store.get("capture", id)
        if capture is None:
            raise PayPalFault(404, "INVALID_RESOURCE_ID", "There is no such capture.")
        if capture["status"] == "REFUNDED":
            raise PayPalFault(422, "CAPTURE_FULLY_REFUNDED", "The capture has already been fully refunded.")
        if any(dispute["status"] != "RESOLVED" for dispute in self._store.find("paypal_dispute", parent=id)):
            raise PayPalFault(422, "TRANSACTION_DISPUTED", "The capture is disputed.")
        if any(_lost(dispute) for dispute in self._store.find("paypal_dispute", parent=id)):
            raise PayPalFault(422, "REFUND_NOT_PERMITTED_DUE_TO_CHARGEBACK")
        if _object(document).get("amount", capture["amount"]) != capture["amount"]:
            raise PayPalFault(422, "PARTIAL_REFUND_NOT_ALLOWED", "Only full refunds are simulated.")
        order_id = self._store.order_of(id)
        amount = capture["amount"]
        refund: Document = {
            "id": _new_id(),
            "status": "COMPLETED",
            "amount": amount,
            **{name: capture[name] for name in ("custom_id", "invoice_id") if name in capture},
            "create_time": _now(),
            "update_time": _now(),
            "links": [],
        }
        capture |= {"status": "REFUNDED", "update_time": _now()}
        self._store.put("capture", capture)
        parent = capture["supplementary_data"]["related_ids"]["order_id"]
        order = self._order(parent)
        order["purchase_units"][0]["payments"] = {"captures": [capture], "refunds": [refund]}
        self._store.put("order", order)
        self._store.put("paypal_refund", refund, order_id=order_id, parent=id)
        self._store.move(
            "paypal",
            "refund",
            refund["id"],
            order_id=order_id,
            amount=minor_units(amount["value"], amount["currency_code"]),
            currency=amount["currency_code"],
            at=time.time(),
        )
        self._event("PAYMENT.CAPTURE.REFUNDED", "refund", refund)
        return _Answer(201, refund)

    # disputes

    def open_dispute(self, capture_id: str, reason: str, *, delay: float = 0.0) -> Document | None:
        """The payer disputes a capture; None if there is no such capture or it is disputed."""
        capture = self._store.get("capture", capture_id)
        if capture is None or capture["status"] != "COMPLETED" or self._store.find("paypal_dispute", parent=capture_id):
            return None
        dispute_id = f"PP-D-{secrets.randbelow(90000) + 10000}-{secrets.token_hex(3)}"
        dispute: Document = {
            "id": dispute_id,
            "dispute_id": dispute_id,
            "create_time": _now(),
            "update_time": _now(),
            "disputed_transactions": [
                {
                    "seller_transaction_id": capture_id,
                    "custom": capture.get("custom_id", ""),
                    "invoice_number": capture.get("invoice_id", ""),
                    "gross_amount": capture["amount"],
                }
            ],
            "reason": reason,
            "status": "WAITING_FOR_SELLER_RESPONSE",
            "dispute_amount": capture["amount"],
            "dispute_life_cycle_stage": "CHARGEBACK",
            "dispute_channel": "INTERNAL",
            "links": [],
        }
        self._store.put("paypal_dispute", dispute, order_id=self._store.order_of(capture_id), parent=capture_id)
        self._event("CUSTOMER.DISPUTE.CREATED", "dispute", dispute, delay=delay)
        return dispute

    def end_dispute(self, dispute_id: str, *, won: bool) -> Document | None:
        """PayPal decides; None if there is no such open dispute."""
        dispute = self._store.get("paypal_dispute", dispute_id)
        if dispute is None or dispute["status"] == "RESOLVED":
            return None
        outcome = "RESOLVED_SELLER_FAVOUR" if won else "RESOLVED_BUYER_FAVOUR"
        dispute |= {"status": "RESOLVED", "dispute_outcome": {"outcome_code": outcome}, "update_time": _now()}
        self._store.put("paypal_dispute", dispute)
        if not won:
            amount = dispute["dispute_amount"]
            self._store.move(
                "paypal",
                "chargeback",
                dispute_id,
                order_id=self._store.order_of(dispute_id),
                amount=minor_units(amount["value"], amount["currency_code"]),
                currency=amount["currency_code"],
                at=time.time(),
            )
        self._event("CUSTOMER.DISPUTE.RESOLVED", "dispute", dispute)
        return dispute

    # webhooks and reading

    def _verify(self, document: object) -> _Answer:
        asked = _object(document)
        names = ("auth_algo", "cert_url", "transmission_id", "transmission_sig", "transmission_time", "webhook_id")
        missing = next((name for name in names if not isinstance(asked.get(name), str)), None)
        if missing is not None:
            raise PayPalFault(400, "MISSING_REQUIRED_PARAMETER", field=f"/{missing}")
        event = _object(asked.get("webhook_event"))
        body = orjson.dumps(event, option=orjson.OPT_SORT_KEYS).decode()
        signature = self._webhooks.paypal_signature(asked["transmission_id"], asked["transmission_time"], body)
        genuine = (
            hmac.compare_digest(signature.encode(), asked["transmission_sig"].encode())
            and asked["webhook_id"] == self._webhook_id
            and asked["auth_algo"] == AUTH_ALGORITHM
            and self._store.event_body(str(event.get("id", ""))) == body
        )
        return _Answer(200, {"verification_status": "SUCCESS" if genuine else "FAILURE"})

    def _order(self, id: str) -> Document:
        order = self._store.get("order", id)
        if order is None:
            raise PayPalFault(404, "INVALID_RESOURCE_ID", "There is no such order.")
        return order

    def _read(self, kind: str, key: str = "id") -> Callable[..., _Answer]:
        def operation(_: object, id: str) -> _Answer:
            found = self._store.get(kind, id)
            if found is None:
                raise PayPalFault(404, "INVALID_RESOURCE_ID", f"There is no {key} {id}.")
            return _Answer(200, found)

        return operation

    def _event(self, type: str, resource_type: str, resource: Document, *, delay: float = 0.0) -> None:
        event = {
            "id": f"WH-{secrets.token_hex(9).upper()}",
            "event_version": "1.0",
            "create_time": _now(),
            "resource_type": resource_type,
            "resource_version": "2.0",
            "event_type": type,
            "summary": type.replace(".", " ").capitalize(),
            "resource": resource,
            "links": [],
        }
        self._webhooks.publish("paypal", event, type, delay=delay)


class _Unauthorized(Exception):
    """No valid access token."""


def minor_units(value: str, currency: str) -> int:
    """PayPal's decimal amount in minor units."""
    whole, _, part = value.partition(".")
    return int(whole) if currency in _WITHOUT_MINOR_UNITS else int(whole) * 100 + int((part or "0").ljust(2, "0"))


def _order_id(order: Document) -> str:
    unit = order["purchase_units"][0]
    return str(unit.get("invoice_id") or unit.get("custom_id", ""))


def _lost(dispute: Document) -> bool:
    return bool(dispute.get("dispute_outcome", {}).get("outcome_code") == "RESOLVED_BUYER_FAVOUR")


def _object(value: object) -> Document:
    if not isinstance(value, dict):
        raise PayPalFault(400, "MALFORMED_REQUEST_JSON")
    return value


def _parsed(body: bytes) -> object:
    if not body:
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise PayPalFault(400, "MALFORMED_REQUEST_JSON") from None


def _basic(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _new_id() -> str:
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(secrets.choice(alphabet) for _ in range(17))

"""A subset of Stripe's API v1: PaymentIntents, charges, refunds, disputes; form-encoded in, JSON out.

https://docs.stripe.com/api says what is imitated: idempotency keys that remember the first answer, refuse other
parameters and answer 409 while the first call is under way; errors with type, code and decline code; objects by their
prefixes; API keys as bearer or as basic user.
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
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from stack.simulators.payment_providers.cards import CARDS, Decline, chance_decline
from stack.simulators.payment_providers.faults import FaultDesk
from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.store import Remembered, Store
from stack.simulators.payment_providers.webhooks import Webhooks

API_VERSION: Final = "2026-10-28.endive"
_MINIMUM: Final = 50
_MAXIMUM: Final = 99_999_999
_KEY_LENGTH: Final = 255
_NAME: Final = re.compile(r"^([^\[\]]+)((?:\[[^\[\]]*\])*)$")
_SEARCH: Final = re.compile(r"""^metadata\[["'](\w+)["']\]\s*:\s*["']([^"']*)["']$""")

_CREATE: Final = frozenset(
    {
        "allowed_payment_method_types", "amount", "automatic_payment_methods", "capture_method", "confirm",
        "confirmation_method", "currency", "customer", "description", "error_on_requires_action", "expand", "metadata",
        "off_session", "payment_method", "payment_method_types", "receipt_email", "return_url", "setup_future_usage",
        "shipping", "statement_descriptor", "statement_descriptor_suffix",
    }
)  # fmt: skip
_CONFIRM: Final = frozenset(
    {
        "capture_method", "error_on_requires_action", "expand", "off_session", "payment_method", "receipt_email",
        "return_url",
    }
)  # fmt: skip
_REFUND: Final = frozenset({"amount", "charge", "expand", "metadata", "payment_intent", "reason"})
_CANCELLABLE: Final = frozenset(
    {"requires_payment_method", "requires_confirmation", "requires_action", "requires_capture", "processing"}
)


class StripeFault(Exception):
    """An error in Stripe's form."""

    def __init__(self, status: int, type: str, message: str, *, code: str = "", param: str = "", **extra: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error: dict[str, Any] = {"type": type, "message": message, **extra}
        if code:
            self.error["code"] = code
            self.error["doc_url"] = f"https://stripe.com/docs/error-codes/{code.replace('_', '-')}"
        if param:
            self.error["param"] = param


def _invalid(message: str, *, code: str = "", param: str = "", status: int = 400) -> StripeFault:
    return StripeFault(status, "invalid_request_error", message, code=code, param=param)


Params = dict[str, Any]
Operation = Callable[[Params], Params]


@dataclass(slots=True)
class _Answer:
    status: int
    body: Params
    replayed: bool = False


def parse_form(encoded: str) -> Params:
    """Stripe's nested form: ``metadata[order_id]=…``, ``expand[0]=…``, ``expand[]=…``.

    Raises:
        StripeFault: if a name is malformed.
    """
    root: Params = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        match = _NAME.match(name)
        if match is None:
            raise _invalid(f"Invalid parameter name: {name}", param=name)
        *parents, last = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        node = root
        for parent in parents:
            child = node.setdefault(parent, {})
            if not isinstance(child, dict):
                raise _invalid(f"{name} has a value and members", param=match[1])
            node = child
        node[last or str(len(node))] = value
    return root


class StripeApi:
    """The endpoints and their rules."""

    def __init__(self, settings: SimulatorSettings, store: Store, faults: FaultDesk, webhooks: Webhooks) -> None:
        self._key = settings.stripe_api_key.get_secret_value()
        self._store = store
        self._faults = faults
        self._webhooks = webhooks
        self._under_way: set[str] = set()

    def router(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/v1", tags=["stripe"])

        def post(path: str, operation: Callable[..., Params]) -> None:
            async def endpoint(request: Request) -> Response:
                bound: Operation = lambda params: operation(params, **request.path_params)  # noqa: E731
                return await self._change(request, bound)

            router.add_api_route(path, endpoint, methods=["POST"], name=f"stripe {path}")

        def get(path: str, operation: Callable[..., Params]) -> None:
            async def endpoint(request: Request) -> Response:
                return await self._read(request, lambda params: operation(params, **request.path_params))

            router.add_api_route(path, endpoint, methods=["GET"], name=f"stripe {path}")

        post("/payment_intents", self._create)
        get("/payment_intents", self._list_intents)
        get("/payment_intents/search", self._search)
        get("/payment_intents/{id}", self._retrieve("payment_intent"))
        post("/payment_intents/{id}/confirm", self._confirm)
        post("/payment_intents/{id}/capture", self._capture)
        post("/payment_intents/{id}/cancel", self._cancel)
        post("/refunds", self._refund)
        get("/refunds", self._list_of("refund", "payment_intent", "/v1/refunds"))
        get("/refunds/{id}", self._retrieve("refund"))
        get("/charges", self._list_of("charge", "payment_intent", "/v1/charges"))
        get("/charges/{id}", self._retrieve("charge"))
        get("/disputes", self._list_of("dispute", "payment_intent", "/v1/disputes"))
        get("/disputes/{id}", self._retrieve("dispute"))
        post("/disputes/{id}/close", self._close_dispute)
        return router

    # what a call goes through

    async def _change(self, request: Request, operation: Operation) -> Response:
        body = (await request.body()).decode("utf-8", "replace")
        key = request.headers.get("idempotency-key", "")
        try:
            self._admit(request)
            params = parse_form(body)
            answer = await self._once(key, f"{request.method} {request.url.path}", body, params, operation)
        except StripeFault as fault:
            return _respond(_Answer(fault.status, {"error": fault.error}), key)
        if not answer.replayed:
            method = params.get("payment_method") or answer.body.get("payment_method") or ""
            lost = request.url.path.endswith("/confirm") and _card_trait(answer, str(method), "answer_lost")
            if lost or self._faults.drops(key or body):
                await self._faults.hold()
                return _respond(_Answer(500, {"error": {"type": "api_error", "message": "The answer was lost."}}), key)
        return _respond(answer, key)

    async def _read(self, request: Request, operation: Operation) -> Response:
        try:
            self._admit(request)
            await self._faults.take_time(str(request.url))
            return _respond(_Answer(200, operation(parse_form(request.url.query))), "")
        except StripeFault as fault:
            return _respond(_Answer(fault.status, {"error": fault.error}), "")

    def _admit(self, request: Request) -> None:
        if self._faults.current.outage:
            raise StripeFault(503, "api_error", "An outage is being simulated.")
        if not hmac.compare_digest(_credentials(request.headers.get("authorization", "")).encode(), self._key.encode()):
            raise StripeFault(401, "invalid_request_error", "Invalid API key provided.")

    async def _once(self, key: str, route: str, body: str, params: Params, operation: Operation) -> _Answer:
        if len(key) > _KEY_LENGTH:
            raise StripeFault(400, "idempotency_error", "Idempotency keys have at most 255 characters.")
        fingerprint = hashlib.sha256(f"{route}\n{sorted(parse_qsl(body, keep_blank_values=True))}".encode()).hexdigest()
        if key:
            if key in self._under_way:
                raise StripeFault(
                    409,
                    "idempotency_error",
                    "A request with this idempotency key is under way.",
                    code="idempotency_key_in_use",
                )
            known = self._store.recall("stripe", key)
            if known is not None:
                if known.fingerprint != fingerprint:
                    raise StripeFault(
                        400,
                        "idempotency_error",
                        f"The key {key} was first used with another route or other parameters.",
                    )
                return _Answer(known.status, known.body, replayed=True)
            self._under_way.add(key)
        try:
            await self._faults.take_time(key or body)
            return self._execute(key, fingerprint, params, operation)
        except _Held:
            await self._faults.hold()
            raise StripeFault(500, "api_error", "The issuer never answered.") from None
        finally:
            self._under_way.discard(key)

    def _execute(self, key: str, fingerprint: str, params: Params, operation: Operation) -> _Answer:
        try:
            with self._store.transaction():
                return self._remembered(key, fingerprint, _Answer(200, operation(params)))
        except _Declined as declined:
            with self._store.transaction():
                return self._remembered(key, fingerprint, _Answer(402, {"error": declined.book().error}))

    def _remembered(self, key: str, fingerprint: str, answer: _Answer) -> _Answer:
        if key:
            self._store.remember("stripe", key, Remembered(fingerprint, answer.status, answer.body))
        return answer

    # payment intents

    def _create(self, params: Params) -> Params:
        _known(params, _CREATE)
        amount = _integer(params, "amount")
        currency = str(params.get("currency", "")).lower()
        if not re.fullmatch("[a-z]{3}", currency):
            raise _invalid("Missing or invalid currency.", code="parameter_missing", param="currency")
        if amount < _MINIMUM:
            raise _invalid("The amount is below the minimum.", code="amount_too_small", param="amount")
        if amount > _MAXIMUM:
            raise _invalid("The amount is above the maximum.", code="amount_too_large", param="amount")
        method = _payment_method(params)
        metadata = _metadata(params)
        capture_method = str(params.get("capture_method", "automatic"))
        if capture_method not in ("automatic", "automatic_async", "manual"):
            raise _invalid("Invalid capture_method.", param="capture_method")
        intent: Params = {
            "id": _new_id("pi_3"),
            "object": "payment_intent",
            "amount": amount,
            "amount_capturable": 0,
            "amount_received": 0,
            "canceled_at": None,
            "cancellation_reason": None,
            "capture_method": capture_method,
            "client_secret": None,
            "confirmation_method": str(params.get("confirmation_method", "automatic")),
            "created": int(time.time()),
            "currency": currency,
            "customer": params.get("customer"),
            "description": params.get("description"),
            "last_payment_error": None,
            "latest_charge": None,
            "livemode": False,
            "metadata": metadata,
            "next_action": None,
            "payment_method": method,
            "payment_method_types": ["card"],
            "receipt_email": params.get("receipt_email"),
            "status": "requires_confirmation" if method else "requires_payment_method",
        }
        intent["client_secret"] = f"{intent['id']}_secret_{secrets.token_urlsafe(18)}"
        self._store.put("payment_intent", intent, order_id=metadata.get("order_id", ""))
        self._event("payment_intent.created", intent)
        if params.get("confirm") == "true":
            return self._confirmed(intent, error_on_action=params.get("error_on_requires_action") == "true")
        return intent

    def _confirm(self, params: Params, id: str) -> Params:
        _known(params, _CONFIRM)
        intent = self._intent(id)
        method = _payment_method(params)
        if intent["status"] not in ("requires_payment_method", "requires_confirmation"):
            raise _unexpected(intent, "confirmed")
        if method is None and intent["payment_method"] is None:
            raise _invalid(
                "A payment method is needed to confirm.", code="payment_intent_unexpected_state", param="payment_method"
            )
        if method is not None:
            intent["payment_method"] = method
        return self._confirmed(intent, error_on_action=params.get("error_on_requires_action") == "true")

    def _confirmed(self, intent: Params, *, error_on_action: bool) -> Params:
        card = CARDS[intent["payment_method"]]
        if card.never_answers:
            raise _Held
        decline = card.decline
        if decline is None and card.plain:
            reason = self._faults.decline(intent["metadata"].get("key") or intent["id"])
            decline = chance_decline(reason) if reason else None
        if card.authentication:
            if not error_on_action:
                intent["status"] = "requires_action"
                intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
                self._store.put("payment_intent", intent)
                self._event("payment_intent.requires_action", intent)
                return intent
            decline = Decline("authentication_required", "authentication_required", "The card asks for authentication.")
        if decline is not None:
            raise _Declined(self, intent, decline)
        charge = self._charge(intent, None)
        if intent["capture_method"] == "manual":
            intent |= {"status": "requires_capture", "amount_capturable": intent["amount"]}
            charge["captured"] = False
            self._save(intent, charge)
            self._event("payment_intent.amount_capturable_updated", intent)
        else:
            self._take(intent, charge, intent["amount"])
        return intent

    def _capture(self, params: Params, id: str) -> Params:
        _known(params, frozenset({"amount_to_capture", "expand"}))
        intent = self._intent(id)
        if intent["status"] != "requires_capture":
            raise _unexpected(intent, "captured")
        amount = _integer(params, "amount_to_capture") if "amount_to_capture" in params else intent["amount"]
        if not 0 < amount <= intent["amount_capturable"]:
            raise _invalid("More than is capturable.", code="amount_too_large", param="amount_to_capture")
        charge = self._store.get("charge", intent["latest_charge"])
        assert charge is not None
        self._take(intent, charge, amount)
        return intent

    def _cancel(self, params: Params, id: str) -> Params:
        _known(params, frozenset({"cancellation_reason", "expand"}))
        intent = self._intent(id)
        if intent["status"] not in _CANCELLABLE:
            raise _unexpected(intent, "canceled")
        intent |= {
            "status": "canceled",
            "canceled_at": int(time.time()),
            "cancellation_reason": params.get("cancellation_reason"),
            "amount_capturable": 0,
        }
        self._store.put("payment_intent", intent)
        self._event("payment_intent.canceled", intent)
        return intent

    def _take(self, intent: Params, charge: Params, amount: int) -> None:
        charge |= {"captured": True, "amount_captured": amount, "balance_transaction": _new_id("txn_3")}
        intent |= {
            "status": "succeeded",
            "amount_received": amount,
            "amount_capturable": 0,
            "last_payment_error": None,
            "next_action": None,
        }
        self._save(intent, charge)
        self._store.move(
            "stripe",
            "capture",
            charge["id"],
            order_id=intent["metadata"].get("order_id", ""),
            amount=amount,
            currency=intent["currency"],
            at=time.time(),
        )
        self._event("payment_intent.succeeded", intent)
        self._event("charge.succeeded", charge)
        reason = CARDS[intent["payment_method"]].dispute
        if reason is not None:
            self.open_dispute(charge["id"], reason, delay=0.5)

    def _charge(self, intent: Params, decline: Decline | None) -> Params:
        card = CARDS[intent["payment_method"]]
        charge: Params = {
            "id": _new_id("ch_3"),
            "object": "charge",
            "amount": intent["amount"],
            "amount_captured": 0,
            "amount_refunded": 0,
            "balance_transaction": None,
            "captured": False,
            "created": int(time.time()),
            "currency": intent["currency"],
            "description": intent["description"],
            "disputed": False,
            "failure_code": decline.code if decline else None,
            "failure_message": decline.message if decline else None,
            "livemode": False,
            "metadata": intent["metadata"],
            "outcome": {
                "network_status": "declined_by_network" if decline else "approved_by_network",
                "reason": (decline.decline_code or decline.code) if decline else None,
                "type": "issuer_declined" if decline else "authorized",
            },
            "paid": decline is None,
            "payment_intent": intent["id"],
            "payment_method": intent["payment_method"],
            "payment_method_details": {"type": "card", "card": {"brand": card.brand, "last4": card.last4}},
            "refunded": False,
            "status": "failed" if decline else "succeeded",
        }
        intent["latest_charge"] = charge["id"]
        return charge

    def _save(self, intent: Params, charge: Params) -> None:
        order_id = intent["metadata"].get("order_id", "")
        self._store.put("payment_intent", intent, order_id=order_id)
        self._store.put("charge", charge, order_id=order_id, parent=intent["id"])

    def decline(self, intent: Params, decline: Decline) -> StripeFault:
        """Books a declined confirmation and says so."""
        charge = self._charge(intent, decline)
        error = {
            "charge": charge["id"],
            "code": decline.code,
            "message": decline.message,
            "payment_method": {"id": intent["payment_method"], "object": "payment_method", "type": "card"},
            "type": "card_error",
        }
        if decline.decline_code:
            error["decline_code"] = decline.decline_code
        intent |= {"status": "requires_payment_method", "last_payment_error": error, "payment_method": None}
        self._save(intent, charge)
        self._event("payment_intent.payment_failed", intent)
        self._event("charge.failed", charge)
        extra = {name: value for name, value in error.items() if name not in ("type", "message", "code")}
        return StripeFault(402, "card_error", decline.message, code=decline.code, **extra, payment_intent=intent)

    # refunds and disputes

    def _refund(self, params: Params) -> Params:
        _known(params, _REFUND)
        if "payment_intent" in params:
            intent = self._intent(str(params["payment_intent"]))
            charge = self._store.get("charge", intent["latest_charge"] or "")
        else:
            charge = self._store.get("charge", str(params.get("charge", "")))
        if charge is None:
            raise _invalid("There is no such charge.", code="resource_missing", param="charge", status=404)
        if not charge["captured"]:
            raise _invalid("The charge was not captured.", code="charge_not_captured")
        dispute = next(iter(self._store.find("dispute", parent=charge["payment_intent"], limit=1)), None)
        if dispute is not None and not dispute["is_charge_refundable"]:
            raise StripeFault(400, "invalid_request_error", "The charge is disputed.", code="charge_disputed")
        left = charge["amount_captured"] - charge["amount_refunded"]
        if left == 0:
            raise _invalid("The charge is refunded already.", code="charge_already_refunded")
        amount = _integer(params, "amount") if "amount" in params else left
        if not 0 < amount <= left:
            raise _invalid("More than is left to refund.", param="amount")
        order_id = charge["metadata"].get("order_id", "")
        refund: Params = {
            "id": _new_id("re_3"),
            "object": "refund",
            "amount": amount,
            "balance_transaction": _new_id("txn_3"),
            "charge": charge["id"],
            "created": int(time.time()),
            "currency": charge["currency"],
            "metadata": _metadata(params),
            "payment_intent": charge["payment_intent"],
            "reason": params.get("reason"),
            "status": "succeeded",
        }
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
        self._store.put("refund", refund, order_id=order_id, parent=charge["payment_intent"])
        self._store.put("charge", charge)
        self._store.move(
            "stripe",
            "refund",
            refund["id"],
            order_id=order_id,
            amount=amount,
            currency=charge["currency"],
            at=time.time(),
        )
        self._event("refund.created", refund)
        self._event("charge.refunded", charge)
        return refund

    def open_dispute(self, charge_id: str, reason: str, *, delay: float = 0.0) -> Params | None:
        """The cardholder's bank takes a captured charge back; None if there is no such charge or it is disputed."""
        charge = self._store.get("charge", charge_id)
        if charge is None or not charge["captured"] or charge["disputed"]:
            return None
        charge["disputed"] = True
        dispute: Params = {
            "id": _new_id("du_1"),
            "object": "dispute",
            "amount": charge["amount_captured"],
            "charge": charge_id,
            "created": int(time.time()),
            "currency": charge["currency"],
            "evidence_details": {"due_by": int(time.time()) + 7 * 86400, "has_evidence": False, "submission_count": 0},
            "is_charge_refundable": False,
            "livemode": False,
            "metadata": {},
            "payment_intent": charge["payment_intent"],
            "reason": reason,
            "status": "needs_response",
        }
        self._store.put("charge", charge)
        self._store.put(
            "dispute", dispute, order_id=charge["metadata"].get("order_id", ""), parent=charge["payment_intent"]
        )
        self._event("charge.dispute.created", dispute, delay=delay)
        return dispute

    def end_dispute(self, dispute_id: str, *, won: bool) -> Params | None:
        """The bank decides; None if there is no such open dispute."""
        dispute = self._store.get("dispute", dispute_id)
        if dispute is None or dispute["status"] in ("won", "lost"):
            return None
        dispute |= {"status": "won" if won else "lost", "is_charge_refundable": won}
        self._store.put("dispute", dispute)
        if not won:
            self._store.move(
                "stripe",
                "chargeback",
                dispute_id,
                order_id=self._store.order_of(dispute_id),
                amount=dispute["amount"],
                currency=dispute["currency"],
                at=time.time(),
            )
        self._event("charge.dispute.closed", dispute)
        return dispute

    def _close_dispute(self, params: Params, id: str) -> Params:
        _known(params, frozenset({"expand"}))
        if self._store.get("dispute", id) is None:
            raise _missing("dispute", id)
        closed = self.end_dispute(id, won=False)
        if closed is None:
            raise _invalid("The dispute is closed already.")
        return closed

    # reading

    def _intent(self, id: str) -> Params:
        intent = self._store.get("payment_intent", id)
        if intent is None:
            raise _missing("payment_intent", id)
        return intent

    def _retrieve(self, kind: str) -> Callable[..., Params]:
        def operation(_: Params, id: str) -> Params:
            found = self._store.get(kind, id)
            if found is None:
                raise _missing(kind, id)
            return found

        return operation

    def _list_intents(self, params: Params) -> Params:
        _known(params, frozenset({"limit", "starting_after", "customer", "created", "expand"}))
        return self._page("payment_intent", params, "/v1/payment_intents")

    def _list_of(self, kind: str, parent: str, url: str) -> Callable[..., Params]:
        def operation(params: Params) -> Params:
            _known(params, frozenset({"limit", "starting_after", parent, "expand"}))
            return self._page(kind, params, url, parent=params.get(parent))

        return operation

    def _search(self, params: Params) -> Params:
        _known(params, frozenset({"limit", "page", "query", "expand"}))
        match = _SEARCH.match(str(params.get("query", "")).strip())
        if match is None or match[1] != "order_id":
            raise _invalid("Only metadata['order_id']:'…' can be searched for here.", param="query")
        found = self._store.find("payment_intent", order_id=match[2], limit=_limit(params))
        return {
            "object": "search_result",
            "data": found,
            "has_more": False,
            "next_page": None,
            "url": "/v1/payment_intents/search",
        }

    def _page(self, kind: str, params: Params, url: str, *, parent: str | None = None) -> Params:
        limit = _limit(params)
        found = self._store.find(kind, parent=parent, limit=limit + 1, after=str(params.get("starting_after", "")))
        return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": url}

    def _event(self, type: str, subject: Params, *, delay: float = 0.0) -> None:
        event = {
            "id": _new_id("evt_3"),
            "object": "event",
            "api_version": API_VERSION,
            "created": int(time.time()),
            "data": {"object": subject},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": type,
        }
        if type in _DELIVERED:
            self._webhooks.publish("stripe", event, type, delay=delay)


_DELIVERED: Final = frozenset(
    {
        "payment_intent.succeeded",
        "payment_intent.payment_failed",
        "payment_intent.canceled",
        "charge.refunded",
        "charge.dispute.created",
        "charge.dispute.closed",
    }
)
"""The events that the shop's endpoint is registered for."""


class _Held(Exception):
    """The issuer never answers: nothing is done."""


class _Declined(Exception):
    """A confirmation was declined. What it leads to is booked in a transaction of its own."""

    def __init__(self, api: StripeApi, intent: Params, decline: Decline) -> None:
        super().__init__(decline.message)
        self._api = api
        self._intent = intent
        self._decline = decline

    def book(self) -> StripeFault:
        """Books the decline."""
        return self._api.decline(self._intent, self._decline)


def _card_trait(answer: _Answer, method: str, trait: str) -> bool:
    card = CARDS.get(method)
    return answer.status == 200 and card is not None and bool(getattr(card, trait))


def _respond(answer: _Answer, key: str) -> Response:
    headers = {"Request-Id": _new_id("req_"), "Stripe-Version": API_VERSION}
    if key:
        headers["Idempotency-Key"] = key
    if answer.replayed:
        headers["Idempotent-Replayed"] = "true"
    return JSONResponse(answer.body, answer.status, headers=headers)


def _credentials(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode().partition(":")[0]
        except (binascii.Error, UnicodeDecodeError):
            return ""
    return ""


def _known(params: Params, allowed: frozenset[str]) -> None:
    for name in params:
        if name not in allowed:
            raise _invalid(f"Received unknown parameter: {name}", code="parameter_unknown", param=name)


def _integer(params: Params, name: str) -> int:
    value = params.get(name)
    if value is None:
        raise _invalid(f"Missing required param: {name}.", code="parameter_missing", param=name)
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,12}", value):
        raise _invalid(f"Invalid integer: {value}", code="parameter_invalid_integer", param=name)
    return int(value)


def _limit(params: Params) -> int:
    return min(100, max(1, _integer(params, "limit"))) if "limit" in params else 10


def _payment_method(params: Params) -> str | None:
    method = params.get("payment_method")
    if method is None:
        return None
    if not isinstance(method, str) or method not in CARDS:
        raise _invalid(
            f"No such PaymentMethod: '{method}'", code="resource_missing", param="payment_method", status=400
        )
    return method


def _metadata(params: Params) -> dict[str, str]:
    metadata = params.get("metadata", {})
    if not isinstance(metadata, dict) or any(not isinstance(value, str) for value in metadata.values()):
        raise _invalid("Metadata must be a flat object of strings.", param="metadata")
    return metadata


def _missing(kind: str, id: str) -> StripeFault:
    return _invalid(f"No such {kind}: '{id}'", code="resource_missing", param="id", status=404)


def _unexpected(intent: Params, verb: str) -> StripeFault:
    return StripeFault(
        400,
        "invalid_request_error",
        f"This PaymentIntent could not be {verb} because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )


def _new_id(prefix: str) -> str:
    return f"{prefix}{secrets.token_hex(12)}"

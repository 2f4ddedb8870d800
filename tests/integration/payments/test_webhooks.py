"""The whole street: the worker, the simulated Stripe and PayPal, and their webhooks back into the shop's API."""

import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from contracts.commands import ChargePayment
from contracts.envelope import registry
from contracts.events import PaymentDisputed, PaymentFailed, PaymentRefunded, PaymentSucceeded
from contracts.orders import PaymentMethod, PaymentMethodType
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from kit.kafka import Received
from kit.resources import Resources
from oltp.payments.domain import Status
from oltp.payments.endpoints import router
from oltp.payments.providers import PayPalClient, PayPalProvider, StripeProvider
from oltp.payments.service import Cashier
from oltp.payments.settings import PaymentsSettings
from oltp.payments.webhooks import PayPalWebhook, StripeWebhook
from stack.simulators.payment_providers.app import create_app as create_simulator
from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.webhooks import stripe_signature

from .conftest import USER, Desk, received, refund, void

KEY, SECRET = "sk_test_street", "whsec_street"
BASE, SHOP = "http://providers.test", "http://shop.test"
TOKENS = {"card": ("pm_card_mastercard", "pm_card_timeout"), "paypal": ("B-OK", "B-TIMEOUT")}


class WithState(httpx.ASGITransport):
    """Hands the lifespan's state to each request, as a server does."""

    def __init__(self, app: FastAPI, state: Any) -> None:
        async def stateful(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state)
            await app(scope, receive, send)

        super().__init__(stateful)


class Door(httpx.AsyncBaseTransport):
    """The way from the providers to the shop. While it is shut, the shop is away."""

    def __init__(self) -> None:
        self.shop: httpx.AsyncBaseTransport | None = None
        self.open = True
        self.heard: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.heard.append(request)
        if not self.open or self.shop is None:
            return httpx.Response(502)
        return await self.shop.handle_async_request(request)


@dataclass
class Street:
    """Everything that a payment passes."""

    desk: Desk
    simulator: FastAPI
    control: httpx.AsyncClient
    shop: httpx.AsyncClient
    door: Door

    async def books(self, order_id: str) -> tuple[int, int]:
        items = (await self.control.get("/_control/orders", params={"order_id": order_id})).json()["items"]
        return sum(item["captured"] for item in items), sum(item["refunded"] for item in items)

    async def dispute(self, order_id: str) -> str:
        opened = await self.control.post("/_control/disputes", json={"order_id": order_id})
        assert opened.status_code == 201, opened.text
        return str(opened.json()["id"])

    async def close_dispute(self, dispute_id: str, outcome: str) -> None:
        closed = await self.control.post(f"/_control/disputes/{dispute_id}/close", json={"outcome": outcome})
        assert closed.status_code == 200, closed.text

    def said(self, type_: type) -> list[Any]:
        payloads = [registry.decode(envelope) for envelope in self.desk.published]
        return [payload for payload in payloads if isinstance(payload, type_)]


def pay(order_id: str, method: str, token: str) -> Received:
    chosen = PaymentMethod(type=PaymentMethodType(method), token=token)
    return received(ChargePayment(order_id=order_id, user_id=USER, amount=4999, currency="USD", method=chosen))


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await check():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
async def street(desk: Desk, resources: Resources, tmp_path: Path) -> AsyncIterator[Street]:
    door = Door()
    simulator_settings = SimulatorSettings(
        simulator_state=tmp_path / "books.sqlite3",
        simulator_hold_seconds=2,
        stripe_api_key=SecretStr(KEY),
        stripe_webhook_secret=SecretStr(SECRET),
        stripe_webhook_url=f"{SHOP}/api/payments/webhooks/stripe",
        paypal_client_id="client",
        paypal_client_secret=SecretStr("client-secret"),
        paypal_webhook_id="WHSTREET",
        paypal_webhook_secret=SecretStr("paypal-secret"),
        paypal_webhook_url=f"{SHOP}/api/payments/webhooks/paypal",
    )

    simulator = create_simulator(simulator_settings, webhook_client=httpx.AsyncClient(transport=door))
    transport = httpx.ASGITransport(simulator)
    client = PayPalClient(
        client_id="client", client_secret="client-secret", api_base=BASE, timeout=1, transport=transport
    )

    @asynccontextmanager
    async def webhooks(_: Resources) -> AsyncIterator[dict[str, Any]]:
        yield {"payment_webhooks": {"stripe": StripeWebhook(SECRET, 300), "paypal": PayPalWebhook(client, "WHSTREET")}}

    shop_app = create_app(resources.settings, title="shop", routers=[router], lifespan=webhooks)
    settings = PaymentsSettings(payments_batch_seconds=0.3, payments_timeout_seconds=0.8, payments_retry_seconds=0.2)
    providers = {
        "stripe": StripeProvider(api_key=KEY, api_base=BASE, timeout=1, transport=transport),
        "paypal": PayPalProvider(client),
        "simulated": desk.bank,
    }
    desk.cashier = Cashier(desk.database, providers, SystemClock(), settings)
    desk.handlers = type(desk.handlers)(desk.cashier)
    async with (
        simulator.router.lifespan_context(simulator),
        shop_app.router.lifespan_context(shop_app) as state,
        httpx.AsyncClient(transport=transport, base_url=BASE, headers={"Authorization": f"Bearer {KEY}"}) as control,
        httpx.AsyncClient(transport=WithState(shop_app, state or {}), base_url=SHOP) as shop,
    ):
        door.shop = WithState(shop_app, state or {})
        yield Street(desk, simulator, control, shop, door)
        await desk.cashier.close()


@pytest.mark.parametrize("method", ["card", "paypal"])
async def test_a_payment_goes_through_and_back(street: Street, method: str, order_id: str) -> None:
    (reply,) = await street.desk.obey(pay(order_id, method, TOKENS[method][0]))
    assert isinstance(registry.decode(reply), PaymentSucceeded)
    assert await street.books(order_id) == (4999, 0)
    (reply,) = await street.desk.obey(refund(order_id))
    assert isinstance(registry.decode(reply), PaymentRefunded)
    assert await street.books(order_id) == (4999, 4999)
    await asyncio.sleep(0.2)
    assert street.desk.published == []


@pytest.mark.parametrize("method", ["card", "paypal"])
async def test_a_lost_answer_is_made_good_by_the_webhook(street: Street, method: str, order_id: str) -> None:
    assert await street.desk.obey(pay(order_id, method, TOKENS[method][1])) == []

    async def succeeded() -> bool:
        return (await street.desk.payment(order_id)).status is Status.SUCCEEDED

    await eventually(succeeded)
    await street.desk.cashier.close()
    assert [payload.order_id for payload in street.said(PaymentSucceeded)] == [order_id]
    assert await street.books(order_id) == (4999, 0)


@pytest.mark.parametrize("method", ["card", "paypal"])
async def test_a_lost_answer_is_made_good_without_webhooks(street: Street, method: str, order_id: str) -> None:
    street.door.open = False
    assert await street.desk.obey(pay(order_id, method, TOKENS[method][1])) == []
    await street.desk.cashier.close()
    assert (await street.desk.payment(order_id)).status is Status.UNKNOWN

    async def resolved() -> bool:
        await street.desk.cashier.resolve()
        return bool(street.said(PaymentSucceeded))

    await eventually(resolved)
    assert await street.books(order_id) == (4999, 0)


async def test_a_webhook_after_the_worker_died_answers_through_the_resolver(street: Street, order_id: str) -> None:
    command = pay(order_id, "card", "pm_card_mastercard")
    cashier = street.desk.cashier
    from oltp.payments.handlers import _command

    due, _ = await cashier._record([_command(command)])
    await cashier._call(due)

    async def succeeded() -> bool:
        return (await street.desk.payment(order_id)).status is Status.SUCCEEDED

    await eventually(succeeded)
    assert street.desk.published == []

    async def replied() -> bool:
        await cashier.resolve()
        return bool(street.said(PaymentSucceeded))

    await eventually(replied)
    assert (await street.desk.payment(order_id)).waiting == ()
    assert await street.desk.due(order_id) is None


@pytest.mark.parametrize("method", ["card", "paypal"])
async def test_a_void_while_unknown_gives_the_money_back(street: Street, method: str, order_id: str) -> None:
    street.door.open = False
    await street.desk.obey(pay(order_id, method, TOKENS[method][1]))
    await street.desk.cashier.close()
    (reply,) = await street.desk.obey(void(order_id))
    assert isinstance(registry.decode(reply), PaymentRefunded)
    assert [payload.reason for payload in street.said(PaymentFailed)] == ["cancelled"]
    assert await street.books(order_id) == (4999, 4999)


@pytest.mark.parametrize("method", ["card", "paypal"])
async def test_a_dispute_is_recorded_and_announced_once(street: Street, method: str, order_id: str) -> None:
    await street.desk.obey(pay(order_id, method, TOKENS[method][0]))
    dispute_id = await street.dispute(order_id)

    async def status() -> str:
        rows = await street.desk.rows("disputes", order_id)
        return str(rows[0]["status"]) if rows else ""

    async def is_(wanted: str) -> bool:
        return await status() == wanted

    await eventually(lambda: is_("open"))
    records = (await street.control.get("/_control/webhooks")).json()
    opened = next(record for record in records if "dispute" in record["type"].lower())
    await street.control.post(f"/_control/webhooks/{opened['event_id']}/redeliver")
    await street.close_dispute(dispute_id, "lost")
    await eventually(lambda: is_("lost"))
    disputed: list[PaymentDisputed] = street.said(PaymentDisputed)
    assert [(payload.order_id, payload.amount, payload.status) for payload in disputed] == [
        (order_id, 4999, "open"),
        (order_id, 4999, "lost"),
    ]


async def test_a_lost_dispute_ends_a_refund_that_the_provider_refuses(street: Street, order_id: str) -> None:
    await street.desk.obey(pay(order_id, "card", "pm_card_mastercard"))
    dispute_id = await street.dispute(order_id)
    assert await street.desk.obey(refund(order_id)) == []
    assert (await street.desk.payment(order_id)).obstacle == "charge_disputed"
    await street.close_dispute(dispute_id, "lost")

    async def refunded() -> bool:
        return (await street.desk.payment(order_id)).status is Status.REFUNDED

    await eventually(refunded)
    assert [payload.amount for payload in street.said(PaymentRefunded)] == [4999]


async def test_a_refund_made_at_the_provider_is_noticed(street: Street, order_id: str) -> None:
    await street.desk.obey(pay(order_id, "card", "pm_card_mastercard"))
    reference = (await street.desk.payment(order_id)).reference
    made = await street.control.post("/v1/refunds", data={"payment_intent": reference})
    assert made.status_code == 200

    async def refunded() -> bool:
        return (await street.desk.payment(order_id)).status is Status.REFUNDED

    await eventually(refunded)
    assert [payload.order_id for payload in street.said(PaymentRefunded)] == [order_id]


def signed(event: dict[str, Any], *, secret: str = SECRET, age: int = 0) -> dict[str, Any]:
    body = json.dumps(event)
    now = int(dt.datetime.now(dt.UTC).timestamp()) - age
    return {"content": body, "headers": {"Stripe-Signature": stripe_signature(body, secret, now)}}


def intent_event(order_id: str, **values: Any) -> dict[str, Any]:
    intent = {"id": "pi_1", "metadata": {"order_id": order_id, "key": f"{order_id}:1"}, "last_payment_error": None}
    return {"id": f"evt_{new_id()}", "type": "payment_intent.succeeded", "data": {"object": intent}, **values}


async def test_forged_old_and_unsigned_messages_are_refused(street: Street, order_id: str) -> None:
    url, event = "/api/payments/webhooks/stripe", intent_event(order_id)
    for options in (
        signed(event, secret="whsec_other"),
        signed(event, age=301),
        {**signed(event), "content": json.dumps(event) + " "},
        {"content": json.dumps(event)},
        {"content": b"\xff\xfe", "headers": {"Stripe-Signature": "t=1,v1=x"}},
        {"content": "", "headers": {"Stripe-Signature": ""}},
        {"content": "{}", "headers": {"Stripe-Signature": "t=1,v1=é".encode("latin-1")}},
    ):
        answer = await street.shop.post(url, **options)
        assert answer.status_code == 401, answer.text
        assert answer.json()["type"] == "invalid-signature"
    assert (await street.shop.post(url, **signed(event))).json() == {"received": True}


async def test_forged_and_old_messages_from_paypal_are_refused(street: Street, order_id: str) -> None:
    url = "/api/payments/webhooks/paypal"
    await street.desk.obey(pay(order_id, "paypal", "B-OK"))

    async def arrived() -> bool:
        return any("paypal" in str(request.url) for request in street.door.heard)

    await eventually(arrived)
    genuine = next(request for request in street.door.heard if "paypal" in str(request.url))
    headers = {name: value for name, value in genuine.headers.items() if name.startswith("paypal-")}
    assert (await street.shop.post(url, content=genuine.content, headers=headers)).status_code == 200
    for options in (
        {"content": genuine.content},
        {"content": genuine.content, "headers": {**headers, "paypal-transmission-id": "tother"}},
        {"content": genuine.content, "headers": {**headers, "paypal-transmission-sig": "é".encode("latin-1")}},
        {"content": genuine.content, "headers": {**headers, "paypal-transmission-time": "2020-01-01T00:00:00Z"}},
        {"content": genuine.content, "headers": {**headers, "paypal-transmission-time": "yesterday"}},
        {"content": genuine.content.replace(b"COMPLETED", b"DENIED"), "headers": headers},
    ):
        answer = await street.shop.post(url, **options)
        assert answer.status_code == 401, answer.text
    await street.control.put("/_control/faults", json={"outage": True})
    assert (await street.shop.post(url, content=genuine.content, headers=headers)).status_code == 503


async def test_signed_nonsense_is_refused_and_foreign_events_are_taken(street: Street) -> None:
    url = "/api/payments/webhooks/stripe"
    for nonsense in ({"id": "evt_1"}, {"id": "evt_1", "type": "payment_intent.succeeded", "data": []}):
        assert (await street.shop.post(url, **signed(nonsense))).status_code == 422
    for foreign in (
        intent_event(new_id()),
        intent_event("not-ours"),
        {"id": f"evt_{new_id()}", "type": "customer.created", "data": {"object": {}}},
    ):
        assert (await street.shop.post(url, **signed(foreign))).status_code == 200


async def test_a_dispute_about_an_unknown_payment_is_to_be_sent_again(street: Street) -> None:
    dispute = {
        "id": "du_1",
        "payment_intent": f"pi_{new_id()}",
        "amount": 4999,
        "currency": "usd",
        "reason": "fraudulent",
        "status": "needs_response",
        "created": 1_700_000_000,
    }
    event = {"id": f"evt_{new_id()}", "type": "charge.dispute.created", "data": {"object": dispute}}
    for _ in range(2):
        answer = await street.shop.post("/api/payments/webhooks/stripe", **signed(event))
        assert answer.status_code == 503


async def test_a_late_failure_of_an_earlier_attempt_changes_nothing(street: Street, order_id: str) -> None:
    street.door.open = False
    await street.desk.obey(pay(order_id, "card", "pm_card_timeout"))
    await street.desk.cashier.close()
    failed = intent_event(order_id, type="payment_intent.payment_failed")
    failed["data"]["object"]["metadata"]["key"] = f"{order_id}:7"
    failed["data"]["object"]["last_payment_error"] = {"code": "card_declined", "decline_code": "lost_card"}
    assert (await street.shop.post("/api/payments/webhooks/stripe", **signed(failed))).status_code == 200
    assert (await street.desk.payment(order_id)).status is Status.UNKNOWN
    failed = {**failed, "id": f"evt_{new_id()}"}
    failed["data"]["object"]["metadata"]["key"] = f"{order_id}:1"
    assert (await street.shop.post("/api/payments/webhooks/stripe", **signed(failed))).status_code == 200
    assert [payload.reason for payload in street.said(PaymentFailed)] == ["lost_card"]


class TestAdmin:
    """What admins see."""

    @staticmethod
    def headers(street: Street, role: Role = Role.ADMIN) -> dict[str, str]:
        principal = Principal(user_id=new_id(), role=role)
        token = issue_access_token(street.desk.settings, principal, dt.datetime.now(dt.UTC))
        return {"Authorization": f"Bearer {token}"}

    async def test_a_payment_is_shown_with_its_calls(self, street: Street, order_id: str) -> None:
        await street.desk.obey(pay(order_id, "card", "pm_card_mastercard"))
        await street.desk.obey(refund(order_id))
        shown = await street.shop.get(f"/api/admin/payments/{order_id}", headers=self.headers(street))
        assert shown.status_code == 200, shown.text
        payment = shown.json()
        assert (payment["status"], payment["amount"], payment["method"], payment["attempts"]) == (
            "refunded",
            4999,
            "card",
            1,
        )
        assert [(call["action"], call["outcome"]) for call in payment["calls"]] == [
            ("charge", "captured"),
            ("refund", "refunded"),
        ]
        assert payment["refund"]["status"] == "succeeded"
        assert payment["disputes"] == []

    async def test_lists_are_filtered_and_paged(self, street: Street) -> None:
        orders = [new_id() for _ in range(5)]
        street.desk.bank.declines = f"reason_{orders[0].replace('-', '')[:20]}"
        for order_id in orders:
            await street.desk.obey(pay(order_id, "wallet", "tok_ok"))
        url, headers = "/api/admin/payments", self.headers(street)
        filters: dict[str, Any] = {
            "status": "failed",
            "method": "wallet",
            "reason": street.desk.bank.declines,
            "limit": 2,
        }
        seen: list[str] = []
        for _ in range(3):
            page = (await street.shop.get(url, params=filters, headers=headers)).json()
            seen += [item["order_id"] for item in page["items"]]
            filters["cursor"] = page["next_cursor"]
        assert seen == orders[::-1]
        assert page["next_cursor"] is None

    @pytest.mark.parametrize("cursor", ["x", "WyJ4IiwgInkiXQ", "WzEsIDJd", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwgIngiXQ"])
    async def test_forged_cursors_are_refused(self, street: Street, cursor: str) -> None:
        answer = await street.shop.get("/api/admin/payments", params={"cursor": cursor}, headers=self.headers(street))
        assert answer.status_code == 422

    async def test_unknown_orders_and_strangers(self, street: Street) -> None:
        url = f"/api/admin/payments/{new_id()}"
        assert (await street.shop.get(url, headers=self.headers(street))).status_code == 404
        for path in (url, "/api/admin/payments"):
            assert (await street.shop.get(path)).status_code == 401
            assert (await street.shop.get(path, headers=self.headers(street, Role.CUSTOMER))).status_code == 403

"""The simulator speaks the providers' protocols: keys, errors, webhooks, and books that outlive it."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import stripe

from kit.ids import new_id
from stack.simulators.payment_providers.app import create_app
from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.stripe_api import StripeFault, parse_form
from tests.unit.payments.conftest import BASE, STRIPE_KEY, Simulator

INTENT = {"amount": "1999", "currency": "usd", "payment_method": "pm_card_mastercard"}


def form(order_id: str, **values: str) -> dict[str, str]:
    return {**INTENT, "metadata[order_id]": order_id, **values}


async def post(simulator: Simulator, path: str, data: dict[str, str], key: str = "") -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await simulator.client.post(path, data=data, headers=headers)


@pytest.fixture
async def paypal(simulator: Simulator) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=simulator.transport, base_url=BASE) as client:
        granted = await client.post(
            "/v1/oauth2/token", data={"grant_type": "client_credentials"}, auth=("client", "client-secret")
        )
        assert granted.json()["token_type"] == "Bearer"
        client.headers["Authorization"] = f"Bearer {granted.json()['access_token']}"
        yield client


def order(order_id: str, value: str = "19.99") -> dict[str, Any]:
    unit = {"invoice_id": order_id, "custom_id": f"{order_id}:1", "amount": {"currency_code": "USD", "value": value}}
    return {"intent": "CAPTURE", "purchase_units": [unit]}


def agreement(token: str) -> dict[str, Any]:
    return {"payment_source": {"token": {"id": token, "type": "BILLING_AGREEMENT"}}}


def test_nested_forms_are_parsed() -> None:
    assert parse_form("a=1&metadata[order_id]=x&metadata[key]=y&expand[]=p&expand[]=q&card[address][city]=Z") == {
        "a": "1",
        "metadata": {"order_id": "x", "key": "y"},
        "expand": {"0": "p", "1": "q"},
        "card": {"address": {"city": "Z"}},
    }
    for malformed in ("[x]=1", "a[b=1", "a=1&a[b]=2"):
        with pytest.raises(StripeFault):
            parse_form(malformed)


class TestStripe:
    """Intents, keys and errors."""

    async def test_an_intent_is_created_and_confirmed_in_one_call(self, simulator: Simulator) -> None:
        intent = (await post(simulator, "/v1/payment_intents", form("o1", confirm="true"))).json()
        assert (intent["status"], intent["amount_received"]) == ("succeeded", 1999)
        charge = (await simulator.client.get(f"/v1/charges/{intent['latest_charge']}")).json()
        assert charge["captured"]
        listed = (await simulator.client.get("/v1/payment_intents", params={"limit": 1})).json()
        assert [one["id"] for one in listed["data"]] == [intent["id"]]
        found = await simulator.client.get("/v1/payment_intents/search", params={"query": "metadata['order_id']:'o1'"})
        assert [one["id"] for one in found.json()["data"]] == [intent["id"]]

    async def test_manual_capture(self, simulator: Simulator) -> None:
        order_id = new_id()
        created = await post(simulator, "/v1/payment_intents", form(order_id, confirm="true", capture_method="manual"))
        assert created.json()["status"] == "requires_capture"
        assert await simulator.books(order_id) is None
        captured = await post(simulator, f"/v1/payment_intents/{created.json()['id']}/capture", {})
        assert captured.json()["status"] == "succeeded"
        books = await simulator.books(order_id)
        assert books is not None
        assert books["captured"] == 1999

    async def test_a_key_repeats_its_first_answer(self, simulator: Simulator) -> None:
        first = await post(simulator, "/v1/payment_intents", form("o1"), "k1")
        again = await post(simulator, "/v1/payment_intents", form("o1"), "k1")
        assert again.json() == first.json()
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        declined = {"payment_method": "pm_card_chargeDeclined"}
        confirm = f"/v1/payment_intents/{first.json()['id']}/confirm"
        bodies = [(await post(simulator, confirm, declined, "k2")).json() for _ in range(2)]
        assert bodies[0] == bodies[1]

    async def test_a_key_with_other_parameters_is_refused(self, simulator: Simulator) -> None:
        await post(simulator, "/v1/payment_intents", form("o1"), "k1")
        other = await post(simulator, "/v1/payment_intents", form("o1", amount="2000"), "k1")
        assert other.status_code == 400
        assert other.json()["error"]["type"] == "idempotency_error"

    async def test_a_key_that_is_under_way_conflicts(self, simulator: Simulator) -> None:
        await simulator.faults(latency_ms=100)
        answers = await asyncio.gather(*(post(simulator, "/v1/payment_intents", form("o1"), "k1") for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        conflict = next(answer for answer in answers if answer.status_code == 409)
        assert conflict.json()["error"]["code"] == "idempotency_key_in_use"

    async def test_a_refused_request_does_not_use_its_key_up(self, simulator: Simulator) -> None:
        assert (await post(simulator, "/v1/payment_intents", form("o1", amount="x"), "k1")).status_code == 400
        assert (await post(simulator, "/v1/payment_intents", form("o1"), "k1")).status_code == 200

    @pytest.mark.parametrize(
        ("change", "code", "param"),
        [
            ({"amount": "1"}, "amount_too_small", "amount"),
            ({"amount": "999999999"}, "amount_too_large", "amount"),
            ({"currency": "dollars"}, "parameter_missing", "currency"),
            ({"colour": "red"}, "parameter_unknown", "colour"),
            ({"payment_method": "pm_nobody"}, "resource_missing", "payment_method"),
        ],
    )
    async def test_errors_name_code_and_parameter(
        self, simulator: Simulator, change: dict[str, str], code: str, param: str
    ) -> None:
        answer = await post(simulator, "/v1/payment_intents", form("o1", **change))
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)

    async def test_a_decline_has_its_code_and_leaves_the_intent_open(self, simulator: Simulator) -> None:
        answer = await post(
            simulator,
            "/v1/payment_intents",
            form("o1", confirm="true", payment_method="pm_card_chargeDeclinedInsufficientFunds"),
        )
        assert answer.status_code == 402
        error = answer.json()["error"]
        assert (error["type"], error["code"], error["decline_code"]) == (
            "card_error",
            "card_declined",
            "insufficient_funds",
        )
        intent = (await simulator.client.get(f"/v1/payment_intents/{error['payment_intent']['id']}")).json()
        assert intent["status"] == "requires_payment_method"
        assert intent["last_payment_error"]["decline_code"] == "insufficient_funds"
        again = {"payment_method": "pm_card_mastercard"}
        confirmed = await post(simulator, f"/v1/payment_intents/{intent['id']}/confirm", again)
        assert confirmed.json()["status"] == "succeeded"

    async def test_a_captured_intent_cannot_be_cancelled_nor_a_cancelled_one_confirmed(
        self, simulator: Simulator
    ) -> None:
        captured = (await post(simulator, "/v1/payment_intents", form("o1", confirm="true"))).json()
        refused = await post(simulator, f"/v1/payment_intents/{captured['id']}/cancel", {})
        assert refused.json()["error"]["code"] == "payment_intent_unexpected_state"
        assert refused.json()["error"]["payment_intent"]["status"] == "succeeded"
        open_ = (await post(simulator, "/v1/payment_intents", form("o2"))).json()
        await post(simulator, f"/v1/payment_intents/{open_['id']}/cancel", {})
        refused = await post(simulator, f"/v1/payment_intents/{open_['id']}/confirm", {})
        assert refused.json()["error"]["payment_intent"]["status"] == "canceled"

    async def test_nothing_is_refunded_beyond_what_was_taken(self, simulator: Simulator) -> None:
        order_id = new_id()
        intent = (await post(simulator, "/v1/payment_intents", form(order_id, confirm="true"))).json()
        part = await post(simulator, "/v1/refunds", {"payment_intent": intent["id"], "amount": "999"})
        assert part.json()["amount"] == 999
        assert (await post(simulator, "/v1/refunds", {"payment_intent": intent["id"], "amount": "1001"})).is_error
        assert (await post(simulator, "/v1/refunds", {"charge": intent["latest_charge"]})).json()["amount"] == 1000
        done = await post(simulator, "/v1/refunds", {"payment_intent": intent["id"]})
        assert done.json()["error"]["code"] == "charge_already_refunded"
        books = await simulator.books(order_id)
        assert books is not None
        assert (books["refunds"], books["refunded"]) == (2, 1999)

    @pytest.mark.parametrize("path", ["/v1/payment_intents/pi_x", "/v1/refunds/re_x", "/v1/disputes/du_x"])
    async def test_unknown_things_are_404(self, simulator: Simulator, path: str) -> None:
        answer = await simulator.client.get(path)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "resource_missing"

    async def test_the_key_is_asked_for(self, simulator: Simulator) -> None:
        for headers in ({"Authorization": "Bearer sk_other"}, {"Authorization": "Basic ???"}, {"Authorization": ""}):
            answer = await simulator.client.get("/v1/payment_intents", headers=headers)
            assert answer.status_code == 401
        basic = httpx.BasicAuth(STRIPE_KEY, "")
        assert (await simulator.client.get("/v1/payment_intents", auth=basic)).status_code == 200


class TestPayPal:
    """Orders, request ids and errors."""

    async def test_a_request_id_repeats_the_first_answer(self, paypal: httpx.AsyncClient) -> None:
        headers = {"PayPal-Request-Id": "r1"}
        first = await paypal.post("/v2/checkout/orders", json=order("o1"), headers=headers)
        again = await paypal.post("/v2/checkout/orders", json=order("o1"), headers=headers)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["id"] == again.json()["id"]
        other = await paypal.post("/v2/checkout/orders", json=order("o1"))
        assert other.json()["id"] != first.json()["id"]

    async def test_an_order_is_captured_and_refunded(self, paypal: httpx.AsyncClient, simulator: Simulator) -> None:
        order_id = new_id()
        created = (await paypal.post("/v2/checkout/orders", json=order(order_id))).json()
        assert created["status"] == "CREATED"
        path = f"/v2/checkout/orders/{created['id']}"
        captured = (await paypal.post(f"{path}/capture", json=agreement("B-OK"))).json()
        assert captured["status"] == "COMPLETED"
        capture = captured["purchase_units"][0]["payments"]["captures"][0]
        refund = (await paypal.post(f"/v2/payments/captures/{capture['id']}/refund", json={})).json()
        assert refund["status"] == "COMPLETED"
        assert (await paypal.get(f"/v2/payments/refunds/{refund['id']}")).json() == refund
        assert (await paypal.get(f"/v2/payments/captures/{capture['id']}")).json()["status"] == "REFUNDED"
        books = await simulator.books(order_id)
        assert books is not None
        assert (books["captured"], books["refunded"]) == (1999, 1999)

    @pytest.mark.parametrize(
        ("body", "status", "issue"),
        [
            (agreement("B-INSTRUMENT_DECLINED"), 422, "INSTRUMENT_DECLINED"),
            (agreement("elsewhere"), 422, "TOKEN_ID_NOT_FOUND"),
            (agreement("no token"), 400, "INVALID_PARAMETER_SYNTAX"),
            ({}, 422, "ORDER_NOT_APPROVED"),
            ([], 400, "MALFORMED_REQUEST_JSON"),
        ],
    )
    async def test_refused_captures_say_why(
        self, paypal: httpx.AsyncClient, body: Any, status: int, issue: str
    ) -> None:
        created = (await paypal.post("/v2/checkout/orders", json=order("o1"))).json()
        refused = await paypal.post(f"/v2/checkout/orders/{created['id']}/capture", json=body)
        assert refused.status_code == status
        document = refused.json()
        assert document["details"][0]["issue"] == issue
        assert document["debug_id"]

    async def test_an_issue_can_be_forced_by_header(self, paypal: httpx.AsyncClient) -> None:
        created = (await paypal.post("/v2/checkout/orders", json=order("o1"))).json()
        headers = {"PayPal-Mock-Response": '{"mock_application_codes": "TRANSACTION_REFUSED"}'}
        refused = await paypal.post(
            f"/v2/checkout/orders/{created['id']}/capture", json=agreement("B-OK"), headers=headers
        )
        assert refused.json()["details"][0]["issue"] == "TRANSACTION_REFUSED"

    async def test_an_invoice_is_paid_once(self, paypal: httpx.AsyncClient) -> None:
        order_id = new_id()
        paths = []
        for _ in range(2):
            created = (await paypal.post("/v2/checkout/orders", json=order(order_id))).json()
            paths.append(f"/v2/checkout/orders/{created['id']}/capture")
        assert (await paypal.post(paths[0], json=agreement("B-OK"))).status_code == 201
        assert (await paypal.post(paths[0], json=agreement("B-OK"))).json()["details"][0]["issue"] == (
            "ORDER_ALREADY_CAPTURED"
        )
        assert (await paypal.post(paths[1], json=agreement("B-OK"))).json()["details"][0]["issue"] == (
            "DUPLICATE_INVOICE_ID"
        )

    async def test_an_order_whose_intent_was_changed_is_not_captured(self, paypal: httpx.AsyncClient) -> None:
        created = (await paypal.post("/v2/checkout/orders", json=order("o1"))).json()
        path = f"/v2/checkout/orders/{created['id']}"
        patch = [{"op": "replace", "path": "/intent", "value": "AUTHORIZE"}]
        assert (await paypal.patch(path, json=patch)).status_code == 204
        refused = await paypal.post(f"{path}/capture", json=agreement("B-OK"))
        assert refused.json()["details"][0]["issue"] == "ACTION_DOES_NOT_MATCH_INTENT"

    async def test_a_token_is_asked_for(self, paypal: httpx.AsyncClient) -> None:
        paypal.headers["Authorization"] = "Bearer A21AA99999999999.forged"
        assert (await paypal.get("/v2/checkout/orders/x")).status_code == 401
        denied = await paypal.post(
            "/v1/oauth2/token", data={"grant_type": "client_credentials"}, auth=("client", "wrong")
        )
        assert (denied.status_code, denied.json()["error"]) == (401, "invalid_client")


async def received(simulator: Simulator, count: int) -> list[httpx.Request]:
    async with asyncio.timeout(3):
        await simulator.shop.wait_for(count)
    return simulator.shop.received


class TestWebhooks:
    """Signed, and sent until they are taken."""

    async def test_stripes_signature_satisfies_the_sdk(self, simulator: Simulator) -> None:
        await post(simulator, "/v1/payment_intents", form("o1", confirm="true"))
        (request,) = await received(simulator, 1)
        header = request.headers["stripe-signature"]
        secret = simulator.settings.stripe_webhook_secret.get_secret_value()
        event = stripe.Webhook.construct_event(request.content, header, secret)
        assert (event.type, event.data.object["status"]) == ("payment_intent.succeeded", "succeeded")
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(request.content + b" ", header, secret)

    async def test_paypals_signature_is_verified_by_its_api(
        self, simulator: Simulator, paypal: httpx.AsyncClient
    ) -> None:
        created = (await paypal.post("/v2/checkout/orders", json=order("o1"))).json()
        await paypal.post(f"/v2/checkout/orders/{created['id']}/capture", json=agreement("B-OK"))
        (request,) = await received(simulator, 1)
        event = json.loads(request.content)
        assert event["event_type"] == "PAYMENT.CAPTURE.COMPLETED"
        asked = {
            "auth_algo": request.headers["paypal-auth-algo"],
            "cert_url": request.headers["paypal-cert-url"],
            "transmission_id": request.headers["paypal-transmission-id"],
            "transmission_sig": request.headers["paypal-transmission-sig"],
            "transmission_time": request.headers["paypal-transmission-time"],
            "webhook_id": "WHUNIT",
            "webhook_event": event,
        }
        path = "/v1/notifications/verify-webhook-signature"
        assert (await paypal.post(path, json=asked)).json() == {"verification_status": "SUCCESS"}
        for forged in (
            {"webhook_id": "WHOTHER"},
            {"transmission_id": "other"},
            {"webhook_event": {**event, "summary": "forged"}},
        ):
            assert (await paypal.post(path, json={**asked, **forged})).json()["verification_status"] == "FAILURE"
        assert (await paypal.post(path, json={"webhook_event": event})).status_code == 400

    async def test_an_event_is_sent_until_it_is_taken(self, simulator: Simulator) -> None:
        simulator.shop.status = 500
        await post(simulator, "/v1/payment_intents", form("o1", confirm="true"))
        await received(simulator, 1)
        simulator.shop.status = 200
        first, second = await received(simulator, 2)
        assert first.content == second.content
        (record,) = (await simulator.client.get("/_control/webhooks")).json()
        assert (record["tries"], record["last_status"], record["due_at"]) == (2, "200", None)
        again = await simulator.client.post(f"/_control/webhooks/{record['event_id']}/redeliver")
        assert again.status_code == 202
        await received(simulator, 3)

    async def test_a_disputed_card_opens_a_dispute(self, simulator: Simulator) -> None:
        await post(simulator, "/v1/payment_intents", form("o1", confirm="true", payment_method="pm_card_createDispute"))
        requests = await received(simulator, 2)
        event = json.loads(requests[-1].content)
        assert event["type"] == "charge.dispute.created"
        assert event["data"]["object"]["status"] == "needs_response"


async def test_the_books_outlive_the_process(simulator_settings: SimulatorSettings) -> None:
    headers = {"Authorization": f"Bearer {STRIPE_KEY}", "Idempotency-Key": "k1"}
    answers: list[Any] = []
    for _ in range(2):
        # the first application is never shut down, as in a kill -9
        app = create_app(simulator_settings)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE, headers=headers) as client:
            created = await client.post("/v1/payment_intents", data=form("o1", confirm="true"))
            orders = (await client.get("/_control/orders")).json()["items"]
            answers.append((created.json(), orders))
    assert answers[0] == answers[1]
    assert answers[0][1][0]["captures"] == 1


class TestControl:
    """What the real providers do not offer."""

    async def test_the_books_come_in_pages(self, simulator: Simulator) -> None:
        for number in range(3):
            await post(simulator, "/v1/payment_intents", form(f"order-{number}", confirm="true"))
        first = (await simulator.client.get("/_control/orders", params={"limit": 2})).json()
        assert [item["order_id"] for item in first["items"]] == ["order-0", "order-1"]
        rest = (await simulator.client.get("/_control/orders", params={"after": first["next_after"]})).json()
        assert [item["order_id"] for item in rest["items"]] == ["order-2"]
        assert rest["next_after"] is None

    async def test_faults_are_checked_and_kept(self, simulator: Simulator) -> None:
        assert (await simulator.client.put("/_control/faults", json={"failure_rate": 2})).status_code == 422
        assert (await simulator.client.put("/_control/faults", json={"colour": "red"})).status_code == 422
        await simulator.faults(failure_rate=0.5)
        assert (await simulator.client.get("/_control/faults")).json()["failure_rate"] == 0.5
        assert (await simulator.client.post("/_control/reset")).status_code == 204
        assert (await simulator.client.get("/_control/faults")).json()["failure_rate"] == 0

    async def test_only_captured_orders_can_be_disputed(self, simulator: Simulator) -> None:
        assert (await simulator.client.post("/_control/disputes", json={"order_id": "none"})).status_code == 404
        closed = await simulator.client.post("/_control/disputes/none/close", json={"outcome": "won"})
        assert closed.status_code == 404

    async def test_strangers_control_nothing(self, simulator: Simulator) -> None:
        for path in ("/_control/faults", "/_control/orders", "/_control/webhooks"):
            assert (await simulator.client.get(path, headers={"Authorization": ""})).status_code == 401


def test_the_signature_is_stripes() -> None:
    from stack.simulators.payment_providers.webhooks import stripe_signature

    expected = hmac.new(b"whsec", b"1700000000.{}", hashlib.sha256).hexdigest()
    assert stripe_signature("{}", "whsec", 1700000000) == f"t=1700000000,v1={expected}"

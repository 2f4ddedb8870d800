"""Both remote providers against the simulator, in process."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from oltp.payments.domain import Charge
from oltp.payments.providers import PayPalClient, PayPalProvider, Provider, StripeProvider
from stack.simulators.payment_providers.app import create_app
from stack.simulators.payment_providers.settings import SimulatorSettings

STRIPE_KEY = "sk_test_unit"
BASE = "http://providers.test"


@dataclass
class Shop:
    """The shop's webhook endpoints, as the simulator sees them."""

    received: list[httpx.Request] = field(default_factory=list)
    status: int = 200
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, request: httpx.Request) -> httpx.Response:
        self.received.append(request)
        self._arrived.set()
        return httpx.Response(self.status)

    async def wait_for(self, count: int) -> None:
        while len(self.received) < count:
            self._arrived.clear()
            await self._arrived.wait()


@dataclass
class Simulator:
    """The simulator with what a test wants of it."""

    settings: SimulatorSettings
    app: FastAPI
    client: httpx.AsyncClient
    shop: Shop

    @property
    def transport(self) -> httpx.AsyncBaseTransport:
        return httpx.ASGITransport(self.app)

    async def faults(self, **values: Any) -> None:
        response = await self.client.put("/_control/faults", json=values)
        assert response.status_code == 200, response.text

    async def books(self, order_id: str) -> dict[str, Any] | None:
        items = (await self.client.get("/_control/orders", params={"order_id": order_id})).json()["items"]
        assert len(items) <= 1
        return items[0] if items else None


@pytest.fixture
def simulator_settings(tmp_path: Path) -> SimulatorSettings:
    return SimulatorSettings(
        simulator_state=tmp_path / "books.sqlite3",
        simulator_hold_seconds=0.3,
        stripe_api_key=SecretStr(STRIPE_KEY),
        stripe_webhook_secret=SecretStr("whsec_unit_test"),
        stripe_webhook_url="http://shop.test/stripe",
        paypal_client_id="client",
        paypal_client_secret=SecretStr("client-secret"),
        paypal_webhook_id="WHUNIT",
        paypal_webhook_secret=SecretStr("paypal-secret"),
        paypal_webhook_url="http://shop.test/paypal",
    )


@pytest.fixture
async def simulator(simulator_settings: SimulatorSettings) -> AsyncIterator[Simulator]:
    shop = Shop()
    app = create_app(simulator_settings, webhook_client=httpx.AsyncClient(transport=httpx.MockTransport(shop.take)))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=BASE, headers={"Authorization": f"Bearer {STRIPE_KEY}"}
        ) as client,
    ):
        yield Simulator(simulator_settings, app, client, shop)


@pytest.fixture
async def stripe_provider(simulator: Simulator) -> AsyncIterator[Provider]:
    provider = StripeProvider(api_key=STRIPE_KEY, api_base=BASE, timeout=1, transport=simulator.transport)
    yield provider
    await provider.close()


@pytest.fixture
async def paypal_provider(simulator: Simulator) -> AsyncIterator[Provider]:
    provider = PayPalProvider(
        PayPalClient(
            client_id="client", client_secret="client-secret", api_base=BASE, timeout=1, transport=simulator.transport
        )
    )
    yield provider
    await provider.close()


@dataclass
class Remote:
    """One of the two, with its tokens."""

    provider: Provider
    method: str
    ok: str
    plain: str
    declined: dict[str, str]
    answer_lost: str
    never_answers: str
    disputed: str

    def charge(self, order_id: str, token: str | None = None, **values: Any) -> Charge:
        values = {"attempt": 1, "amount": 4999, "currency": "USD", **values}
        return Charge(
            order_id=order_id,
            user_id="user",
            method=self.method,
            token=token or self.ok,
            provider=self.method,
            **values,
        )


@pytest.fixture(params=["stripe", "paypal"])
def remote(request: pytest.FixtureRequest) -> Remote:
    provider: Provider = request.getfixturevalue(f"{request.param}_provider")
    if request.param == "stripe":
        return Remote(
            provider=provider,
            method="card",
            ok="pm_card_mastercard",
            plain="pm_card_visa",
            declined={
                "pm_card_chargeDeclined": "card_declined",
                "pm_card_visa_chargeDeclinedInsufficientFunds": "insufficient_funds",
                "pm_card_chargeDeclinedExpiredCard": "expired_card",
                "pm_card_chargeDeclinedFraudulent": "fraudulent",
                "pm_card_chargeDeclinedProcessingError": "processing_error",
                "pm_card_authenticationRequired": "authentication_required",
                "tok_of_another_provider": "invalid_payment_method",
                "": "invalid_payment_method",
            },
            answer_lost="pm_card_timeout",
            never_answers="pm_card_unavailable",
            disputed="pm_card_createDispute",
        )
    return Remote(
        provider=provider,
        method="paypal",
        ok="B-OK",
        plain="B-4242",
        declined={
            "B-INSTRUMENT_DECLINED": "instrument_declined",
            "B-PAYER_CANNOT_PAY": "payer_cannot_pay",
            "B-COMPLIANCE_VIOLATION": "compliance_violation",
            "tok_of_another_provider": "invalid_payment_method",
            "no token at all!": "invalid_payment_method",
        },
        answer_lost="B-TIMEOUT",
        never_answers="B-UNAVAILABLE",
        disputed="B-DISPUTE",
    )

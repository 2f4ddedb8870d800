"""Every provider keeps the port's promises, whatever is lost on the way."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from kit.ids import new_id
from oltp.payments.domain import Captured, Charge, Declined, Refund, Refunded, Refused, Unknown, Void, Voided
from oltp.payments.providers import (
    PayPalClient,
    PayPalProvider,
    Provider,
    SimulatedProvider,
    StripeProvider,
    open_providers,
)
from oltp.payments.providers.paypal import decimal
from oltp.payments.providers.port import perform
from oltp.payments.settings import PaymentsSettings

from .conftest import Remote, Simulator


async def test_a_charge_is_captured_and_refunded_once(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    captured = await remote.provider.charge(remote.charge(order_id))
    assert isinstance(captured, Captured)
    assert await remote.provider.charge(remote.charge(order_id)) == captured
    refund = Refund(remote.charge(order_id, reference=captured.reference))
    refunded = await remote.provider.refund(refund)
    assert isinstance(refunded, Refunded)
    assert await remote.provider.refund(refund) == refunded
    assert isinstance(await remote.provider.refund(Refund(replace(refund.charge, tries=3))), Refunded)
    books = await simulator.books(order_id)
    assert books is not None
    assert (books["captures"], books["captured"], books["refunds"], books["refunded"]) == (1, 4999, 1, 4999)
    assert books["currency"] == "USD"


async def test_declines_come_with_their_reason(remote: Remote, simulator: Simulator) -> None:
    for token, reason in remote.declined.items():
        order_id = new_id()
        charge = replace(remote.charge(order_id), token=token)
        assert await remote.provider.charge(charge) == Declined(reason), token
        assert await remote.provider.charge(charge) == Declined(reason), token
        assert await remote.provider.void(Void(charge)) == Voided(), token
        assert await simulator.books(order_id) is None


async def test_a_second_attempt_after_a_decline_can_succeed(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    declined = next(iter(remote.declined))
    assert isinstance(await remote.provider.charge(remote.charge(order_id, declined)), Declined)
    assert isinstance(await remote.provider.charge(remote.charge(order_id, attempt=2)), Captured)
    books = await simulator.books(order_id)
    assert books is not None
    assert books["captures"] == 1


async def test_an_answer_lost_after_the_charge_is_found_again_with_the_same_key(
    remote: Remote, simulator: Simulator
) -> None:
    order_id = new_id()
    charge = remote.charge(order_id, remote.answer_lost)
    unknown = await perform(remote.provider, charge, seconds=0.15)
    assert isinstance(unknown, Unknown)
    again = await perform(remote.provider, replace(charge, tries=1), seconds=1)
    assert isinstance(again, Captured)
    assert await perform(remote.provider, charge, seconds=1) == again
    books = await simulator.books(order_id)
    assert books is not None
    assert (books["captures"], books["captured"]) == (1, 4999)


@pytest.mark.parametrize("lost_answers", [1, 2, 3])
async def test_no_number_of_lost_answers_charges_twice(remote: Remote, simulator: Simulator, lost_answers: int) -> None:
    order_id = new_id()
    charge = remote.charge(order_id)
    await simulator.faults(drop_next=lost_answers)
    for tries in range(8):
        result = await perform(remote.provider, replace(charge, tries=tries), seconds=0.1)
        if not isinstance(result, Unknown):
            break
    assert isinstance(result, Captured)
    books = await simulator.books(order_id)
    assert books is not None
    assert books["captures"] == 1


async def test_a_lost_refund_is_given_once(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    captured = await remote.provider.charge(remote.charge(order_id))
    assert isinstance(captured, Captured)
    refund = Refund(remote.charge(order_id, reference=captured.reference))
    await simulator.faults(drop_next=1)
    assert isinstance(await perform(remote.provider, refund, seconds=0.1), Unknown)
    again = await perform(remote.provider, Refund(replace(refund.charge, tries=1)), seconds=1)
    assert isinstance(again, Refunded)
    books = await simulator.books(order_id)
    assert books is not None
    assert books["refunds"] == 1


async def test_a_void_of_an_unknown_charge_that_landed_says_so(remote: Remote, simulator: Simulator) -> None:
    charge = remote.charge(new_id(), remote.answer_lost)
    assert isinstance(await perform(remote.provider, charge, seconds=0.15), Unknown)
    assert isinstance(await perform(remote.provider, Void(charge), seconds=1), Captured)


async def test_a_void_fences_a_charge_that_comes_later(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    charge = remote.charge(order_id)
    assert await remote.provider.void(Void(charge)) == Voided()
    assert await remote.provider.void(Void(replace(charge, tries=1))) == Voided()
    assert await remote.provider.charge(charge) == Declined("cancelled")
    assert await remote.provider.charge(replace(charge, tries=1)) == Declined("cancelled")
    assert await simulator.books(order_id) is None


async def test_a_charge_that_is_never_answered_can_be_voided(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    charge = remote.charge(order_id, remote.never_answers)
    unknown = await perform(remote.provider, charge, seconds=0.1)
    assert isinstance(unknown, Unknown)
    assert await remote.provider.void(Void(charge)) == Voided()
    assert await simulator.books(order_id) is None


async def test_the_same_key_at_the_same_time_charges_once(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    await simulator.faults(latency_ms=50)
    charge = remote.charge(order_id)
    results = await asyncio.gather(*(perform(remote.provider, charge, seconds=2) for _ in range(5)))
    assert any(isinstance(result, Captured) for result in results)
    assert all(isinstance(result, Captured | Unknown) for result in results)
    books = await simulator.books(order_id)
    assert books is not None
    assert books["captures"] == 1


async def test_an_outage_is_an_unknown_outcome(remote: Remote, simulator: Simulator) -> None:
    charge = remote.charge(new_id())
    await simulator.faults(outage=True)
    for action in (charge, Void(charge), Refund(replace(charge, reference="x"))):
        assert isinstance(await perform(remote.provider, action, seconds=1), Unknown)
    await simulator.faults(outage=False)
    assert isinstance(await remote.provider.charge(charge), Captured)


async def test_declines_by_chance_follow_from_the_seed(remote: Remote, simulator: Simulator) -> None:
    await simulator.faults(failure_rate=0.3, failure_reasons=["insufficient_funds", "fraudulent"])
    charges = [remote.charge(f"0198c5f0-0000-7000-8000-{number:012d}", remote.plain) for number in range(60)]
    results = [await remote.provider.charge(charge) for charge in charges]
    declined = sum(isinstance(result, Declined) for result in results)
    assert 8 <= declined <= 30
    assert [await remote.provider.charge(charge) for charge in charges] == results
    assert isinstance(await remote.provider.charge(remote.charge(new_id())), Captured)


async def test_a_disputed_capture_is_not_refunded(remote: Remote, simulator: Simulator) -> None:
    order_id = new_id()
    captured = await remote.provider.charge(remote.charge(order_id, remote.disputed))
    assert isinstance(captured, Captured)
    refund = Refund(remote.charge(order_id, reference=captured.reference))
    assert isinstance(await remote.provider.refund(refund), Refused)


async def test_a_won_dispute_can_be_refunded_and_a_lost_one_is_booked(remote: Remote, simulator: Simulator) -> None:
    for outcome, expected in (("won", Refunded), ("lost", Refused)):
        order_id = new_id()
        captured = await remote.provider.charge(remote.charge(order_id))
        assert isinstance(captured, Captured)
        opened = await simulator.client.post("/_control/disputes", json={"order_id": order_id})
        assert opened.status_code == 201
        close = f"/_control/disputes/{opened.json()['id']}/close"
        closed = await simulator.client.post(close, json={"outcome": outcome})
        assert closed.status_code == 200
        refund = Refund(remote.charge(order_id, reference=captured.reference))
        assert isinstance(await remote.provider.refund(refund), expected)
        books = await simulator.books(order_id)
        assert books is not None
        assert books["charged_back"] == (4999 if outcome == "lost" else 0)


def remotes(base: str, transport: httpx.AsyncBaseTransport | None, secret: str) -> list[Provider]:
    client = PayPalClient(client_id="client", client_secret=secret, api_base=base, timeout=1, transport=transport)
    return [StripeProvider(api_key=secret, api_base=base, timeout=1, transport=transport), PayPalProvider(client)]


async def test_wrong_credentials_leave_the_outcome_open(simulator: Simulator) -> None:
    charge = Charge(new_id(), 1, "u", 4999, "USD", "card", "pm_card_visa", "stripe")
    for provider in remotes("http://x.test", simulator.transport, "wrong"):
        assert isinstance(await provider.charge(charge), Unknown)


async def test_no_connection_leaves_the_outcome_open() -> None:
    charge = Charge(new_id(), 1, "u", 4999, "USD", "card", "pm_card_visa", "stripe")
    for provider in remotes("http://127.0.0.1:9", None, "secret"):
        for action in (charge, Void(charge), Refund(replace(charge, reference="x"))):
            assert isinstance(await perform(provider, action, seconds=2), Unknown)
        await provider.close()


class TestSimulated:
    """The provider in process."""

    @staticmethod
    def charge(token: str, **values: Any) -> Charge:
        values = {"order_id": "order", "attempt": 1, **values}
        return Charge(
            user_id="u", amount=4999, currency="USD", method="wallet", token=token, provider="simulated", **values
        )

    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            ("tok_card_declined", "card_declined"),
            ("tok_insufficient_funds", "insufficient_funds"),
            ("tok_expired_card", "expired_card"),
            ("tok_fraudulent", "fraudulent"),
            ("tok_processing_error", "processing_error"),
            ("pm_card_visa", "invalid_payment_method"),
            ("", "invalid_payment_method"),
        ],
    )
    async def test_tokens_force_declines(self, token: str, reason: str) -> None:
        assert await SimulatedProvider().charge(self.charge(token)) == Declined(reason)

    async def test_a_processing_error_passes_with_the_second_attempt(self) -> None:
        charge = self.charge("tok_processing_error", attempt=2)
        assert isinstance(await SimulatedProvider().charge(charge), Captured)

    async def test_a_timeout_comes_to_light_when_asked_again(self) -> None:
        provider = SimulatedProvider()
        charge = self.charge("tok_timeout")
        assert isinstance(await provider.charge(charge), Unknown)
        assert isinstance(await provider.void(Void(charge)), Captured)
        assert isinstance(await provider.charge(replace(charge, tries=1)), Captured)

    async def test_an_unavailable_provider_never_answers_and_can_be_voided(self) -> None:
        charge = self.charge("tok_unavailable", tries=9)
        assert isinstance(await SimulatedProvider().charge(charge), Unknown)
        assert await SimulatedProvider().void(Void(charge)) == Voided()

    async def test_declines_follow_from_seed_and_key_not_from_the_order_of_calls(self) -> None:
        charges = [self.charge("tok_wallet", order_id=f"order-{number}") for number in range(1000)]
        one, two, other = (
            SimulatedProvider(failure_rate=0.3, failure_reasons=["a", "b"], seed=seed) for seed in (7, 7, 8)
        )
        forwards = [await one.charge(charge) for charge in charges]
        backwards = [await two.charge(charge) for charge in reversed(charges)][::-1]
        assert forwards == backwards
        assert forwards != [await other.charge(charge) for charge in charges]
        declined = [result for result in forwards if isinstance(result, Declined)]
        assert 250 <= len(declined) <= 350
        assert {result.reason for result in declined} == {"a", "b"}

    async def test_refunds_repeat_themselves(self) -> None:
        refund = Refund(self.charge("tok_ok"))
        assert await SimulatedProvider().refund(refund) == await SimulatedProvider(latency_ms=1).refund(refund)


async def test_a_provider_that_breaks_leaves_the_outcome_open() -> None:
    class Broken(SimulatedProvider):
        async def charge(self, charge: Charge) -> Captured | Declined | Unknown:
            raise KeyError("purchase_units")

    result = await perform(Broken(), TestSimulated.charge("tok_ok"), seconds=1)
    assert isinstance(result, Unknown)
    assert "KeyError" in result.detail


@pytest.mark.parametrize(
    ("amount", "currency", "text"), [(5, "USD", "0.05"), (123456, "EUR", "1234.56"), (7, "JPY", "7")]
)
def test_amounts_are_written_in_paypals_way(amount: int, currency: str, text: str) -> None:
    assert decimal(amount, currency) == text


def _settings(**values: Any) -> PaymentsSettings:
    base = {"database_url": "postgresql+asyncpg://x/x", "redis_url": "redis://x", "jwt_secret": "x" * 32}
    return PaymentsSettings(**{**base, **values})


@pytest.mark.parametrize(
    ("remote", "missing", "named"),
    [("stripe", "stripe_api_key", "SURGE_STRIPE_API_KEY"), ("paypal", "paypal_client_id", "SURGE_PAYPAL_CLIENT_ID")],
)
def test_a_provider_without_credentials_fails_at_the_start(remote: str, missing: str, named: str) -> None:
    providers = {"card": remote, "paypal": "simulated", "wallet": "simulated"}
    with pytest.raises(ValueError, match=named):
        open_providers(_settings(payments_providers=providers, **{missing: ""}))


def test_every_method_needs_a_provider() -> None:
    with pytest.raises(ValueError, match="paypal, wallet"):
        _settings(payments_providers={"card": "stripe"})

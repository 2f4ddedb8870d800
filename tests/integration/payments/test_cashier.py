"""Commands, crashes, slow providers and the resolver, on a real database."""

import asyncio
import datetime as dt
import time
from typing import Any

import pytest

from contracts.envelope import Envelope, registry
from contracts.events import PaymentFailed, PaymentRefunded, PaymentSucceeded, PaymentVoided
from kit.ids import new_id
from oltp.payments.domain import Status
from oltp.payments.repository import PaymentRepository

from .conftest import NOW, Bank, Desk, charge, refund, said, void


def payload(envelope: Envelope) -> Any:
    return registry.decode(envelope)


async def test_a_batch_of_charges_is_captured_and_answered(desk: Desk) -> None:
    orders = [new_id() for _ in range(50)]
    replies = await desk.obey(*(charge(order_id) for order_id in orders))
    assert said(replies) == [(order_id, "payment.succeeded") for order_id in orders]
    assert {reply.correlationid for reply in replies} == {"followed"}
    assert all(desk.bank.captured[order_id] == 4999 for order_id in orders)
    (row,) = await desk.rows("payments", orders[0])
    assert (row["status"], str(row["amount"]), row["method"], row["attempts"]) == ("succeeded", "49.99", "wallet", 1)
    assert row["next_attempt_at"] is None
    (attempt,) = await desk.rows("payment_attempts", orders[0])
    assert (attempt["action"], attempt["outcome"], attempt["idempotency_key"]) == (
        "charge",
        "captured",
        f"{orders[0]}:1",
    )
    assert desk.published == []


async def test_a_decline_keeps_its_reason(desk: Desk, order_id: str) -> None:
    desk.bank.declines = "insufficient_funds"
    (reply,) = await desk.obey(charge(order_id))
    assert isinstance(payload(reply), PaymentFailed)
    assert payload(reply).reason == "insufficient_funds"
    (row,) = await desk.rows("payments", order_id)
    assert (row["status"], row["reason"]) == ("failed", "insufficient_funds")


async def test_a_redelivered_command_gets_the_same_reply_and_charges_once(desk: Desk, order_id: str) -> None:
    (first,) = await desk.obey(charge(order_id))
    desk.restart()
    (again,) = await desk.obey(charge(order_id))
    assert (again.id, again.data) == (first.id, first.data)
    assert desk.bank.asked == [f"{order_id}:1"]


async def test_copies_in_one_batch_charge_once(desk: Desk, order_id: str) -> None:
    replies = await desk.obey(charge(order_id), charge(order_id), charge(order_id, id="another"))
    assert len({reply.id for reply in replies}) == 2
    assert desk.bank.asked == [f"{order_id}:1"]


async def test_a_tombstone_keeps_the_charge_from_the_provider(desk: Desk, order_id: str) -> None:
    (voided,) = await desk.obey(void(order_id))
    assert isinstance(payload(voided), PaymentVoided)
    (failed,) = await desk.obey(charge(order_id))
    assert payload(failed).reason == "cancelled"
    assert desk.bank.asked == []
    (row,) = await desk.rows("payments", order_id)
    assert (row["status"], row["tombstone"], str(row["user_id"])[:8]) == ("voided", True, "0198c5f0")


async def test_a_void_in_the_same_batch_as_its_charge_takes_nothing(desk: Desk, order_id: str) -> None:
    replies = await desk.obey(charge(order_id), void(order_id))
    assert said(replies) == [(order_id, "payment.failed"), (order_id, "payment.voided")]
    assert order_id not in desk.bank.captured


async def test_a_refund_gives_everything_back_once(desk: Desk, order_id: str) -> None:
    await desk.obey(charge(order_id))
    (first,) = await desk.obey(refund(order_id))
    (again,) = await desk.obey(refund(order_id))
    assert isinstance(payload(first), PaymentRefunded)
    assert payload(first).amount == 4999
    assert again.id == first.id
    assert desk.bank.asked.count(f"{order_id}:refund") == 1
    (row,) = await desk.rows("refunds", order_id)
    assert (row["status"], str(row["amount"]), row["provider_reference"]) == (
        "succeeded",
        "49.99",
        f"re_{order_id}:refund",
    )


async def test_a_void_after_the_capture_refunds(desk: Desk, order_id: str) -> None:
    await desk.obey(charge(order_id))
    (reply,) = await desk.obey(void(order_id))
    assert isinstance(payload(reply), PaymentRefunded)
    assert desk.bank.refunded[order_id] == desk.bank.captured[order_id]


async def test_an_unknown_outcome_is_resolved_and_answered_through_the_outbox(desk: Desk, order_id: str) -> None:
    desk.bank.loses_answers = 1
    assert await desk.obey(charge(order_id)) == []
    assert (await desk.payment(order_id)).status is Status.UNKNOWN
    await desk.resolve(after=0.5)
    assert desk.published == []
    await desk.resolve(after=1)
    (reply,) = desk.published
    assert isinstance(payload(reply), PaymentSucceeded)
    assert payload(reply).attempts == 2
    assert reply.correlationid == "followed"
    assert desk.bank.captured[order_id] == 4999
    (same,) = await desk.obey(charge(order_id))
    assert same.id == reply.id


async def test_an_unanswered_provider_is_asked_with_growing_pauses(desk: Desk, order_id: str) -> None:
    desk.bank.away = True
    await desk.obey(charge(order_id))
    pauses = []
    for _ in range(6):
        due = await desk.due(order_id)
        assert due is not None
        pauses.append((due - desk.clock.now()).total_seconds())
        await desk.resolve(after=pauses[-1])
    assert pauses == [1, 2, 4, 8, 8, 8]
    assert set(desk.bank.asked) == {f"{order_id}:1"}
    desk.bank.away = False
    await desk.resolve(after=8)
    assert said(desk.published) == [(order_id, "payment.succeeded")]


@pytest.mark.parametrize("landed", [True, False])
async def test_a_void_while_unknown_finds_out_first(desk: Desk, order_id: str, landed: bool) -> None:
    if landed:
        desk.bank.loses_answers = 1
    else:
        desk.bank.away = True
    await desk.obey(charge(order_id))
    desk.bank.away = False
    replies = await desk.obey(void(order_id))
    last = PaymentRefunded if landed else PaymentVoided
    assert [type(payload(reply)) for reply in replies] == [last]
    assert [payload(reply).reason for reply in desk.published] == ["cancelled"]
    assert desk.bank.captured.get(order_id, 0) == desk.bank.refunded.get(order_id, 0)


async def test_a_refused_refund_is_asked_for_again(desk: Desk, order_id: str) -> None:
    await desk.obey(charge(order_id))
    desk.bank.refuses = "charge_disputed"
    assert await desk.obey(refund(order_id)) == []
    (row,) = await desk.rows("payments", order_id)
    assert (row["status"], row["obstacle"], row["tries"]) == ("refunding", "charge_disputed", 1)
    (pending,) = await desk.rows("refunds", order_id)
    assert pending["status"] == "pending"
    desk.bank.refuses = ""
    await desk.resolve(after=1)
    assert said(desk.published) == [(order_id, "payment.refunded")]


async def test_a_slow_call_holds_its_batch_up_only_for_a_moment(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"payments_timeout_seconds": 5})
    desk.restart()
    quick, slow = [new_id() for _ in range(5)], new_id()
    desk.bank.seconds = 2
    started = time.perf_counter()
    assert await desk.obey(charge(slow)) == []
    assert time.perf_counter() - started < 1.8
    desk.bank.seconds = 0
    assert len(await desk.obey(*(charge(order_id) for order_id in quick))) == 5
    await desk.cashier.close()
    assert said(desk.published) == [(slow, "payment.succeeded")]
    assert desk.bank.asked.count(f"{slow}:1") == 1


async def test_calls_beyond_what_may_run_at_once_are_left_to_the_resolver(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(update={"payments_concurrency": 2})
    desk.restart()
    orders = [new_id() for _ in range(6)]
    desk.bank.seconds = 0.5
    assert await desk.obey(*(charge(order_id) for order_id in orders)) == []
    assert len(desk.bank.asked) == 2
    desk.bank.seconds = 0
    await desk.cashier.close()
    await desk.resolve()
    assert sorted(said(desk.published)) == sorted((order_id, "payment.succeeded") for order_id in orders)
    assert all(desk.bank.captured[order_id] == 4999 for order_id in orders)


async def test_a_provider_that_hangs_takes_no_slot_from_another(desk: Desk) -> None:
    desk.settings = desk.settings.model_copy(
        update={"payments_concurrency": 1, "payments_providers": {**desk.settings.payments_providers, "card": "stripe"}}
    )
    desk.restart()
    hanging = Bank()
    hanging.seconds = 30
    desk.cashier._providers = {"stripe": hanging, "simulated": desk.bank}
    stuck, quick = [new_id() for _ in range(3)], [new_id() for _ in range(3)]
    replies = await desk.obey(
        *(charge(order_id, method="card") for order_id in stuck), *(charge(order_id) for order_id in quick)
    )
    assert said(replies) == [(order_id, "payment.succeeded") for order_id in quick]


async def test_a_call_that_never_ends_is_unknown_after_its_time(desk: Desk, order_id: str) -> None:
    desk.bank.seconds = 30
    await desk.obey(charge(order_id))
    await desk.cashier.close()
    state = await desk.payment(order_id)
    assert (state.status, state.obstacle) == (Status.UNKNOWN, "timeout")


async def test_a_crash_between_intent_and_call_is_made_good_by_redelivery(desk: Desk, order_id: str) -> None:
    await desk.cashier._record([(_cause(charge(order_id)), charge(order_id).payload)])  # type: ignore[list-item]
    assert (await desk.payment(order_id)).status is Status.PENDING
    desk.restart()
    (reply,) = await desk.obey(charge(order_id))
    assert isinstance(payload(reply), PaymentSucceeded)
    assert desk.bank.captured[order_id] == 4999


async def test_a_crash_between_intent_and_call_is_made_good_without_redelivery(desk: Desk, order_id: str) -> None:
    await desk.cashier._record([(_cause(charge(order_id)), charge(order_id).payload)])  # type: ignore[list-item]
    desk.restart()
    await desk.resolve(after=60)
    assert said(desk.published) == [(order_id, "payment.succeeded")]


async def test_a_crash_after_the_call_charges_once(desk: Desk, order_id: str) -> None:
    command = charge(order_id)
    due, _ = await desk.cashier._record([(_cause(command), command.payload)])  # type: ignore[list-item]
    await desk.cashier._call(due)
    desk.restart()
    (reply,) = await desk.obey(command)
    assert isinstance(payload(reply), PaymentSucceeded)
    assert desk.bank.captured[order_id] == 4999


async def test_two_processes_at_the_same_payment_agree(desk: Desk) -> None:
    for _ in range(5):
        order_id = new_id()
        other = Desk(desk.database, desk.settings, desk.bank, desk.clock)
        ones, others = await asyncio.gather(desk.obey(charge(order_id)), other.obey(charge(order_id)))
        assert {reply.id for reply in ones} == {reply.id for reply in others}
        assert desk.bank.captured[order_id] == 4999
        assert len(await desk.rows("payments", order_id)) == 1


async def test_due_payments_are_claimed_by_one_process(desk: Desk) -> None:
    desk.bank.away = True
    orders = [new_id() for _ in range(10)]
    await desk.obey(*(charge(order_id) for order_id in orders))
    now = desk.clock.now() + dt.timedelta(seconds=1)

    async def claim() -> set[str]:
        async with desk.database.write() as session:
            claimed = await PaymentRepository(session).claim_due(
                now=now, leased_until=now + dt.timedelta(minutes=1), limit=4
            )
            await asyncio.sleep(0.05)
            return set(claimed) & set(orders)

    first, second = await asyncio.gather(claim(), claim())
    assert not first & second
    assert len(first | second) == 8


async def test_an_unconfigured_provider_is_an_unknown_outcome(desk: Desk, order_id: str) -> None:
    desk.cashier._providers = {}
    await desk.obey(charge(order_id))
    assert "not configured" in (await desk.payment(order_id)).obstacle


async def test_old_webhooks_are_forgotten(desk: Desk) -> None:
    fresh, old = new_id(), new_id()
    async with desk.database.write() as session:
        payments = PaymentRepository(session)
        assert await payments.remember_event("stripe", fresh, "t", NOW)
        assert await payments.remember_event("stripe", old, "t", NOW - dt.timedelta(days=31))
    await desk.cashier.tidy()
    async with desk.database.write() as session:
        payments = PaymentRepository(session)
        assert not await payments.remember_event("stripe", fresh, "t", NOW)
        assert await payments.remember_event("stripe", old, "t", NOW)


def _cause(command: Any) -> Any:
    from oltp.payments.handlers import _command

    return _command(command)[0]


async def test_late_calls_that_end_together_are_concluded_together(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction for each of them would want more connections than there are."""
    orders = [new_id() for _ in range(30)]
    desk.bank.seconds = 0.5
    assert await desk.obey(*(charge(order_id) for order_id in orders)) == []
    opened = 0
    write = desk.database.write

    def counted() -> Any:
        nonlocal opened
        opened += 1
        return write()

    monkeypatch.setattr(desk.database, "write", counted)
    await desk.cashier.close()

    assert sorted(said(desk.published)) == sorted((order_id, "payment.succeeded") for order_id in orders)
    assert {(await desk.payment(order_id)).status for order_id in orders[:3]} == {Status.SUCCEEDED}
    assert opened - 3 < len(orders) / 3

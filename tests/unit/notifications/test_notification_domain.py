"""What is news, over which channels, and how long it is tried."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import events
from contracts.orders import OrderStatus
from oltp.notifications import domain
from oltp.notifications.domain import (
    Category,
    Channel,
    Patience,
    Preferences,
    Receipt,
    Result,
    Status,
    Template,
)

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
PATIENCE = Patience()


def transition(cls: type[events.OrderTransition], reason: str = "") -> events.OrderTransition:
    return cls(
        order_id="o",
        user_id="u",
        sequence=3,
        previous_status=OrderStatus.PENDING,
        status=OrderStatus.CONFIRMED,
        total_amount=1250,
        currency="USD",
        occurred_at=NOW,
        reason=reason,
    )


def moved(status: str) -> events.ShipmentMoved:
    return events.ShipmentMoved(
        order_id="o",
        user_id="u",
        shipment_id="s",
        status=status,
        latitude=0.0,
        longitude=0.0,
        estimated_delivery=NOW,
        occurred_at=NOW,
    )


@pytest.mark.parametrize(
    ("event", "template", "user_id"),
    [
        (transition(events.OrderConfirmed), Template.ORDER_CONFIRMED, "u"),
        (transition(events.OrderCancelled), Template.ORDER_CANCELLED, "u"),
        (transition(events.OrderCancellationRefused), Template.CANCELLATION_REFUSED, "u"),
        (transition(events.OrderShipped), Template.ORDER_SHIPPED, "u"),
        (transition(events.OrderDelivered), Template.ORDER_DELIVERED, "u"),
        (moved("delayed"), Template.SHIPMENT_DELAYED, "u"),
        (
            events.PaymentRefunded(order_id="o", payment_id="p", amount=1, currency="USD"),
            Template.PAYMENT_REFUNDED,
            None,
        ),
        (events.AccountRegistered(user_id="u", email="e", name="n", phone=""), Template.WELCOME, "u"),
    ],
)
def test_what_is_news(event, template, user_id):
    [told] = domain.news(event)
    assert (told.template, told.user_id) == (template, user_id)


@pytest.mark.parametrize(
    "event",
    [
        transition(events.OrderReserved),
        transition(events.OrderProcessing),
        transition(events.OrderCancelling),
        moved("in_transit"),
        moved("delivered"),
        events.AccountChanged(user_id="u", email="e", name="n", phone=""),
        events.ShipmentCreated(order_id="o", parcels=[]),
    ],
)
def test_what_is_none(event):
    assert domain.news(event) == ()


def test_an_alert_goes_to_an_address_and_to_nobody_else():
    event = events.AlertRaised(
        alert_id="a", kind="cdc_lag", title="t", details=["d"], recipient="ops@x.example", link="l", raised_at=NOW
    )
    [told] = domain.news(event)
    assert (told.template, told.user_id, told.order_id) == (Template.ALERT, None, None)
    assert told.recipient == "ops@x.example"
    assert Preferences().channels(told.template) == (Channel.EMAIL,)


def test_a_changed_email_address_is_told_to_both_whatever_is_switched():
    event = events.AccountEmailChanged(user_id="u", name="n", previous_email="old@x.example", email="new@x.example")
    changed, left = domain.news(event)
    assert (changed.template, changed.recipient) == (Template.EMAIL_CHANGED, "new@x.example")
    assert (left.template, left.recipient) == (Template.EMAIL_LEFT, "old@x.example")
    assert changed.part != left.part
    nothing = Preferences({(category, channel): False for category in Category for channel in Channel})
    everything = Preferences({(category, channel): True for category in Category for channel in Channel})
    for told in (changed, left):
        assert nothing.channels(told.template) == everything.channels(told.template) == (Channel.EMAIL,)


def test_by_default_email_tells_all_and_push_of_shipping():
    default = Preferences()
    for category in Category:
        assert default.wants(category, Channel.EMAIL)
        assert not default.wants(category, Channel.SMS)
    assert default.channels(Template.ORDER_CONFIRMED) == (Channel.EMAIL,)
    assert default.channels(Template.ORDER_SHIPPED) == (Channel.EMAIL, Channel.PUSH)
    chosen = Preferences({(Category.ORDERS, Channel.EMAIL): False, (Category.ORDERS, Channel.SMS): True})
    assert chosen.channels(Template.ORDER_CONFIRMED) == (Channel.SMS,)


def test_a_server_that_is_away_costs_no_attempt():
    verdict = domain.after_receipt(Receipt(Result.UNREACHABLE, "gone"), 7, now=NOW, patience=PATIENCE)
    assert (verdict.status, verdict.attempts) == (Status.PENDING, 7)
    assert verdict.next_attempt_at == NOW + PATIENCE.pause


@given(attempts=st.integers(0, 200), result=st.sampled_from(Result))
def test_every_answer_ends_or_is_tried_again_within_bounds(attempts, result):
    verdict = domain.after_receipt(Receipt(result, "why"), attempts, now=NOW, patience=PATIENCE)
    assert (verdict.status is Status.PENDING) == (verdict.next_attempt_at is not None)
    if verdict.next_attempt_at is not None:
        assert dt.timedelta(0) < verdict.next_attempt_at - NOW <= dt.timedelta(minutes=15)
    if result is Result.DEFERRED and attempts + 1 >= PATIENCE.attempts:
        assert verdict.status is Status.FAILED
    assert verdict.status is not Status.SKIPPED


def test_retries_back_off():
    waits = [
        domain.after_receipt(Receipt(Result.DEFERRED), n, now=NOW, patience=PATIENCE).next_attempt_at - NOW
        for n in range(PATIENCE.attempts - 1)
    ]
    assert waits == sorted(waits)
    assert waits[0] == dt.timedelta(seconds=2)


def test_an_unknown_recipient_is_waited_for_and_then_skipped():
    now, looks = NOW, 0
    while True:
        verdict = domain.without_recipient(NOW, 0, now=now, patience=PATIENCE)
        looks += 1
        if verdict.next_attempt_at is None:
            break
        now = verdict.next_attempt_at
    assert (verdict.status, verdict.reason) == (Status.SKIPPED, "unknown_recipient")
    assert now - NOW >= PATIENCE.grace
    assert looks < 12

"""From an event to an email: once per event and channel, whatever fails on the way."""

import asyncio
import datetime as dt
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from contracts import events
from contracts.envelope import registry
from kit.ids import new_id
from oltp.notifications.channels import EmailSender, Letter
from oltp.notifications.domain import Category, Channel, Receipt, Result
from oltp.notifications.repository import NotificationRepository
from oltp.notifications.service import Pruner
from stack.simulators.mailsink.server import smtp_server

from .conftest import NOW, Customer, Desk, created, customer, transition


async def ordered(desk: Desk) -> tuple[str, Customer]:
    """A customer with an order, the welcome sent."""
    someone, order_id = customer(), new_id()
    await desk.note(someone.registered, created(order_id, someone.user_id))
    await desk.dispatch()
    return order_id, someone


async def test_an_orders_whole_life_by_email_and_push(desk: Desk):
    order_id, someone = await ordered(desk)
    parcel = events.Parcel(
        shipment_id=new_id(),
        warehouse_id=new_id(),
        carrier="Meridian Parcel",
        service_level="standard",
        tracking_number="MDP42",
        estimated_delivery=NOW,
    )
    await desk.note(
        transition(events.OrderConfirmed, order_id, someone.user_id),
        events.ShipmentCreated(order_id=order_id, parcels=[parcel]),
        transition(events.OrderShipped, order_id, someone.user_id),
        transition(events.OrderDelivered, order_id, someone.user_id),
    )
    assert desk.woken == 2
    await desk.dispatch()
    mails = desk.mails(someone.email)
    assert {mail.subject for mail in mails} == {
        "Welcome to Surge",
        "Your order is confirmed",
        "Your order is on its way",
        "Your order was delivered",
    }
    texts = {mail.subject: desk.mailbox.get(mail.id).text for mail in mails}
    assert "2 × Blue mug: USD 25.00" in texts["Your order is confirmed"]
    assert "MDP42" in texts["Your order is on its way"]
    rows = await desk.rows(someone.user_id)
    assert {row.status for row in rows} == {"sent"}
    assert [row.channel for row in rows].count("push") == 2
    async with desk.resources.database.read() as session:
        bodies = await session.scalars(
            text("SELECT body FROM notifications.recordings WHERE recipient = :id"), {"id": someone.user_id}
        )
        assert set(bodies) == {"Your order is on its way: Meridian Parcel MDP42.", "Your order was delivered."}
    told = [registry.decode(e) for e in desk.announced if e.correlationid == "followed"]
    assert {type(message) for message in told} == {events.NotificationSent}
    assert len(told) == len(rows)


async def test_the_same_event_again_is_told_once(desk: Desk):
    order_id, someone = await ordered(desk)
    confirmed = desk.received(transition(events.OrderConfirmed, order_id, someone.user_id))
    await desk.note(confirmed, confirmed)
    await desk.note(confirmed)
    await desk.dispatch()
    await desk.note(confirmed)
    await desk.dispatch(1)
    assert [mail.deliveries for mail in desk.mails(someone.email)] == [1, 1]
    assert len(await desk.rows(someone.user_id)) == 2


async def test_a_round_killed_after_the_server_took_it_is_repeated_as_the_same_mail(desk: Desk):
    order_id, someone = await ordered(desk)
    await desk.note(transition(events.OrderConfirmed, order_id, someone.user_id))

    class Killed(Exception):
        pass

    dispatcher = desk.dispatcher()

    async def killed(*_: object) -> None:
        raise Killed

    dispatcher._settle = killed
    with pytest.raises(Killed):
        await dispatcher.round()
    assert await desk.dispatch(30) == 0
    assert await desk.dispatch(31) == 1
    assert [mail.deliveries for mail in desk.mails(someone.email)] == [2, 1]
    assert {row.status for row in await desk.rows(someone.user_id)} == {"sent"}


async def test_a_refund_finds_its_customer_through_the_order(desk: Desk):
    order_id, someone = await ordered(desk)
    await desk.note(events.PaymentRefunded(order_id=order_id, payment_id=new_id(), amount=2500, currency="USD"))
    await desk.dispatch()
    assert desk.mails(someone.email)[0].subject == "Your money is on its way back"


async def test_an_event_that_overtakes_its_order_and_account_waits_for_them(desk: Desk):
    someone, order_id = customer(), new_id()
    await desk.note(
        events.PaymentRefunded(order_id=order_id, payment_id=new_id(), amount=2500, currency="USD"),
        transition(events.OrderConfirmed, new_id(), someone.user_id),
    )
    assert await desk.dispatch() == 2
    assert desk.mails(someone.email) == []
    await desk.note(created(order_id, someone.user_id), someone.registered)
    await desk.dispatch(1)
    assert {mail.subject for mail in desk.mails(someone.email)} == {
        "Your money is on its way back",
        "Your order is confirmed",
        "Welcome to Surge",
    }
    assert {row.status for row in await desk.rows(someone.user_id)} == {"sent"}


async def test_an_alert_reaches_the_operators_once_though_they_are_no_customers(desk: Desk):
    address = f"{new_id()}@operators.example"
    alert = desk.received(
        events.AlertRaised(
            alert_id="a",
            kind="check_failed",
            title="orders: 2 rows are wrong",
            details=["order 7: known_status", "order 8: amount_not_negative"],
            recipient=address,
            link="http://dagster.example/runs/1",
            raised_at=NOW,
        )
    )
    await desk.note(alert)
    await desk.dispatch()
    await desk.note(alert)
    await desk.dispatch(1)
    [mail] = desk.mails(address)
    assert (mail.subject, mail.deliveries) == ("Alert: orders: 2 rows are wrong", 1)
    told = desk.mailbox.get(mail.id).text
    assert "order 7: known_status\norder 8: amount_not_negative" in told
    assert "http://dagster.example/runs/1" in told


async def test_a_recipient_who_stays_unknown_is_skipped_for_good(desk: Desk):
    stranger = customer()
    await desk.note(transition(events.OrderConfirmed, new_id(), stranger.user_id))
    for _ in range(20):
        await desk.dispatch(10)
    (row,) = await desk.rows(stranger.user_id)
    assert (row.status, row.reason, row.attempts) == ("skipped", "unknown_recipient", 0)
    await desk.note(stranger.registered)
    await desk.dispatch(100)
    assert [mail.subject for mail in desk.mails(stranger.email)] == ["Welcome to Surge"]
    assert not [e for e in desk.announced if e.subject == row.order_id]


async def test_a_customer_without_a_phone_gets_no_sms(desk: Desk, resources):
    someone = Customer(new_id(), f"{new_id()}@surge.example", phone="")
    async with resources.database.write() as session:
        await NotificationRepository(session).save_preferences(
            someone.user_id, {(Category.ACCOUNT, Channel.SMS): True}, NOW
        )
    await desk.note(someone.registered)
    await desk.dispatch()
    assert {(row.channel, row.status, row.reason) for row in await desk.rows(someone.user_id)} == {
        ("email", "sent", ""),
        ("sms", "skipped", "no_address"),
    }


async def test_news_of_yesterday_are_none(desk: Desk):
    someone = customer()
    old = desk.received(transition(events.OrderConfirmed, new_id(), someone.user_id), at=NOW - dt.timedelta(days=2))
    await desk.note(old)
    assert await desk.rows(someone.user_id) == []
    assert desk.woken == 0


async def test_older_contact_data_never_replace_newer(desk: Desk):
    someone = customer()
    moved = events.AccountChanged(user_id=someone.user_id, email=f"new-{someone.email}", name="Ada", phone="")
    await desk.note(desk.received(moved, at=NOW + dt.timedelta(seconds=5)))
    await desk.note(desk.received(someone.registered, at=NOW))
    await desk.dispatch()
    assert len(desk.mails(f"new-{someone.email}")) == 1


class Answering:
    """A channel that answers as it is told."""

    def __init__(self, *receipts: Receipt) -> None:
        self.receipts = list(receipts)
        self.asked = asyncio.Event()

    async def send(self, letters: Sequence[Letter]) -> list[Receipt]:
        self.asked.set()
        receipt = self.receipts.pop(0) if len(self.receipts) > 1 else self.receipts[0]
        return [receipt] * len(letters)


async def test_a_server_that_defers_is_tried_again_and_given_up(desk: Desk):
    someone = customer()
    desk.senders[Channel.EMAIL] = Answering(Receipt(Result.DEFERRED, "450 busy"))
    await desk.note(someone.registered)
    for _ in range(10):
        await desk.dispatch(60)
    (row,) = await desk.rows(someone.user_id)
    assert (row.status, row.attempts, row.reason) == ("failed", 3, "450 busy")
    assert desk.announced[-1].type == "notification.failed"


async def test_a_rejected_mail_fails_at_once_and_a_deferred_one_goes_out_later(desk: Desk):
    one, other = customer(), customer()
    desk.senders[Channel.EMAIL] = Answering(Receipt(Result.REJECTED, "550 unknown"))
    await desk.note(one.registered)
    await desk.dispatch()
    desk.senders[Channel.EMAIL] = Answering(Receipt(Result.DEFERRED, "451"), Receipt(Result.SENT))
    await desk.note(other.registered)
    await desk.dispatch()
    await desk.dispatch(3)
    assert [(row.status, row.attempts) for row in await desk.rows(one.user_id)] == [("failed", 1)]
    assert [(row.status, row.attempts, row.reason) for row in await desk.rows(other.user_id)] == [("sent", 2, "")]


async def test_a_mail_server_that_is_away_for_an_hour_loses_nothing(desk: Desk):
    people = [customer() for _ in range(5)]
    settings = desk.settings.model_copy(update={"smtp_port": 1})
    desk.senders[Channel.EMAIL] = EmailSender(settings, desk.clock)
    await desk.note(*(someone.registered for someone in people))
    for _ in range(60):
        await desk.dispatch(60)
    for someone in people:
        (row,) = await desk.rows(someone.user_id)
        assert (row.status, row.attempts) == ("pending", 0)
    desk.senders[Channel.EMAIL] = EmailSender(desk.settings, desk.clock)
    await desk.dispatch(60)
    assert all(len(desk.mails(someone.email)) == 1 for someone in people)


async def test_a_mail_server_that_restarts_is_found_again_at_once(desk: Desk):
    email = EmailSender(desk.settings, desk.clock)
    desk.senders[Channel.EMAIL] = email
    first, second = customer(), customer()
    async with smtp_server(desk.mailbox, desk.clock, host="127.0.0.1", port=0) as port:
        email._settings = desk.settings.model_copy(update={"smtp_port": port})
        await desk.note(first.registered)
        await desk.dispatch()
        (kept,) = email._idle
    kept.transport.abort()
    email._settings = desk.settings
    await desk.note(second.registered)
    await desk.dispatch()
    assert len(desk.mails(first.email)) == len(desk.mails(second.email)) == 1
    await email.close()


async def test_hundreds_of_mails_go_over_the_few_kept_connections(desk: Desk):
    people = [customer() for _ in range(300)]
    await desk.note(*(someone.registered for someone in people))
    while await desk.dispatch(batch=100):
        pass
    assert desk.mailbox.count() == 300
    assert len(desk.senders[Channel.EMAIL]._idle) <= desk.settings.smtp_connections


async def test_two_dispatchers_at_once_send_each_mail_once(desk: Desk):
    people = [customer() for _ in range(120)]
    await desk.note(*(someone.registered for someone in people))
    await asyncio.gather(*(desk.dispatcher(batch=20).round() for _ in range(6)))
    assert desk.mailbox.count() == 120
    assert {mail.deliveries for mail in desk.mailbox.page(limit=500)} == {1}


async def test_the_dispatcher_wakes_when_there_is_news(desk: Desk):
    answering = Answering(Receipt(Result.SENT))
    desk.senders[Channel.EMAIL] = answering
    dispatcher = desk.dispatcher(poll_seconds=60)
    running = asyncio.create_task(dispatcher.run())
    try:
        await asyncio.sleep(0.1)
        await desk.note(customer().registered)
        await dispatcher.wake()
        async with asyncio.timeout(5):
            await answering.asked.wait()
    finally:
        running.cancel()


async def test_what_a_template_cannot_say_fails_alone(desk: Desk, resources):
    someone = customer()
    await desk.note(someone.registered, transition(events.OrderConfirmed, new_id(), someone.user_id))
    async with resources.database.write() as session:
        await session.execute(
            text(
                "UPDATE notifications.notifications SET params = '{}'"
                " WHERE user_id = CAST(:id AS uuid) AND template = 'order_confirmed'"
            ),
            {"id": someone.user_id},
        )
    await desk.dispatch()
    assert {(row.template, row.status, row.reason) for row in await desk.rows(someone.user_id)} == {
        ("welcome", "sent", ""),
        ("order_confirmed", "failed", "not_rendered"),
    }


async def test_what_is_old_is_deleted_in_small_steps(desk: Desk, resources):
    someone = customer()
    ancient = [f"00000000-0000-7000-8000-{number:012d}" for number in range(25)]
    async with resources.database.write() as session:
        await session.execute(
            text(
                "INSERT INTO notifications.notifications (id, user_id, channel, template, cause_id, status, created_at,"
                " sent_at) SELECT CAST(i AS uuid), CAST(:user AS uuid), 'email', 'welcome', i, 'sent', :now, :now"
                " FROM unnest(CAST(:ids AS text[])) AS i"
            ),
            {"user": someone.user_id, "now": NOW, "ids": ancient},
        )
    assert len(await desk.rows(someone.user_id)) == 25
    await desk.note(someone.registered)
    desk.clock.advance(dt.datetime(1990, 6, 1, tzinfo=dt.UTC) - NOW)
    await Pruner(resources.database, desk.clock, kept=dt.timedelta(days=90), batch=10).prune()
    assert [row.template for row in await desk.rows(someone.user_id)] == ["welcome"]
    assert len(await desk.rows(someone.user_id)) == 1


async def test_a_changed_email_address_is_told_to_both_once(desk: Desk):
    someone = customer()
    changed = events.AccountChanged(user_id=someone.user_id, email="new." + someone.email, name="Ada", phone="")
    moved = desk.received(
        events.AccountEmailChanged(
            user_id=someone.user_id, name="Ada", previous_email=someone.email, email=changed.email
        )
    )
    await desk.note(someone.registered)
    await desk.dispatch()
    async with desk.resources.database.write() as session:
        off = {(Category.ACCOUNT, channel): False for channel in Channel}
        await NotificationRepository(session).save_preferences(someone.user_id, off, NOW)

    for _ in range(2):
        await desk.note(changed, moved)
        await desk.dispatch()

    assert [mail.subject for mail in desk.mails(someone.email)] == [
        "Your email address was changed",
        "Welcome to Surge",
    ]
    [told] = desk.mails(changed.email)
    assert changed.email in desk.mailbox.get(told.id).text
    assert changed.email not in desk.mailbox.get(desk.mails(someone.email)[0].id).text

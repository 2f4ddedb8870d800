"""Notifications on a real database, with a real SMTP server beside it."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from contracts import events
from contracts.envelope import Envelope, Message, seal
from contracts.orders import Address, OrderLine, OrderStatus, PaymentMethod, PaymentMethodType
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.clock import FixedClock
from kit.ids import new_id
from kit.kafka import Received, in_transaction
from kit.resources import Resources
from oltp.notifications import service
from oltp.notifications.channels import EmailSender, RecordingSender, Sender
from oltp.notifications.domain import Channel, Patience
from oltp.notifications.endpoints import router
from oltp.notifications.service import Dispatcher, NewsService
from oltp.notifications.settings import NotificationSettings
from stack.simulators.mailsink.mailbox import Mailbox, Summary
from stack.simulators.mailsink.server import smtp_server

NOW = dt.datetime(1990, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
"""Long ago, so that a running shop's dispatcher and this one never meet the same rows."""


@dataclass
class Desk:
    """Notifications with their clock in hand, and what they announced."""

    resources: Resources
    mailbox: Mailbox
    clock: FixedClock
    senders: dict[Channel, Sender]
    settings: NotificationSettings
    announced: list[Envelope] = field(default_factory=list)
    woken: int = 0

    def received(self, payload: Message, *, cause: str | None = None, at: dt.datetime | None = None) -> Received:
        """An event as the consumer hands it over."""
        subject = str(getattr(payload, "order_id", "") or getattr(payload, "user_id", ""))
        envelope = seal(
            payload,
            id=cause or new_id(),
            source="test",
            subject=subject,
            time=at or self.clock.now(),
            correlationid="followed",
        )
        return Received(envelope, payload, "events", 0, 0)

    async def note(self, *payloads: Message | Received) -> None:
        """Consumes a batch."""
        batch = [p if isinstance(p, Received) else self.received(p) for p in payloads]

        async def wake() -> None:
            self.woken += 1

        news = NewsService(self.clock, max_age=dt.timedelta(days=1), wake=wake)
        outcome = await in_transaction(self.resources.database, news.note)(batch)
        for afterwards in outcome.afterwards:
            await afterwards()

    def dispatcher(self, **options: Any) -> Dispatcher:
        return Dispatcher(
            self.resources.database,
            self.clock,
            self.senders,
            **{"patience": Patience(attempts=3), "batch": 100, **options},
        )

    async def dispatch(self, seconds: float = 0, **options: Any) -> int:
        """Lets time pass and sends what is due."""
        self.clock.advance(dt.timedelta(seconds=seconds))
        return await self.dispatcher(**options).round()

    async def rows(self, user_id: str) -> list[Any]:
        async with self.resources.database.read() as session:
            query = "SELECT * FROM notifications.notifications WHERE user_id = CAST(:id AS uuid) ORDER BY id"
            return list((await session.execute(text(query), {"id": user_id})).all())

    def mails(self, email: str) -> list[Summary]:
        return self.mailbox.page(to=email)


@dataclass(frozen=True)
class Customer:
    user_id: str
    email: str
    name: str = "Ada"
    phone: str = "+4712345678"

    @property
    def registered(self) -> events.AccountRegistered:
        return events.AccountRegistered(user_id=self.user_id, email=self.email, name=self.name, phone=self.phone)


def customer() -> Customer:
    user_id = new_id()
    return Customer(user_id, f"{user_id}@surge.example")


def created(order_id: str, user_id: str) -> events.OrderCreated:
    return events.OrderCreated(
        order_id=order_id,
        user_id=user_id,
        idempotency_key="k",
        request_hash="h",
        currency="USD",
        total_amount=2500,
        lines=[OrderLine(product_id=new_id(), sku="S", name="Blue mug", category="home", quantity=2, unit_price=1250)],
        shipping_address=Address(name="A", line1="1", city="Oslo", postal_code="1", country="NO"),
        payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="t"),
        queue_position=0,
        created_at=NOW,
    )


def transition(
    cls: type[events.OrderTransition], order_id: str, user_id: str, reason: str = ""
) -> events.OrderTransition:
    return cls(
        order_id=order_id,
        user_id=user_id,
        sequence=3,
        previous_status=OrderStatus.AWAITING_PAYMENT,
        status=OrderStatus.CONFIRMED,
        total_amount=2500,
        currency="USD",
        occurred_at=NOW,
        reason=reason,
    )


@pytest.fixture
async def desk(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    clock = FixedClock(NOW)
    here = replace(resources, clock=clock)
    publish = service.outbox.publish
    announced: list[Envelope] = []

    async def overheard(session: Any, envelopes: Sequence[Envelope]) -> None:
        await publish(session, envelopes)
        announced.extend(envelopes)

    monkeypatch.setattr(service.outbox, "publish", overheard)
    with Mailbox(":memory:", kept=10_000) as mailbox:
        async with smtp_server(mailbox, clock, host="127.0.0.1", port=0) as port:
            settings = NotificationSettings(smtp_host="127.0.0.1", smtp_port=port)
            email = EmailSender(settings, clock)
            senders: dict[Channel, Sender] = {
                Channel.EMAIL: email,
                Channel.SMS: RecordingSender(Channel.SMS, resources.database, clock),
                Channel.PUSH: RecordingSender(Channel.PUSH, resources.database, clock),
            }
            yield Desk(here, mailbox, clock, senders, settings, announced)
            await email.close()
    async with resources.database.write() as session:
        await session.execute(text("DELETE FROM notifications.notifications WHERE created_at < '1991-01-01'"))


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """The notification routes as the gateway serves them."""
    app = create_app(desk.resources.settings, title="Notifications", routers=[router])

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"resources": desk.resources}}, receive, send)

    transport = httpx.ASGITransport(app=with_state)
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://shop.test"))


def signed_in(resources: Resources, user_id: str, role: Role = Role.CUSTOMER) -> dict[str, str]:
    """The headers of someone who is signed in."""
    token = issue_access_token(resources.settings, Principal(user_id, role), dt.datetime.now(dt.UTC))
    return {"Authorization": f"Bearer {token}"}

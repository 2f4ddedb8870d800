"""What notifications do: note what is news, send it, and let customers choose."""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from jinja2 import TemplateError
from prometheus_client import Counter, Histogram

from contracts import events
from contracts.envelope import Envelope, Message, caused_id, registry, seal
from kit import outbox
from kit.clock import Clock
from kit.db import Database, WriteSession
from kit.kafka import Outcome, Received
from oltp.notifications import domain
from oltp.notifications.channels import Letter, Sender
from oltp.notifications.domain import (
    NO_ADDRESS,
    NOT_RENDERED,
    OPTED_OUT,
    Category,
    Channel,
    Patience,
    Preferences,
    Receipt,
    Status,
    Verdict,
)
from oltp.notifications.messages import Messages
from oltp.notifications.repository import (
    Contact,
    Draft,
    KnownOrder,
    Notification,
    NotificationFilter,
    NotificationRepository,
)

log = structlog.get_logger()

SOURCE: Final = "surge/notifications"
_RECIPIENT: Final = "recipient"

SETTLED: Final = Counter("surge_notifications_total", "Notifications that came to an end.", ["channel", "status"])
SECONDS: Final = Histogram(
    "surge_notification_seconds",
    "Time from noting an event to sending its message.",
    ["channel"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)


class NewsService:
    """Reads the events, keeps what messages need to know, and notes once per event and channel what is to be sent."""

    def __init__(self, clock: Clock, *, max_age: dt.timedelta, wake: Callable[[], Awaitable[None]]) -> None:
        self._clock = clock
        self._max_age = max_age
        self._wake = wake

    async def note(self, session: WriteSession, batch: Sequence[Received]) -> Outcome:
        """Applies a batch; the sending is left to the :class:`Dispatcher`, which is woken afterwards."""
        repository = NotificationRepository(session)
        now = self._clock.now()
        await repository.save_contacts(_contacts(batch))
        await repository.save_orders(_orders(batch), now)
        found = [
            (received.envelope, told)
            for received in batch
            if now - received.envelope.time < self._max_age
            for told in domain.news(received.payload)
        ]
        ownerless = {told.order_id for _, told in found if told.user_id is None and told.order_id is not None}
        owners = await repository.orders(ownerless) if ownerless else {}
        addressed: list[tuple[Envelope, domain.News, str | None]] = []
        for envelope, told in found:
            order = owners.get(told.order_id) if told.order_id is not None else None
            addressed.append((envelope, told, told.user_id or (order.user_id if order else None)))
        users = {user_id for _, _, user_id in addressed if user_id is not None}
        preferences = await repository.preferences(users) if users else {}
        drafts = [
            Draft(
                user_id=user_id,
                order_id=told.order_id,
                channel=channel,
                template=told.template,
                cause_id=_cause(envelope, told),
                correlation_id=envelope.correlationid,
                params=told.params if told.recipient is None else {**told.params, _RECIPIENT: told.recipient},
            )
            for envelope, told, user_id in addressed
            for channel in preferences.get(user_id or "", Preferences()).channels(told.template)
        ]
        noted = await repository.insert(drafts, now)
        return Outcome(afterwards=[self._wake] if noted else [])


class Dispatcher:
    """Sends what is noted, oldest first, in rounds; a task of the worker.

    A round leases its notifications, sends them, and stores the verdicts with their events. A round that is killed is
    repeated after its lease: at least once, with the same Message-ID (see :class:`channels.EmailSender`).
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        senders: Mapping[Channel, Sender],
        *,
        patience: Patience,
        batch: int = 200,
        lease: dt.timedelta = dt.timedelta(seconds=60),
        poll_seconds: float = 1.0,
    ) -> None:
        self._database = database
        self._clock = clock
        self._senders = senders
        self._messages = Messages()
        self._patience = patience
        self._batch = batch
        self._lease = lease
        self._poll_seconds = poll_seconds
        self._woken = asyncio.Event()
        self.name = "dispatcher"
        self.ready = True

    async def wake(self) -> None:
        """Has the next round start now."""
        self._woken.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        while True:
            self._woken.clear()
            if await self.round() == self._batch:
                continue
            try:
                async with asyncio.timeout(self._poll_seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def round(self) -> int:
        """Sends what is due, at most a batch; returns how many notifications were looked at."""
        async with self._database.write() as session:
            now = self._clock.now()
            claimed = await NotificationRepository(session).claim(now, until=now + self._lease, most=self._batch)
        if not claimed:
            return 0
        letters, verdicts = await self._prepare(claimed)
        answers = await asyncio.gather(*(self._send(channel, letters[channel]) for channel in letters))
        now = self._clock.now()
        for notification, user_id, receipt in (answer for channel in answers for answer in channel):
            verdict = domain.after_receipt(receipt, notification.attempts, now=now, patience=self._patience)
            verdicts[notification.id] = user_id, verdict
        await self._settle(claimed, verdicts, now)
        return len(claimed)

    async def _prepare(
        self, claimed: Sequence[Notification]
    ) -> tuple[dict[Channel, list[tuple[Notification, str | None, Letter]]], dict[str, tuple[str | None, Verdict]]]:
        """What can be sent, by channel, and the verdicts on what can't."""
        async with self._database.read() as session:
            repository = NotificationRepository(session)
            orders = await repository.orders({n.order_id for n in claimed if n.order_id is not None})
            owners = {n.id: n.user_id or _owner(orders, n.order_id) for n in claimed}
            users = {user_id for user_id in owners.values() if user_id is not None}
            contacts = await repository.contacts(users)
            preferences = await repository.preferences(users)
        letters: dict[Channel, list[tuple[Notification, str | None, Letter]]] = {}
        verdicts: dict[str, tuple[str | None, Verdict]] = {}
        now = self._clock.now()
        for notification in claimed:
            user_id = owners[notification.id]
            contact = contacts.get(user_id) if user_id is not None else _stranger(notification)
            if contact is None:
                verdict = domain.without_recipient(
                    notification.created_at, notification.attempts, now=now, patience=self._patience
                )
                verdicts[notification.id] = user_id, verdict
                continue
            address = notification.params.get(_RECIPIENT) or _address(contact, notification.channel)
            if not preferences.get(user_id or "", Preferences()).allow(notification.template, notification.channel):
                verdicts[notification.id] = user_id, Verdict(Status.SKIPPED, notification.attempts, OPTED_OUT)
            elif not address:
                verdicts[notification.id] = user_id, Verdict(Status.SKIPPED, notification.attempts, NO_ADDRESS)
            else:
                values = _values(notification, contact, orders.get(notification.order_id or ""))
                try:
                    content = self._messages.render(notification.template, values)
                except TemplateError as error:
                    log.error("notification.not_rendered", notification=notification.id, exc_info=error)
                    verdicts[notification.id] = user_id, Verdict(Status.FAILED, notification.attempts, NOT_RENDERED)
                    continue
                letter = Letter(notification.id, address, contact.name, content)
                letters.setdefault(notification.channel, []).append((notification, user_id, letter))
        return letters, verdicts

    async def _send(
        self, channel: Channel, batch: Sequence[tuple[Notification, str | None, Letter]]
    ) -> list[tuple[Notification, str | None, Receipt]]:
        receipts = await self._senders[channel].send([letter for _, _, letter in batch])
        return [(n, user_id, receipt) for (n, user_id, _), receipt in zip(batch, receipts, strict=True)]

    async def _settle(
        self,
        claimed: Sequence[Notification],
        verdicts: Mapping[str, tuple[str | None, Verdict]],
        now: dt.datetime,
    ) -> None:
        messages = [
            _announcement(notification, user_id or "", verdict, now)
            for notification in claimed
            for user_id, verdict in [verdicts[notification.id]]
            if verdict.status in (Status.SENT, Status.FAILED)
        ]
        async with self._database.write() as session:
            await NotificationRepository(session).settle(verdicts, now)
            await outbox.publish(session, messages)
        for notification in claimed:
            _, verdict = verdicts[notification.id]
            if verdict.status is not Status.PENDING:
                SETTLED.labels(notification.channel, verdict.status).inc()
            if verdict.status is Status.SENT:
                SECONDS.labels(notification.channel).observe((now - notification.created_at).total_seconds())


class Pruner:
    """Deletes what is older than it is kept, in small transactions."""

    def __init__(self, database: Database, clock: Clock, *, kept: dt.timedelta, batch: int = 5000) -> None:
        self._database = database
        self._clock = clock
        self._kept = kept
        self._batch = batch

    async def prune(self) -> None:
        """Deletes until nothing is too old."""
        while True:
            async with self._database.write() as session:
                gone = await NotificationRepository(session).prune(self._clock.now() - self._kept, self._batch)
            if gone < self._batch:
                return


class PreferenceService:
    """What a customer wants to be told, and how."""

    def __init__(self, repository: NotificationRepository, clock: Clock) -> None:
        self._repository = repository
        self._clock = clock

    async def get(self, user_id: str) -> Preferences:
        """A customer's preferences."""
        return (await self._repository.preferences([user_id]))[user_id]

    async def put(self, user_id: str, switched: Mapping[tuple[Category, Channel], bool]) -> Preferences:
        """Replaces a customer's preferences; what is on its way already is stopped by them too."""
        await self._repository.save_preferences(user_id, switched, self._clock.now())
        return Preferences(switched)


class NotificationService:
    """What admins see."""

    def __init__(self, repository: NotificationRepository) -> None:
        self._repository = repository

    async def page(self, narrowed: NotificationFilter, limit: int) -> tuple[list[Notification], str | None]:
        """One page, and the id after which the next one starts."""
        rows = await self._repository.page(narrowed, limit + 1)
        more = len(rows) > limit
        return rows[:limit], rows[limit - 1].id if more else None


def _contacts(batch: Sequence[Received]) -> list[Contact]:
    newest: dict[str, Contact] = {}
    for received in batch:
        event, time = received.payload, received.envelope.time
        if isinstance(event, events.AccountRegistered | events.AccountChanged):
            known = newest.get(event.user_id)
            if known is None or known.as_of <= time:
                newest[event.user_id] = Contact(event.user_id, event.email, event.name, event.phone, time)
    return list(newest.values())


def _orders(batch: Sequence[Received]) -> list[KnownOrder]:
    known: dict[str, KnownOrder] = {}
    for received in batch:
        match received.payload:
            case events.OrderCreated(order_id=order_id, user_id=user_id, lines=lines):
                order = known.setdefault(order_id, KnownOrder(order_id))
                order.user_id, order.lines = user_id, lines
            case events.OrderCancelled(order_id=order_id, user_id=user_id):
                known.setdefault(order_id, KnownOrder(order_id)).user_id = user_id
            case events.ShipmentCreated(order_id=order_id, parcels=parcels):
                known.setdefault(order_id, KnownOrder(order_id)).parcels = parcels
    return list(known.values())


def _cause(envelope: Envelope, told: domain.News) -> str:
    return caused_id(envelope.id, told.template, told.part) if told.part else envelope.id


def _owner(orders: Mapping[str, KnownOrder], order_id: str | None) -> str | None:
    order = orders.get(order_id) if order_id is not None else None
    return order.user_id if order else None


def _stranger(notification: Notification) -> Contact | None:
    """The recipient of what is for an address and no customer; None if there is a customer, not known yet."""
    address = notification.params.get(_RECIPIENT) if notification.order_id is None else None
    return Contact("", address, "operators", "", notification.created_at) if address else None


def _address(contact: Contact, channel: Channel) -> str:
    match channel:
        case Channel.EMAIL:
            return contact.email
        case Channel.SMS:
            return contact.phone
        case Channel.PUSH:
            return contact.user_id


def _values(notification: Notification, contact: Contact, order: KnownOrder | None) -> dict[str, Any]:
    return {
        "name": contact.name,
        "order_id": notification.order_id,
        "lines": (order.lines if order else None) or [],
        "parcels": (order.parcels if order else None) or [],
        **notification.params,
    }


def _announcement(notification: Notification, user_id: str, verdict: Verdict, now: dt.datetime) -> Envelope:
    told = {
        "notification_id": notification.id,
        "user_id": user_id,
        "channel": notification.channel.value,
        "template": notification.template.value,
        "cause_id": notification.cause_id,
    }
    payload: Message = (
        events.NotificationSent(**told)
        if verdict.status is Status.SENT
        else events.NotificationFailed(**told, reason=verdict.reason)
    )
    return seal(
        payload,
        id=caused_id(notification.id, registry.name_of(type(payload))),
        source=SOURCE,
        subject=notification.order_id or user_id or notification.id,
        time=now,
        correlationid=notification.correlation_id,
        causationid=notification.cause_id,
    )

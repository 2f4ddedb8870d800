"""What is news to a customer, over which channels, and what becomes of a try to send it. Pure."""

import datetime as dt
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from contracts import events
from contracts.envelope import Message


class Channel(enum.StrEnum):
    """How a customer is told."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"


class Category(enum.StrEnum):
    """What customers switch on and off."""

    ACCOUNT = "account"
    ORDERS = "orders"
    SHIPPING = "shipping"


class Template(enum.StrEnum):
    """What a message says; each has its files under ``templates/``."""

    WELCOME = "welcome"
    ORDER_CONFIRMED = "order_confirmed"
    ORDER_CANCELLED = "order_cancelled"
    CANCELLATION_REFUSED = "cancellation_refused"
    PAYMENT_REFUNDED = "payment_refunded"
    ORDER_SHIPPED = "order_shipped"
    ORDER_DELIVERED = "order_delivered"
    SHIPMENT_DELAYED = "shipment_delayed"
    EMAIL_CHANGED = "email_changed"
    EMAIL_LEFT = "email_left"
    ALERT = "alert"

    @property
    def mandatory(self) -> bool:
        """Whether it comes by email whatever was switched: it tells of a change to who may sign in, or an operator."""
        return self in (Template.EMAIL_CHANGED, Template.EMAIL_LEFT, Template.ALERT)

    @property
    def category(self) -> Category:
        """What it falls under."""
        return _CATEGORIES[self]


_CATEGORIES: Final[Mapping[Template, Category]] = {
    Template.WELCOME: Category.ACCOUNT,
    Template.ORDER_CONFIRMED: Category.ORDERS,
    Template.ORDER_CANCELLED: Category.ORDERS,
    Template.CANCELLATION_REFUSED: Category.ORDERS,
    Template.PAYMENT_REFUNDED: Category.ORDERS,
    Template.ORDER_SHIPPED: Category.SHIPPING,
    Template.ORDER_DELIVERED: Category.SHIPPING,
    Template.SHIPMENT_DELAYED: Category.SHIPPING,
    Template.EMAIL_CHANGED: Category.ACCOUNT,
    Template.EMAIL_LEFT: Category.ACCOUNT,
    Template.ALERT: Category.ACCOUNT,
}


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a customer has switched; the rest is as :meth:`wants` says by itself.

    By default everything comes by email, and shipping also by push. An SMS has to be asked for.
    """

    switched: Mapping[tuple[Category, Channel], bool] = field(default_factory=dict)

    def wants(self, category: Category, channel: Channel) -> bool:
        """Whether the customer is told of this category over this channel."""
        by_default = channel is Channel.EMAIL or (channel is Channel.PUSH and category is Category.SHIPPING)
        return self.switched.get((category, channel), by_default)

    def allow(self, template: Template, channel: Channel) -> bool:
        """Whether the customer gets this message over this channel."""
        return channel is Channel.EMAIL if template.mandatory else self.wants(template.category, channel)

    def channels(self, template: Template) -> tuple[Channel, ...]:
        """The channels over which the customer gets a message."""
        return tuple(channel for channel in Channel if self.allow(template, channel))


@dataclass(frozen=True, slots=True)
class News:
    """Something that a customer is told. ``user_id`` is None where the event does not say whose order it is.

    An email goes to ``recipient``, where that is not None, instead of the customer's present address; without a
    customer and an order, the recipient is nobody but that address. ``part`` tells apart the messages that one event
    leads to.
    """

    template: Template
    user_id: str | None
    order_id: str | None
    params: Mapping[str, object]
    recipient: str | None = None
    part: str = ""


def news(event: Message) -> tuple[News, ...]:
    """What an event is to a customer: nothing, one message, or several, each of its own template."""
    if isinstance(event, events.AccountEmailChanged):
        return (
            News(Template.EMAIL_CHANGED, event.user_id, None, {"email": event.email}, recipient=event.email),
            News(Template.EMAIL_LEFT, event.user_id, None, {}, recipient=event.previous_email, part="previous"),
        )
    told = _one(event)
    return (told,) if told is not None else ()


def _one(event: Message) -> News | None:
    match event:
        case events.AlertRaised():
            found = {"title": event.title, "details": event.details, "link": event.link}
            return News(Template.ALERT, None, None, found, recipient=event.recipient)
        case events.AccountRegistered():
            return News(Template.WELCOME, event.user_id, None, {})
        case events.OrderTransition():
            template = _OF_TRANSITIONS.get(type(event))
            if template is None:
                return None
            params = {"amount": event.total_amount, "currency": event.currency, "reason": event.reason}
            return News(template, event.user_id, event.order_id, params)
        case events.PaymentRefunded():
            params = {"amount": event.amount, "currency": event.currency}
            return News(Template.PAYMENT_REFUNDED, None, event.order_id, params)
        case events.ShipmentMoved(status="delayed"):
            delayed = {"estimated_delivery": event.estimated_delivery.isoformat()}
            return News(Template.SHIPMENT_DELAYED, event.user_id, event.order_id, delayed)
    return None


_OF_TRANSITIONS: Final[Mapping[type[Message], Template]] = {
    events.OrderConfirmed: Template.ORDER_CONFIRMED,
    events.OrderCancelled: Template.ORDER_CANCELLED,
    events.OrderCancellationRefused: Template.CANCELLATION_REFUSED,
    events.OrderShipped: Template.ORDER_SHIPPED,
    events.OrderDelivered: Template.ORDER_DELIVERED,
}


class Status(enum.StrEnum):
    """Where a notification stands. Only ``pending`` is looked at again."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    SKIPPED = "skipped"


class Result(enum.StrEnum):
    """What a channel answers.

    ``rejected`` is for good, ``deferred`` for now. ``unreachable``: nobody answered, which says nothing about this
    message; whether it went out may be unknown.
    """

    SENT = "sent"
    REJECTED = "rejected"
    DEFERRED = "deferred"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Receipt:
    """A channel's answer, and why."""

    result: Result
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a notification becomes. ``attempts`` counts the answers of the channel."""

    status: Status
    attempts: int
    reason: str = ""
    next_attempt_at: dt.datetime | None = None


UNKNOWN_RECIPIENT: Final = "unknown_recipient"
OPTED_OUT: Final = "opted_out"
NO_ADDRESS: Final = "no_address"
NOT_RENDERED: Final = "not_rendered"

_FIRST_RETRY: Final = dt.timedelta(seconds=2)
_LONGEST_RETRY: Final = dt.timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a notification is kept trying.

    Args:
        attempts: Answers of the channel until it has failed.
        grace: How long its recipient may stay unknown: contacts and orders come over other topics, maybe later.
        pause: How long it rests after nobody answered.
    """

    attempts: int = 8
    grace: dt.timedelta = dt.timedelta(seconds=60)
    pause: dt.timedelta = dt.timedelta(seconds=5)


def after_receipt(receipt: Receipt, attempts: int, *, now: dt.datetime, patience: Patience) -> Verdict:
    """What a notification becomes that was tried ``attempts`` times before, by the channel's answer."""
    match receipt.result:
        case Result.SENT:
            return Verdict(Status.SENT, attempts + 1)
        case Result.REJECTED:
            return Verdict(Status.FAILED, attempts + 1, receipt.reason)
        case Result.UNREACHABLE:
            return Verdict(Status.PENDING, attempts, receipt.reason, now + patience.pause)
        case Result.DEFERRED:
            if attempts + 1 >= patience.attempts:
                return Verdict(Status.FAILED, attempts + 1, receipt.reason)
            wait = min(_FIRST_RETRY * 2**attempts, _LONGEST_RETRY)
            return Verdict(Status.PENDING, attempts + 1, receipt.reason, now + wait)


def without_recipient(created_at: dt.datetime, attempts: int, *, now: dt.datetime, patience: Patience) -> Verdict:
    """What a notification becomes whose recipient is not known (yet): it waits, then it is skipped for good."""
    waited = now - created_at
    if waited >= patience.grace:
        return Verdict(Status.SKIPPED, attempts, UNKNOWN_RECIPIENT)
    return Verdict(Status.PENDING, attempts, UNKNOWN_RECIPIENT, now + max(waited, dt.timedelta(seconds=0.5)))

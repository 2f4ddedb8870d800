"""What visitors do before they buy: events that are no orders, and may be lost.

They travel on ``storefront-events`` as plain JSON without an envelope, a member for each column of the warehouse's
``raw.storefront_events``, so that a sink copies them as they are. Nobody decides anything by them.
"""

import datetime as dt
import enum
from collections.abc import Iterable
from decimal import Decimal
from typing import Final, Protocol

import msgspec

_EXPONENT: Final = -2


class StorefrontKind(enum.StrEnum):
    """What a visitor did."""

    PRODUCT_VIEW = "product_view"
    SEARCH = "search"
    CART_ADD = "cart_add"
    CART_REMOVE = "cart_remove"
    CHECKOUT_START = "checkout_start"
    ORDER_PLACED = "order_placed"


class StorefrontEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a visitor did.

    ``event_id`` is a UUIDv7 that stays the same when the event is sent again. ``session_id`` is the visit, and the
    message's key; ``user_id`` is there once the visitor is signed in. ``query`` is what was searched for; ``results``
    is how much a search found, and how many lines a cart holds after the change. ``price`` is of one unit in major
    units of the shop's currency. ``device`` is ``desktop``, ``mobile``, ``tablet`` or ``other``; ``referrer`` the host
    that the visitor came from, or empty. ``experiment`` and ``variant`` say what the visitor was shown.
    """

    event_id: str
    kind: StorefrontKind
    session_id: str
    occurred_at: dt.datetime
    user_id: str | None = None
    product_id: str | None = None
    order_id: str | None = None
    query: str | None = None
    results: int | None = None
    quantity: int | None = None
    price: Decimal | None = None
    device: str = "other"
    referrer: str = ""
    experiment: str | None = None
    variant: str | None = None


_encoder: Final = msgspec.json.Encoder(decimal_format="number")
_decoder: Final = msgspec.json.Decoder(StorefrontEvent)


def encode(event: StorefrontEvent) -> bytes:
    """The message's bytes."""
    return _encoder.encode(event)


def decode(value: bytes) -> StorefrontEvent:
    """The event in a message's bytes.

    Raises:
        msgspec.DecodeError: if it is none.
    """
    return _decoder.decode(value)


def major_units(amount: int) -> Decimal:
    """An amount of minor units (hundredths) as the events carry it."""
    return Decimal(amount).scaleb(_EXPONENT)


class Visit(Protocol):
    """One request of a visitor, as far as it can be attributed to one."""

    def note(
        self,
        kind: StorefrontKind,
        *,
        product_id: str | None = None,
        order_id: str | None = None,
        query: str | None = None,
        results: int | None = None,
        quantity: int | None = None,
        unit_price: int | None = None,
    ) -> None:
        """Notes what the visitor did just now; never waits, never fails. ``unit_price`` is in minor units."""
        ...


class Visits(Protocol):
    """Tells visits; implemented by the storefront, handed to its users where the gateway is put together.

    In handlers: ``request.state.visits``.
    """

    def of(self, headers: Iterable[tuple[bytes, bytes]], *, user_id: str | None = None) -> Visit:
        """The visit that a request belongs to, by its raw headers. ``user_id``: who is known to ask."""
        ...

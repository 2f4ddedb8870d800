"""What counts, and in which windows: pure functions of events.

A *fact* is what one event says: when it happened, what it counts as, how much money it is about. Windows are sums of
facts, and a fact counts once by its id, so neither the order nor the repetition of events changes a window.
Who has a cart or is at the checkout follows from the latest moments at which it was opened and closed: a maximum, of
which the same holds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from contracts.orders import CancelReason
from contracts.storefront import StorefrontKind

RETENTION_SECONDS: Final = 86_400
"""How long windows are kept after their end, and how far back the log is read to rebuild them."""

AHEAD_SECONDS: Final = 300
"""How far in the future an event may lie, for clocks that differ, before it counts as out of range."""

LATE_SECONDS: Final = 2
"""An event that is counted longer after its second was over counts as late besides."""

CART_IDLE_SECONDS: Final = 1800
CHECKOUT_IDLE_SECONDS: Final = 900
"""After so long without a sign of its visitor, a cart, a checkout, is given up."""


class Window(IntEnum):
    """A window's length in seconds; windows begin at multiples of it."""

    SECOND = 1
    MINUTE = 60
    FIVE_MINUTES = 300

    def start(self, second: int) -> int:
        """The beginning of the window that a second lies in (Unix time)."""
        return second - second % self

    @property
    def label(self) -> str:
        """As the API names it."""
        return {1: "1s", 60: "1m", 300: "5m"}[self]


class Fact(NamedTuple):
    """One event that counts. ``id`` is eight bytes; ``second`` is Unix time.

    ``name`` is a window's field that grows by one; what stands before its colon, if anything, grows too. ``amount`` is
    in minor units and is added to the field's amount.
    """

    id: bytes
    second: int
    name: str
    amount: int = 0


ORDERS: Final = "orders"
CONFIRMED: Final = "confirmed"
CANCELLED: Final = "cancelled"
SHIPPED: Final = "shipped"
DELIVERED: Final = "delivered"
ERRORS: Final = "errors"
DEAD_LETTERS: Final = f"{ERRORS}:dead_letters"
HTTP_ERRORS: Final = f"{ERRORS}:http"

AMOUNTS: Final[Mapping[str, str]] = {ORDERS: "revenue", CONFIRMED: "paid"}
"""Field that counts → field that sums what those are worth."""

OF_ORDER: Final[Mapping[str, str]] = {
    "order.created": ORDERS,
    "order.confirmed": CONFIRMED,
    "order.cancelled": CANCELLED,
    "order.shipped": SHIPPED,
    "order.delivered": DELIVERED,
}
"""Type of an order's event → field."""

OF_VISIT: Final[Mapping[StorefrontKind, str]] = {
    StorefrontKind.PRODUCT_VIEW: "views",
    StorefrontKind.SEARCH: "searches",
    StorefrontKind.CART_ADD: "cart_adds",
    StorefrontKind.CART_REMOVE: "cart_removes",
    StorefrontKind.CHECKOUT_START: "checkouts",
    StorefrontKind.ORDER_PLACED: "placed",
}
"""Kind of a visitor's event → field."""

VISIT_FIELDS: Final = frozenset(OF_VISIT.values())

PAYMENT_FAILURES: Final = frozenset({CancelReason.PAYMENT_FAILED, CancelReason.PAYMENT_TIMEOUT})


def identity(message_id: str) -> bytes:
    """Eight bytes of a message's id, from the end of the UUID that is random in every version of it."""
    return bytes.fromhex(message_id[19:23] + message_id[24:36])


def place(partition: int, offset: int) -> bytes:
    """The id of a message that has none but its place in a topic."""
    return (partition << 48 | offset).to_bytes(8)


def in_range(second: int, now: int) -> bool:
    """Whether a window of that second is kept at all."""
    return now - RETENTION_SECONDS < second <= now + AHEAD_SECONDS


def fields(fact: Fact) -> dict[str, int]:
    """What a fact adds to each window that it lies in."""
    whole = fact.name.partition(":")[0]
    added = {fact.name: 1, whole: 1}
    if worth := AMOUNTS.get(whole):
        added[worth] = fact.amount
    return added


def counted(facts: Iterable[Fact], window: Window) -> dict[int, dict[str, int]]:
    """The windows of facts by their beginning: what Redis holds once it was told of them, in whatever order."""
    windows: dict[int, dict[str, int]] = {}
    seen: set[tuple[bytes, int, str]] = set()
    for fact in facts:
        if (key := (fact.id, fact.second, fact.name)) in seen:
            continue
        seen.add(key)
        sums = windows.setdefault(window.start(fact.second), {})
        for name, by in fields(fact).items():
            sums[name] = sums.get(name, 0) + by
    return windows


class Touch(NamedTuple):
    """The latest moments (Unix time, ms) at which somebody's cart or checkout was opened and closed; 0: never."""

    opened: int = 0
    closed: int = 0

    def then(self, other: "Touch") -> "Touch":
        """Both."""
        return Touch(max(self.opened, other.opened), max(self.closed, other.closed))

    def is_open(self, now_ms: int, idle_seconds: int) -> bool:
        """Whether it counts at a moment."""
        return self.opened > self.closed and self.opened > now_ms - idle_seconds * 1000


@dataclass(slots=True)
class Tidings:
    """What a batch of messages says: facts, carts by owner, checkouts by session, and how many were out of range."""

    facts: list[Fact] = field(default_factory=list)
    carts: dict[str, Touch] = field(default_factory=dict)
    checkouts: dict[str, Touch] = field(default_factory=dict)
    out_of_range: int = 0

    def add(self, fact: Fact, now: int) -> None:
        """Takes a fact, unless no window of its second is kept."""
        if in_range(fact.second, now):
            self.facts.append(fact)
        else:
            self.out_of_range += 1

    def visit(self, kind: StorefrontKind, session_id: str, user_id: str | None, at_ms: int, lines: int | None) -> None:
        """Takes what a visitor did as far as carts and checkouts go; ``lines``: what the cart holds now, if known."""
        owner = user_id or session_id
        if kind is StorefrontKind.CART_ADD or (kind is StorefrontKind.CART_REMOVE and lines != 0):
            _touch(self.carts, owner, Touch(opened=at_ms))
        elif kind is StorefrontKind.CART_REMOVE:
            _touch(self.carts, owner, Touch(closed=at_ms))
        elif kind is StorefrontKind.CHECKOUT_START:
            _touch(self.checkouts, session_id, Touch(opened=at_ms))
        elif kind is StorefrontKind.ORDER_PLACED:
            _touch(self.carts, owner, Touch(closed=at_ms))
            _touch(self.checkouts, session_id, Touch(closed=at_ms))


def _touch(touches: dict[str, Touch], who: str, touch: Touch) -> None:
    known = touches.get(who)
    touches[who] = touch if known is None else known.then(touch)


@dataclass(frozen=True, slots=True)
class Point:
    """One window. Counts and sums as they stand; gauges are the highest of its samples, None if there was none.

    Money is in minor units: ``revenue`` of the orders placed, ``paid`` of those confirmed.
    """

    start: int
    seconds: int
    orders: int = 0
    revenue: int = 0
    confirmed: int = 0
    paid: int = 0
    cancelled: int = 0
    cancelled_by_reason: Mapping[str, int] = field(default_factory=dict)
    shipped: int = 0
    delivered: int = 0
    views: int = 0
    searches: int = 0
    cart_adds: int = 0
    cart_removes: int = 0
    checkouts: int = 0
    placed: int = 0
    errors: int = 0
    errors_by_kind: Mapping[str, int] = field(default_factory=dict)
    active_carts: int | None = None
    checkout_sessions: int | None = None
    lag: int | None = None
    lag_by_group: Mapping[str, int] = field(default_factory=dict)

    @property
    def payment_success_rate(self) -> float | None:
        """Part of the payments concluded in the window that succeeded; None if none was."""
        failed = sum(self.cancelled_by_reason.get(reason, 0) for reason in PAYMENT_FAILURES)
        return self.confirmed / (self.confirmed + failed) if self.confirmed + failed else None

    @property
    def orders_per_second(self) -> float:
        """The mean over the window."""
        return self.orders / self.seconds


_PLAIN: Final = (
    ORDERS,
    "revenue",
    CONFIRMED,
    "paid",
    CANCELLED,
    SHIPPED,
    DELIVERED,
    *sorted(VISIT_FIELDS),
    ERRORS,
)
ACTIVE_CARTS: Final = "active_carts"
CHECKOUT_SESSIONS: Final = "checkout_sessions"
LAG: Final = "lag"


def point(start: int, window: Window, stored: Mapping[str, str]) -> Point:
    """A window as Redis holds it; an empty hash is a window in which nothing happened."""

    def parts(of: str) -> dict[str, int]:
        prefix = f"{of}:"
        return {name[len(prefix) :]: int(value) for name, value in stored.items() if name.startswith(prefix)}

    def gauge(name: str) -> int | None:
        return int(stored[name]) if name in stored else None

    return Point(
        start=start,
        seconds=int(window),
        **{name: int(stored.get(name, 0)) for name in _PLAIN},
        cancelled_by_reason=parts(CANCELLED),
        errors_by_kind=parts(ERRORS),
        active_carts=gauge(ACTIVE_CARTS),
        checkout_sessions=gauge(CHECKOUT_SESSIONS),
        lag=gauge(LAG),
        lag_by_group=parts(LAG),
    )

"""Holds what customers were told against the books. Pure: a history and the books in, violations out.

It believes the customers: an order that was accepted must be there, a key has one order and one answer, a cancelled
order costs nothing, a status never goes back. What the shop's stores say of each other is the audit's business.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from contracts.orders import OrderStatus
from stack.chaos.history import Act, Entry, Outcome

RULES: Final[Mapping[str, str]] = {
    "lost": "an accepted order is in the books, and is the customer's whose key it has",
    "unfinished": "an accepted order has come to its end, or its parcel is on its way",
    "not-found": "an accepted order is never denied",
    "two-orders": "one key has one order, in the answers and in the books",
    "two-answers": "one key has one answer, byte for byte",
    "denied": "a customer who was told no has no order",
    "uncancelled": "an order that was said to be cancelled is, and its money is back",
    "cancelled-anyway": "an order whose cancellation was refused is not cancelled",
    "wrong-order": "an order holds what its answer said, at that price",
    "went-back": "no customer sees an order's status go back",
    "charge": "a living order is charged once and whole, a cancelled one not at all",
    "declined": "an order whose payment is declined is cancelled",
    "stock": "the stock went down by what the living orders hold, to the unit",
    "dead-letters": "no message was given up on",
}

LIVING: Final = frozenset({OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED})
SETTLED: Final = LIVING | {OrderStatus.CANCELLED}
"""Where an order may stand when the shop has settled."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule of :data:`RULES` that does not hold for an order (or key, or product)."""

    rule: str
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.subject}: {self.what}"


@dataclass(frozen=True, slots=True)
class Order:
    """An order as the books have it. Money is in minor units; ``charges`` counts the calls that took money."""

    order_id: str
    user: str
    key: str
    status: str
    sequence: int
    total: int
    captured: int
    refunded: int
    charges: int
    items: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Books:
    """The books after the run. ``stock`` is units of each product that can be bought, before and after."""

    orders: Mapping[str, Order]
    stock_before: Mapping[str, int] = field(default_factory=dict)
    stock_after: Mapping[str, int] = field(default_factory=dict)
    dead_letters: int = 0


def check(history: Iterable[Entry], books: Books) -> list[Violation]:
    """Every violation of every rule, by rule."""
    entries = list(history)
    found = [
        *_accepted(entries, books),
        *_keys(entries, books),
        *_cancellations(entries, books),
        *_sightings(entries, books),
        *_money(books),
        *_stock(books),
    ]
    if books.dead_letters:
        found.append(Violation("dead-letters", "dead-letters", f"{books.dead_letters} messages"))
    order = list(RULES)
    return sorted(set(found), key=lambda violation: (order.index(violation.rule), violation.subject, violation.what))


def _accepted(entries: list[Entry], books: Books) -> Iterator[Violation]:
    for entry in entries:
        if entry.outcome is Outcome.NOT_FOUND:
            yield Violation("not-found", entry.order, f"{entry.act} at {entry.at:.1f} s")
        if entry.outcome is not Outcome.ACCEPTED:
            continue
        order = books.orders.get(entry.order)
        if order is None:
            yield Violation("lost", entry.order, f"accepted at {entry.at:.1f} s under key {entry.key}")
            continue
        if (order.user, order.key) != (entry.user, entry.key):
            yield Violation("lost", entry.order, f"it is customer {order.user}'s, under key {order.key}")
        if order.status not in SETTLED:
            yield Violation("unfinished", entry.order, f"is still {order.status}")
        if entry.declined and order.status != OrderStatus.CANCELLED:
            yield Violation("declined", entry.order, f"is {order.status}")
        yield from _as_answered(entry, order)


def _as_answered(entry: Entry, order: Order) -> Iterator[Violation]:
    if not entry.answer:
        return
    answer = json.loads(entry.answer)
    items = {item["product_id"]: item["quantity"] for item in answer["items"]}
    if items != dict(order.items):
        yield Violation("wrong-order", entry.order, f"answered {items}, booked {dict(order.items)}")
    if answer["total_amount"] != order.total:
        yield Violation("wrong-order", entry.order, f"answered {answer['total_amount']}, booked {order.total}")


def _keys(entries: list[Entry], books: Books) -> Iterator[Violation]:
    booked: dict[tuple[str, str], list[str]] = defaultdict(list)
    for order in books.orders.values():
        booked[order.user, order.key].append(order.order_id)
    for (_, key), orders in booked.items():
        if len(orders) > 1:
            yield Violation("two-orders", key, f"booked {', '.join(sorted(orders))}")
    told: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.act in (Act.CHECKOUT, Act.REPEAT):
            told[entry.user, entry.key].append(entry)
    for (user, key), asked in told.items():
        orders = sorted({entry.order for entry in asked if entry.outcome is Outcome.ACCEPTED})
        if len(orders) > 1:
            yield Violation("two-orders", key, f"answered {', '.join(orders)}")
        elif len({entry.answer for entry in asked if entry.outcome is Outcome.ACCEPTED}) > 1:
            yield Violation("two-answers", key, f"of order {orders[0]}")
        last = max(asked, key=lambda entry: entry.at)
        if last.outcome is Outcome.REFUSED and (user, key) in booked:
            yield Violation("denied", key, f"{last.detail} at {last.at:.1f} s, but has {booked[user, key][0]}")


def _cancellations(entries: list[Entry], books: Books) -> Iterator[Violation]:
    for entry in entries:
        order = books.orders.get(entry.order)
        if entry.act is not Act.CANCEL or order is None:
            continue
        if entry.outcome is Outcome.CANCELLED:
            if order.status != OrderStatus.CANCELLED:
                yield Violation("uncancelled", entry.order, f"is {order.status}")
            elif order.captured != order.refunded:
                yield Violation("uncancelled", entry.order, f"captured {order.captured}, refunded {order.refunded}")
        elif entry.outcome is Outcome.REFUSED and order.status == OrderStatus.CANCELLED:
            yield Violation("cancelled-anyway", entry.order, f"refused at {entry.at:.1f} s: {entry.detail}")


def _sightings(entries: list[Entry], books: Books) -> Iterator[Violation]:
    """Whoever began to look after another look had ended sees no less; one connection tells no step twice."""
    seen: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.status:
            seen[entry.user, entry.order].append(entry)
    for (_, order_id), looks in seen.items():
        latest: Entry | None = None
        told: dict[int, int] = {}
        for entry in sorted(looks, key=lambda look: look.at):
            if entry.act is Act.NEWS:
                if entry.sequence <= told.get(entry.connection, 0):
                    yield _went_back(order_id, told[entry.connection], entry)
                told[entry.connection] = entry.sequence
                continue
            if latest is not None and entry.began >= latest.at and entry.sequence < latest.sequence:
                yield _went_back(order_id, latest.sequence, entry)
            if latest is None or entry.sequence >= latest.sequence:
                latest = entry
        order = books.orders.get(order_id)
        last = max(looks, key=lambda look: look.sequence)
        if order is not None and last.sequence > order.sequence:
            yield Violation("went-back", order_id, f"was seen at step {last.sequence}, is booked at {order.sequence}")


def _went_back(order_id: str, before: int, entry: Entry) -> Violation:
    what = f"step {before}, then {entry.sequence} ({entry.status}) by {entry.act} at {entry.at:.1f} s"
    return Violation("went-back", order_id, what)


def _money(books: Books) -> Iterator[Violation]:
    for order in books.orders.values():
        kept = order.captured - order.refunded
        wanted = order.total if order.status in LIVING else 0
        if order.status in SETTLED and kept != wanted:
            what = f"{order.status}: total {order.total}, captured {order.captured}, refunded {order.refunded}"
            yield Violation("charge", order.order_id, what)
        if order.charges > 1:
            yield Violation("charge", order.order_id, f"charged by {order.charges} calls")


def _stock(books: Books) -> Iterator[Violation]:
    held: Counter[str] = Counter()
    for order in books.orders.values():
        if order.status != OrderStatus.CANCELLED:
            held.update(order.items)
    for product in sorted({*books.stock_before, *books.stock_after}):
        wanted = books.stock_before.get(product, 0) - held[product]
        if books.stock_after.get(product, 0) != wanted:
            yield Violation("stock", product, f"{books.stock_after.get(product, 0)} units left, not {wanted}")

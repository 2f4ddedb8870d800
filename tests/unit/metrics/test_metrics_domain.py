"""Windows are sums of what happened when it happened, whatever the log makes of its order."""

import datetime as dt
import random
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from contracts import topics
from contracts.envelope import encode, seal
from contracts.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderProcessing
from contracts.orders import Address, OrderStatus, PaymentMethod, PaymentMethodType
from contracts.storefront import StorefrontEvent, StorefrontKind
from contracts.storefront import encode as encode_visit
from kit.ids import new_id
from oltp.metrics.consumer import tidings_of
from oltp.metrics.domain import (
    AHEAD_SECONDS,
    RETENTION_SECONDS,
    Fact,
    Tidings,
    Touch,
    Window,
    counted,
    identity,
    point,
)

NOW = 1_800_000_000
AT = dt.datetime.fromtimestamp(NOW, dt.UTC)

facts = st.builds(
    Fact,
    st.binary(min_size=8, max_size=8),
    st.integers(NOW - 1000, NOW),
    st.sampled_from(["orders", "confirmed", "cancelled:out_of_stock", "views"]),
    st.integers(0, 10**9),
)
stories = st.lists(facts, max_size=60, unique_by=lambda fact: fact.id)


@given(stories, st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_changes_a_window(told: list[Fact], chance: random.Random) -> None:
    again = told + [fact for fact in told if chance.random() < 0.5]
    chance.shuffle(again)
    for window in Window:
        assert counted(again, window) == counted(told, window)


@given(stories)
def test_long_windows_are_the_sums_of_short_ones(told: list[Fact]) -> None:
    seconds = counted(told, Window.SECOND)
    for window in (Window.MINUTE, Window.FIVE_MINUTES):
        sums: dict[int, dict[str, int]] = {}
        for start, fields in seconds.items():
            into = sums.setdefault(window.start(start), {})
            for name, value in fields.items():
                into[name] = into.get(name, 0) + value
        assert counted(told, window) == sums


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 20)), max_size=12), st.randoms(use_true_random=False))
def test_a_cart_is_open_after_its_last_opening(moves: list[tuple[bool, int]], chance: random.Random) -> None:
    def touched(told: list[tuple[bool, int]]) -> Touch:
        touch = Touch()
        for opens, at in told:
            touch = touch.then(Touch(opened=at) if opens else Touch(closed=at))
        return touch

    again = moves + moves[: chance.randrange(len(moves) + 1)]
    chance.shuffle(again)
    assert touched(again) == touched(moves)
    openings, closings = [at for opens, at in moves if opens], [at for opens, at in moves if not opens]
    is_open = bool(openings) and max(openings) > max(closings, default=0)
    assert touched(moves).is_open(20, 3600) == is_open


def test_a_cart_left_alone_is_given_up() -> None:
    touch = Touch(opened=1_000_000)
    assert touch.is_open(1_000_000 + 59_999, 60)
    assert not touch.is_open(1_000_000 + 60_000, 60)


@dataclass
class Record:
    """A message as it comes from the broker."""

    topic: str
    value: bytes
    partition: int = 0
    offset: int = 0
    timestamp: int = NOW * 1000


def order_record(kind: Any, at: dt.datetime, **fields: Any) -> Record:
    if kind is OrderCreated:
        payload: Any = OrderCreated(
            order_id="o1",
            user_id="u1",
            idempotency_key="k",
            request_hash="h",
            currency="USD",
            total_amount=4200,
            lines=[],
            shipping_address=Address(name="A", line1="1", city="C", postal_code="P", country="GB"),
            payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="t"),
            queue_position=0,
            created_at=at,
        )
    else:
        payload = kind(
            order_id="o1",
            user_id="u1",
            sequence=2,
            previous_status=OrderStatus.PENDING,
            status=OrderStatus.CONFIRMED,
            total_amount=4200,
            currency="USD",
            occurred_at=at,
            **fields,
        )
    return Record(topics.ORDER_EVENTS, encode(seal(payload, id=new_id(), source="s", subject="o1", time=AT)))


def visit_record(kind: StorefrontKind, session: str, at: dt.datetime, **fields: Any) -> Record:
    event = StorefrontEvent(event_id=new_id(), kind=kind, session_id=session, occurred_at=at, **fields)
    return Record(topics.STOREFRONT_EVENTS, encode_visit(event))


def test_what_the_log_says_in_windows() -> None:
    late = AT - dt.timedelta(seconds=90)
    records: list[Any] = [
        order_record(OrderCreated, AT),
        order_record(OrderCreated, late),
        order_record(OrderConfirmed, AT),
        order_record(OrderProcessing, AT),
        order_record(OrderCancelled, AT, reason="payment_failed"),
        order_record(OrderCancelled, AT, reason="out_of_stock"),
        visit_record(StorefrontKind.PRODUCT_VIEW, "s1", AT),
        Record(topics.DEAD_LETTERS, b"whatever", offset=7),
        Record(topics.ORDER_EVENTS, b"not an envelope"),
    ]
    told = tidings_of(records, NOW)
    windows = counted(told.facts, Window.SECOND)
    assert windows == {
        NOW: {
            "orders": 1,
            "revenue": 4200,
            "confirmed": 1,
            "paid": 4200,
            "cancelled": 2,
            "cancelled:payment_failed": 1,
            "cancelled:out_of_stock": 1,
            "views": 1,
            "errors": 1,
            "errors:dead_letters": 1,
        },
        NOW - 90: {"orders": 1, "revenue": 4200},
    }
    shown = point(NOW, Window.SECOND, {name: str(value) for name, value in windows[NOW].items()})
    assert shown.payment_success_rate == pytest.approx(1 / 2)
    assert shown.cancelled_by_reason == {"payment_failed": 1, "out_of_stock": 1}
    assert (shown.errors_by_kind, shown.active_carts, shown.lag) == ({"dead_letters": 1}, None, None)
    assert point(NOW, Window.SECOND, {}).payment_success_rate is None


def test_whose_carts_and_checkouts_are_open() -> None:
    kind = StorefrontKind

    def at(second: int) -> dt.datetime:
        return AT + dt.timedelta(seconds=second)

    records: list[Any] = [
        visit_record(kind.CART_ADD, "bought", at(1), user_id="ada", results=1),
        visit_record(kind.CHECKOUT_START, "bought", at(2), user_id="ada"),
        visit_record(kind.ORDER_PLACED, "bought", at(3), user_id="ada", order_id="o"),
        visit_record(kind.CART_ADD, "left", at(1), results=2),
        visit_record(kind.CART_REMOVE, "left", at(2), results=1),
        visit_record(kind.CHECKOUT_START, "left", at(3)),
        visit_record(kind.CART_ADD, "emptied", at(1), results=1),
        visit_record(kind.CART_REMOVE, "emptied", at(2), results=0),
    ]
    told = tidings_of(records[::-1], NOW + 10)
    later = (NOW + 10) * 1000
    assert {who for who, touch in told.carts.items() if touch.is_open(later, 60)} == {"left"}
    assert {who for who, touch in told.checkouts.items() if touch.is_open(later, 60)} == {"left"}


def test_what_lies_too_far_off_is_not_counted() -> None:
    told = Tidings()
    for second in (NOW - RETENTION_SECONDS, NOW - RETENTION_SECONDS + 1, NOW + AHEAD_SECONDS, NOW + AHEAD_SECONDS + 1):
        told.add(Fact(b"12345678", second, "orders"), NOW)
    assert [fact.second for fact in told.facts] == [NOW - RETENTION_SECONDS + 1, NOW + AHEAD_SECONDS]
    assert told.out_of_range == 2


def test_identities_tell_messages_apart() -> None:
    ids = {new_id() for _ in range(10_000)}
    assert len({identity(message_id) for message_id in ids}) == len(ids)
    assert all(len(identity(message_id)) == 8 for message_id in ids)

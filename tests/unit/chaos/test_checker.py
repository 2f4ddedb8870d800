"""The checker finds a lie of each kind, and finds none in an honest history."""

from dataclasses import replace
from typing import Any

import msgspec
import orjson
import pytest

from stack.chaos.checker import RULES, Books, Order, check
from stack.chaos.history import Act, Entry, Outcome

ANSWER = orjson.dumps({"total_amount": 2000, "items": [{"product_id": "tea", "quantity": 2}]}).decode()
PLACED = Entry(
    began=1, at=2, user="ada", act=Act.CHECKOUT, outcome=Outcome.ACCEPTED, key="k1", order="o1", answer=ANSWER
)
BOOKED = Order("o1", "ada", "k1", "shipped", 6, total=2000, captured=2000, refunded=0, charges=1, items={"tea": 2})


def _cancelled(order: Order, *, refunded: int) -> Order:
    return replace(order, status="cancelled", captured=2000, refunded=refunded)


def _books(*orders: Order, left: int | None = None, dead_letters: int = 0) -> Books:
    held = sum(order.items["tea"] for order in orders if order.status != "cancelled")
    return Books(
        {order.order_id: order for order in orders},
        stock_before={"tea": 100},
        stock_after={"tea": 100 - held if left is None else left},
        dead_letters=dead_letters,
    )


def _seen(at: float, sequence: int, **changes: Any) -> Entry:
    look = Entry(
        began=at - 0.5,
        at=at,
        user="ada",
        act=Act.LOOK,
        outcome=Outcome.SEEN,
        order="o1",
        status="confirmed",
        sequence=sequence,
    )
    return msgspec.structs.replace(look, **changes)


def _rules(history: list[Entry], books: Books) -> list[str]:
    return [violation.rule for violation in check(history, books)]


def test_an_honest_history_is_clean() -> None:
    repeated = msgspec.structs.replace(PLACED, act=Act.REPEAT, began=8, at=9)
    cancelled = replace(_cancelled(BOOKED, refunded=2000), order_id="o2", key="k2")
    bought_and_cancelled = [
        msgspec.structs.replace(PLACED, key="k2", order="o2"),
        msgspec.structs.replace(_seen(5, 7, order="o2"), act=Act.CANCEL, outcome=Outcome.CANCELLED, sequence=6),
    ]
    refused = msgspec.structs.replace(PLACED, key="k3", order="", answer="", outcome=Outcome.REFUSED, detail="short")
    unknown = msgspec.structs.replace(PLACED, key="k4", order="", answer="", outcome=Outcome.UNKNOWN)
    looks = [_seen(3, 2), _seen(4, 2), _seen(5, 4)]
    history = [PLACED, *looks, repeated, *bought_and_cancelled, refused, unknown]

    assert check(history, _books(BOOKED, cancelled)) == []


def test_an_order_whose_answer_was_lost_may_exist() -> None:
    lost = msgspec.structs.replace(PLACED, order="", answer="", outcome=Outcome.UNKNOWN)

    assert check([lost], _books(BOOKED)) == []
    assert check([lost], _books()) == []


LIES: dict[str, tuple[list[Entry], Books]] = {
    "lost": ([PLACED], _books()),
    "unfinished": (
        [PLACED],
        _books(replace(BOOKED, status="awaiting_payment", captured=0)),
    ),
    "not-found": ([PLACED, _seen(3, 0, status="", outcome=Outcome.NOT_FOUND)], _books(BOOKED)),
    "two-orders": (
        [PLACED, msgspec.structs.replace(PLACED, act=Act.REPEAT, at=9, order="o2")],
        _books(BOOKED, replace(BOOKED, order_id="o2")),
    ),
    "two-answers": (
        [PLACED, msgspec.structs.replace(PLACED, act=Act.REPEAT, at=9, answer=ANSWER + " ")],
        _books(BOOKED),
    ),
    "denied": (
        [msgspec.structs.replace(PLACED, order="", answer="", outcome=Outcome.REFUSED, detail="cart-empty")],
        _books(BOOKED),
    ),
    "uncancelled": ([PLACED, _seen(3, 6, act=Act.CANCEL, outcome=Outcome.CANCELLED)], _books(BOOKED)),
    "cancelled-anyway": (
        [PLACED, _seen(3, 0, status="", act=Act.CANCEL, outcome=Outcome.REFUSED)],
        _books(_cancelled(BOOKED, refunded=2000)),
    ),
    "wrong-order": ([PLACED], _books(replace(BOOKED, total=1000, captured=1000))),
    "went-back": ([PLACED, _seen(3, 4), _seen(4, 3)], _books(BOOKED)),
    "charge": ([PLACED], _books(replace(BOOKED, charges=2))),
    "declined": ([msgspec.structs.replace(PLACED, declined=True)], _books(BOOKED)),
    "stock": ([PLACED], _books(BOOKED, left=99)),
    "dead-letters": ([PLACED], _books(BOOKED, dead_letters=1)),
}


@pytest.mark.parametrize("rule", RULES)
def test_each_lie_is_found_and_nothing_else(rule: str) -> None:
    history, books = LIES[rule]

    assert set(_rules(history, books)) == {rule}


def test_an_order_of_somebody_else_is_a_lost_one() -> None:
    assert "lost" in _rules([PLACED], _books(replace(BOOKED, user="bob")))
    assert "lost" in _rules([PLACED], _books(replace(BOOKED, key="k9")))


def test_money_that_did_not_come_back_is_found_twice() -> None:
    history = [PLACED, _seen(3, 6, act=Act.CANCEL, outcome=Outcome.CANCELLED)]

    assert _rules(history, _books(_cancelled(BOOKED, refunded=0))) == ["uncancelled", "charge"]


def test_two_booked_orders_under_one_key_are_found_without_an_answer() -> None:
    assert _rules([], _books(BOOKED, replace(BOOKED, order_id="o2"))) == ["two-orders"]


def test_a_customer_who_was_told_no_first_and_yes_at_last_was_not_denied() -> None:
    no = msgspec.structs.replace(PLACED, order="", answer="", outcome=Outcome.REFUSED, detail="out-of-stock")
    yes = msgspec.structs.replace(PLACED, act=Act.REPEAT, began=5, at=6)

    assert check([no, yes], _books(BOOKED)) == []


def test_looks_that_overlap_may_disagree() -> None:
    assert check([PLACED, _seen(3, 4), _seen(3.2, 3)], _books(BOOKED)) == []


def test_a_step_seen_that_is_not_in_the_books_is_found() -> None:
    assert _rules([PLACED, _seen(3, 9)], _books(BOOKED)) == ["went-back"]


def test_a_connection_tells_each_step_once_and_in_order() -> None:
    first, second = (_seen(at, sequence, act=Act.NEWS, connection=1) for at, sequence in ((3, 2), (4, 3)))
    elsewhere = msgspec.structs.replace(first, at=6, connection=2)

    assert check([PLACED, first, second, elsewhere], _books(BOOKED)) == []
    assert _rules([PLACED, first, msgspec.structs.replace(first, at=5)], _books(BOOKED)) == ["went-back"]
    assert _rules([PLACED, second, msgspec.structs.replace(first, at=5)], _books(BOOKED)) == ["went-back"]

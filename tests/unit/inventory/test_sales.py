"""Flash sales in the domain: who gets a unit, who waits, who is told that there is none."""

import datetime as dt
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.envelope import Message
from contracts.events import InventoryFailed, InventoryReleased, InventoryReserved, OrderConfirmed
from contracts.orders import Address, OrderStatus, SaleTerms, StockLine
from oltp.inventory.allotment import Allotment, Oversold, SaleClaim, Share
from oltp.inventory.domain import (
    HOLD,
    Command,
    InvalidDemand,
    Level,
    Reservation,
    ReservationStatus,
    Stock,
    Warehouse,
    decide,
    move,
    next_in_line,
)

NOW = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
OSLO = Warehouse("oslo", "NO", 59.9, 10.7)
ADDRESS = Address(name="A", line1="1", city="C", postal_code="1", country="NO")


def terms(units: int = 1, share: int = 1) -> SaleTerms:
    return SaleTerms(sale_id="sale", product_id="p", units=units, units_per_customer=share, ends_at=NOW)


def reserve(order_id: str, units: int = 1, *, customer: str = "", sale: SaleTerms, **others: int) -> ReserveInventory:
    wanted = {"p": units, **others}
    return ReserveInventory(
        order_id=order_id,
        lines=[StockLine(product_id=p, quantity=n) for p, n in wanted.items() if n],
        destination=ADDRESS,
        customer_id=customer or f"customer of {order_id}",
        sale=sale,
    )


def release(order_id: str) -> ReleaseInventory:
    return ReleaseInventory(order_id=order_id, reason="payment_failed")


def confirmed(order_id: str) -> OrderConfirmed:
    return OrderConfirmed(
        order_id=order_id,
        user_id="u",
        sequence=3,
        previous_status=OrderStatus.AWAITING_PAYMENT,
        status=OrderStatus.CONFIRMED,
        total_amount=1,
        currency="USD",
        occurred_at=NOW,
    )


class Counter:
    """A sale's books in memory, moved by the domain alone; ``told`` is every answer that an order got."""

    def __init__(self, sale: SaleTerms, stock: int = 100, **others: int) -> None:
        self.sale = sale
        self.stock = Stock([OSLO], {(p, "oslo"): Level(n) for p, n in {"p": stock, **others}.items()})
        self.allotment = Allotment(sale)
        self.reservations: dict[str, Reservation] = {}
        self.told: dict[str, list[Message]] = {}

    def want(self, order_id: str, units: int = 1, *, customer: str = "", **others: int) -> None:
        self.tell(reserve(order_id, units, customer=customer, sale=self.sale, **others))

    def tell(self, *commands: Command) -> None:
        for command in commands:
            current = self.reservations.get(command.order_id)
            decision = decide(current, command, self.stock, NOW, allotment=self.allotment)
            self.stock.apply(decision.changes)
            if decision.reservation is not None:
                move(self.allotment, current, decision.reservation)
                self.reservations[command.order_id] = decision.reservation
            if decision.reply is not None:
                self.told.setdefault(command.order_id, []).append(decision.reply)
        self.take_turns()

    def close(self) -> None:
        self.allotment.closed = True
        self.take_turns()

    def take_turns(self) -> None:
        while (turn := next_in_line(self.allotment, self.stock, NOW)) is not None:
            assert turn.reservation is not None
            assert turn.reply is not None
            order_id = turn.reservation.order_id
            self.stock.apply(turn.changes)
            move(self.allotment, self.reservations[order_id], turn.reservation)
            self.reservations[order_id] = turn.reservation
            self.told.setdefault(order_id, []).append(turn.reply)

    def answers(self) -> dict[str, str]:
        """The first answer to each order's reserve, in a word."""
        return {order_id: _word(messages) for order_id, messages in self.told.items()}

    def waiting(self) -> list[str]:
        return [claim.order_id for claim in self.allotment.queue]


def _word(messages: Iterable[Message]) -> str:
    for message in messages:
        if isinstance(message, InventoryReserved):
            return "held"
        if isinstance(message, InventoryFailed):
            return message.reason
    return "released"


def test_first_come_first_served_and_the_rest_wait() -> None:
    books = Counter(terms(units=2))
    for order_id in ("a", "b", "c", "d"):
        books.want(order_id)
    assert books.answers() == {"a": "held", "b": "held"}
    assert books.waiting() == ["c", "d"]
    assert (books.allotment.taken, books.allotment.waiting) == (2, 2)
    assert books.stock.level("p", "oslo") == Level(100, 2)
    books.want("c")
    assert "c" not in books.told, "a reserve that comes again goes on waiting"


def test_a_winner_who_does_not_pay_makes_room_for_the_next() -> None:
    books = Counter(terms(units=1))
    for order_id in ("a", "b", "c"):
        books.want(order_id)
    books.tell(release("a"))
    assert books.answers() == {"a": "held", "b": "held"}
    [reply] = books.told["b"]
    assert isinstance(reply, InventoryReserved)
    assert reply.expires_at == NOW + HOLD
    assert books.waiting() == ["c"]
    assert books.stock.level("p", "oslo") == Level(100, 1)


def test_once_all_are_paid_who_waits_is_told_and_so_is_who_comes_later() -> None:
    books = Counter(terms(units=1))
    for order_id in ("a", "b", "c"):
        books.want(order_id)
    books.tell(confirmed("a"))
    books.want("d")
    assert books.answers() == {"a": "held", "b": "sold_out", "c": "sold_out", "d": "sold_out"}
    assert (books.allotment.taken, books.allotment.paid, books.allotment.waiting) == (1, 1, 0)
    books.want("b")
    assert len(books.told["b"]) == 2
    assert books.told["b"][0] == books.told["b"][1], "a reserve that comes again has the same answer"


def test_units_that_left_the_warehouse_are_paid_whatever_was_heard() -> None:
    books = Counter(terms(units=1))
    books.want("a")
    books.want("b")
    books.tell(FulfilInventory(order_id="a"))
    assert books.answers()["b"] == "sold_out"
    assert books.allotment.paid == 1


def test_a_paid_unit_that_comes_back_is_on_offer_again() -> None:
    books = Counter(terms(units=1))
    books.want("a")
    books.tell(confirmed("a"), release("a"))
    books.want("b")
    assert books.answers() == {"a": "held", "b": "held"}
    assert books.allotment.paid == 0


def test_who_waits_can_leave() -> None:
    books = Counter(terms(units=1))
    for order_id in ("a", "b", "c"):
        books.want(order_id)
    books.tell(release("b"))
    assert books.told["b"] == [InventoryReleased(order_id="b", reason="payment_failed")]
    assert books.waiting() == ["c"]
    books.tell(release("a"))
    assert books.answers()["c"] == "held"
    books.want("b")
    assert books.answers()["b"] == "cancelled"


def test_the_end_of_the_sale_clears_the_queue_and_nobody_waits_any_more() -> None:
    books = Counter(terms(units=1))
    for order_id in ("a", "b"):
        books.want(order_id)
    books.close()
    books.want("c")
    assert books.answers() == {"a": "held", "b": "sold_out", "c": "sold_out"}
    books.tell(release("a"))
    books.want("d")
    assert books.answers()["d"] == "held", "an order that was accepted in time gets a unit that is free"


def test_a_customer_has_no_more_than_one_may_waiting_included() -> None:
    books = Counter(terms(units=2, share=2))
    books.want("a", 2, customer="ada")
    books.want("b", 1, customer="bob")
    books.want("c", 1, customer="ada")
    books.want("d", 2, customer="bob")
    assert books.answers() == {"a": "held", "c": "already_bought", "d": "already_bought"}
    books.tell(release("a"))
    books.want("e", 1, customer="ada")
    assert books.answers()["e"] == "held", "who gave back may try again"


def test_nobody_is_passed_by_an_order_that_wants_less() -> None:
    books = Counter(terms(units=2, share=2))
    books.want("a")
    books.want("b", 2)
    books.want("c")
    assert books.waiting() == ["b", "c"], "one unit is free, and it is kept for the first in line"
    books.tell(release("a"))
    assert books.answers()["b"] == "held"
    assert books.waiting() == ["c"]


def test_who_wants_more_than_can_come_is_told_before_those_behind() -> None:
    books = Counter(terms(units=2, share=2))
    for order_id, units in (("a", 1), ("b", 2), ("c", 1)):
        books.want(order_id, units)
    books.tell(confirmed("a"))
    assert books.answers() == {"a": "held", "b": "sold_out", "c": "held"}


def test_whose_other_products_are_gone_makes_room() -> None:
    books = Counter(terms(units=1), q=0)
    books.want("a")
    books.want("b", q=1)
    books.want("c")
    books.tell(release("a"))
    assert books.answers() == {"a": "held", "b": "out_of_stock", "c": "held"}


def test_a_sales_order_that_wants_nothing_of_it_is_refused() -> None:
    books = Counter(terms(units=1), q=1)
    with pytest.raises(InvalidDemand, match="nothing of sale"):
        books.want("a", 0, q=1)


@pytest.mark.parametrize("after", [Share(taken=2), Share(waiting=2), Share(taken=1, paid=2)])
def test_an_allotment_does_not_leave_its_bounds(after: Share) -> None:
    with pytest.raises(Oversold):
        Allotment(terms(units=1)).apply(SaleClaim("o", "sale", "c", 2, 1), Share(), after)


ORDERS = [f"o{n}" for n in range(8)]
told = st.one_of(
    st.tuples(st.just("want"), st.sampled_from(ORDERS)),
    st.tuples(st.sampled_from(["release", "confirm", "fulfil"]), st.sampled_from(ORDERS)),
    st.tuples(st.just("close"), st.just("")),
)


@settings(max_examples=300)
@given(
    units=st.integers(1, 3),
    stock=st.integers(0, 4),
    share=st.integers(1, 2),
    wanted=st.lists(st.integers(1, 2), min_size=len(ORDERS), max_size=len(ORDERS)),
    steps=st.lists(told, max_size=40),
)
def test_a_sale_holds_for_any_order_of_messages(
    units: int, stock: int, share: int, wanted: list[int], steps: list[tuple[str, str]]
) -> None:
    books = Counter(terms(units, share), stock=stock)
    answered: dict[str, Message] = {}
    for what, order_id in steps:
        before = list(books.waiting())
        if what == "want":
            number = ORDERS.index(order_id)
            books.want(order_id, wanted[number], customer=f"c{number % 5}")
        elif what == "close":
            books.close()
        else:
            commands = {"release": release, "confirm": confirmed, "fulfil": lambda o: FulfilInventory(order_id=o)}
            books.tell(commands[what](order_id))
        a, reservations = books.allotment, books.reservations.values()
        assert 0 <= a.paid <= a.taken <= units
        assert all(0 <= has <= share for has in a.customers.values())
        assert a.taken == sum(r.share.taken for r in reservations)
        assert a.waiting == sum(r.share.waiting for r in reservations)
        assert books.stock.level("p", "oslo").reserved == sum(
            part.quantity for r in reservations if r.status is ReservationStatus.HELD for part in r.allocations
        )
        assert not (a.closed and a.waiting)
        for claim in a.queue:
            assert not a.never_free(claim.units), "who waits may still get something"
        if a.queue:
            assert not a.free(a.queue[0].units), "the first in line waits for what is taken"
        served = [one for one in before if books.answers().get(one) == "held"]
        assert served == before[: len(served)] or all(
            books.reservations[one].status is not ReservationStatus.QUEUED for one in before[: before.index(served[-1])]
        ), "nobody is passed"
        for one, messages in books.told.items():
            replies = [m for m in messages if not isinstance(m, InventoryReleased)]
            if replies and hasattr(replies[0], "order_id"):
                answers = [m for m in replies if isinstance(m, InventoryReserved | InventoryFailed)]
                if answers:
                    assert answered.setdefault(one, answers[0]) == answers[-1], "one answer each"

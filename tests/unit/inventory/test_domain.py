import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.events import (
    InventoryFailed,
    InventoryFulfilled,
    InventoryHoldExpired,
    InventoryReleased,
    InventoryReserved,
    OrderConfirmed,
)
from contracts.orders import Address, Allocation, OrderStatus, StockLine
from oltp.inventory.domain import (
    HOLD,
    Command,
    FailureReason,
    InvalidDemand,
    Level,
    OutOfBounds,
    Refusal,
    Reservation,
    ReservationStatus,
    Stock,
    StockChange,
    Warehouse,
    allocate,
    decide,
    demand,
    distance_km,
    hold_expired,
    rank,
)

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
BERLIN = Warehouse("berlin", "DE", 52.52, 13.405, priority=2)
DALLAS = Warehouse("dallas", "US", 32.7767, -96.797, priority=1)
OSAKA = Warehouse("osaka", "JP", 34.6937, 135.5023, priority=3)
WAREHOUSES = (BERLIN, DALLAS, OSAKA)


def address(country: str = "DE", latitude: float | None = None, longitude: float | None = None) -> Address:
    return Address(
        name="A", line1="1", city="C", postal_code="1", country=country, latitude=latitude, longitude=longitude
    )


def stock_of(**products: dict[str, int]) -> Stock:
    return Stock(WAREHOUSES, {(p, w): Level(units) for p, where in products.items() for w, units in where.items()})


def reserve(order_id: str = "o", destination: Address | None = None, **units: int) -> ReserveInventory:
    lines = [StockLine(product_id=p, quantity=n) for p, n in units.items()]
    return ReserveInventory(order_id=order_id, lines=lines, destination=destination or address())


def release(order_id: str = "o") -> ReleaseInventory:
    return ReleaseInventory(order_id=order_id, reason="customer_request")


def fulfil(order_id: str = "o") -> FulfilInventory:
    return FulfilInventory(order_id=order_id)


def confirmed(order_id: str = "o") -> OrderConfirmed:
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


class Books:
    """Reservations and stock in memory, moved by ``decide`` alone, as a worker or a simulator would."""

    def __init__(self, stock: Stock) -> None:
        self.stock = stock
        self.reservations: dict[str, Reservation] = {}

    def tell(self, command: Command, now: dt.datetime = NOW, refusal: Refusal | None = None) -> object:
        decision = decide(self.reservations.get(command.order_id), command, self.stock, now, refusal=refusal)
        self.stock.apply(decision.changes)
        if decision.reservation is not None:
            self.reservations[command.order_id] = decision.reservation
        return decision.reply

    def held(self) -> dict[tuple[str, str], int]:
        return self._sum(ReservationStatus.HELD)

    def shipped(self) -> dict[tuple[str, str], int]:
        return self._sum(ReservationStatus.FULFILLED)

    def _sum(self, status: ReservationStatus) -> dict[tuple[str, str], int]:
        units: dict[tuple[str, str], int] = {}
        for reservation in self.reservations.values():
            if reservation.status is status:
                for a in reservation.allocations:
                    units[a.product_id, a.warehouse_id] = units.get((a.product_id, a.warehouse_id), 0) + a.quantity
        return units


def test_reserve_holds_units_until_the_hold_ends() -> None:
    books = Books(stock_of(p={"berlin": 5}))
    reply = books.tell(reserve(p=3))
    assert reply == InventoryReserved(
        order_id="o",
        allocations=[Allocation(product_id="p", warehouse_id="berlin", quantity=3)],
        expires_at=NOW + HOLD,
    )
    assert books.stock.level("p", "berlin") == Level(5, 3)


def test_lines_of_one_product_are_added_up() -> None:
    command = ReserveInventory(
        order_id="o",
        lines=[StockLine(product_id="p", quantity=3), StockLine(product_id="p", quantity=3)],
        destination=address(),
    )
    assert demand(command) == {"p": 6}
    reply = Books(stock_of(p={"berlin": 5})).tell(command)
    assert reply == InventoryFailed(order_id="o", reason="out_of_stock", product_ids=["p"])


def test_all_lines_or_none() -> None:
    books = Books(stock_of(p={"berlin": 5}, q={"berlin": 1}))
    reply = books.tell(reserve(p=1, q=2))
    assert reply == InventoryFailed(order_id="o", reason="out_of_stock", product_ids=["q"])
    assert books.stock.levels() == {("p", "berlin"): Level(5), ("q", "berlin"): Level(1)}


def test_unknown_products_are_named_before_short_ones() -> None:
    reply = Books(stock_of(p={"berlin": 0})).tell(reserve(p=1, ghost=1))
    assert reply == InventoryFailed(order_id="o", reason="unknown_product", product_ids=["ghost"])


def test_a_refusal_stands_even_if_stock_arrives() -> None:
    books = Books(stock_of(p={"berlin": 0}))
    first = books.tell(reserve(p=1))
    books.stock.apply([StockChange("p", "berlin", quantity=10)])
    assert books.tell(reserve(p=1)) == first
    assert isinstance(books.tell(release()), InventoryReleased)
    assert books.tell(reserve(p=1)) == first


def test_the_gates_refusal_is_recorded_without_a_look_at_the_books() -> None:
    books = Books(stock_of(p={"berlin": 9}))
    refusal = Refusal(FailureReason.OUT_OF_STOCK, ("p",))
    first = books.tell(reserve(p=1), refusal=refusal)
    assert first == InventoryFailed(order_id="o", reason="out_of_stock", product_ids=["p"])
    assert books.tell(reserve(p=1)) == first
    assert books.stock.level("p", "berlin") == Level(9)


def test_release_before_reserve_leaves_a_tombstone() -> None:
    books = Books(stock_of(p={"berlin": 5}))
    assert books.tell(release()) == InventoryReleased(order_id="o", reason="customer_request")
    refused = InventoryFailed(order_id="o", reason="cancelled", product_ids=[])
    assert books.tell(reserve(p=1)) == refused
    assert books.tell(reserve(p=1)) == refused
    assert books.stock.level("p", "berlin") == Level(5)


def test_release_gives_back_once() -> None:
    books = Books(stock_of(p={"berlin": 5}))
    reserved = books.tell(reserve(p=5))
    first = books.tell(release())
    assert books.tell(release()) == first
    assert books.stock.level("p", "berlin") == Level(5)
    assert books.tell(reserve(p=5)) == reserved, "a reserve that is delivered again is answered as it was"
    assert books.stock.level("p", "berlin") == Level(5)


def test_fulfil_takes_units_off_the_shelf_once_and_a_later_release_changes_nothing() -> None:
    books = Books(stock_of(p={"berlin": 5}))
    books.tell(reserve(p=2))
    assert books.tell(fulfil()) == InventoryFulfilled(order_id="o")
    assert books.tell(fulfil()) == InventoryFulfilled(order_id="o")
    assert isinstance(books.tell(release()), InventoryReleased)
    assert books.stock.level("p", "berlin") == Level(3)
    assert books.reservations["o"].status is ReservationStatus.FULFILLED


@pytest.mark.parametrize("before", [[], [release()], [reserve(p=99)], [reserve(p=1), release()]])
def test_what_is_not_held_is_not_fulfilled_and_gets_no_answer(before: list[Command]) -> None:
    books = Books(stock_of(p={"berlin": 5}))
    for command in before:
        books.tell(command)
    assert books.tell(fulfil()) is None
    assert books.stock.level("p", "berlin") == Level(5)


@pytest.mark.parametrize("quantity", [0, -1])
def test_a_demand_for_no_units_is_invalid(quantity: int) -> None:
    with pytest.raises(InvalidDemand):
        decide(None, reserve(p=quantity), stock_of(p={"berlin": 5}), NOW)


def test_an_order_without_lines_is_invalid() -> None:
    with pytest.raises(InvalidDemand):
        decide(None, reserve(), stock_of(p={"berlin": 5}), NOW)


def test_the_stock_refuses_changes_out_of_bounds_whole() -> None:
    stock = stock_of(p={"berlin": 5})
    with pytest.raises(OutOfBounds):
        stock.apply([StockChange("p", "berlin", reserved=3), StockChange("p", "berlin", reserved=3)])
    assert stock.level("p", "berlin") == Level(5)
    with pytest.raises(OutOfBounds):
        Stock(WAREHOUSES, {("p", "berlin"): Level(1, 2)})


def test_a_hold_is_asked_about_only_while_unpaid_and_over() -> None:
    books = Books(stock_of(p={"berlin": 5}))
    books.tell(reserve(p=1))
    held = books.reservations["o"]
    assert hold_expired(held, NOW + HOLD - dt.timedelta(seconds=1)) is None
    assert hold_expired(held, NOW + HOLD) == InventoryHoldExpired(order_id="o", expires_at=NOW + HOLD)
    books.tell(confirmed())
    assert hold_expired(books.reservations["o"], NOW + HOLD) is None
    books.tell(release())
    assert hold_expired(books.reservations["o"], NOW + HOLD) is None


def test_a_confirmation_without_a_hold_changes_nothing() -> None:
    books = Books(stock_of(p={"berlin": 5}))
    assert books.tell(confirmed()) is None
    assert books.reservations == {}


def test_the_nearest_warehouse_sends_the_order() -> None:
    stock = stock_of(p={"berlin": 5, "dallas": 5, "osaka": 5})
    tokyo = address("JP", 35.68, 139.69)
    assert {a.warehouse_id for a in allocate({"p": 2}, tokyo, stock)} == {"osaka"}


def test_one_warehouse_for_the_whole_order_is_preferred_to_a_nearer_one_for_a_part() -> None:
    stock = stock_of(p={"berlin": 5, "dallas": 5}, q={"dallas": 5})
    assert {a.warehouse_id for a in allocate({"p": 1, "q": 1}, address("DE", 52.5, 13.4), stock)} == {"dallas"}


def test_an_order_is_split_when_no_warehouse_has_it_all() -> None:
    stock = stock_of(p={"berlin": 2, "dallas": 4, "osaka": 1}, q={"osaka": 1})
    parts = allocate({"p": 6, "q": 1}, address("DE", 52.5, 13.4), stock)
    assert [(a.product_id, a.warehouse_id, a.quantity) for a in parts] == [
        ("p", "berlin", 2),
        ("p", "dallas", 4),
        ("q", "osaka", 1),
    ]


def test_without_coordinates_the_country_decides_and_then_priority() -> None:
    assert [w.warehouse_id for w in rank(WAREHOUSES, address("jp"))] == ["osaka", "dallas", "berlin"]
    assert [w.warehouse_id for w in rank(WAREHOUSES, address("FR"))] == ["dallas", "berlin", "osaka"]
    assert [w.warehouse_id for w in rank(WAREHOUSES, address("FR", float("nan"), 2.0))] == ["dallas", "berlin", "osaka"]


def test_allocation_of_more_than_there_is_is_refused() -> None:
    with pytest.raises(OutOfBounds):
        allocate({"p": 6}, address(), stock_of(p={"berlin": 5}))


def test_distance_is_the_great_circles() -> None:
    assert distance_km(52.52, 13.405, 48.8566, 2.3522) == pytest.approx(878, abs=2)
    assert distance_km(0, 0, 0, 180) == pytest.approx(20015, abs=1)


PRODUCTS = ("p", "q", "r")
places = st.one_of(
    st.just(address("JP")),
    st.builds(address, st.sampled_from(["DE", "US", "JP"]), st.floats(-90, 90), st.floats(-180, 180)),
)
shelves = st.dictionaries(
    st.tuples(st.sampled_from(PRODUCTS), st.sampled_from([w.warehouse_id for w in WAREHOUSES])),
    st.integers(0, 6).map(Level),
)


@given(levels=shelves, wanted=st.dictionaries(st.sampled_from(PRODUCTS), st.integers(1, 8), min_size=1), place=places)
def test_an_allocation_is_exact_covered_and_as_near_as_can_be(
    levels: dict[tuple[str, str], Level], wanted: dict[str, int], place: Address
) -> None:
    stock = Stock(WAREHOUSES, levels)
    if any(stock.available(p) < units for p, units in wanted.items()):
        with pytest.raises(OutOfBounds):
            allocate(wanted, place, stock)
        return
    parts = allocate(wanted, place, stock)
    for product, units in wanted.items():
        assert sum(a.quantity for a in parts if a.product_id == product) == units
    assert len({(a.product_id, a.warehouse_id) for a in parts}) == len(parts)
    for a in parts:
        assert 0 < a.quantity <= stock.level(a.product_id, a.warehouse_id).available
    whole = [
        w.warehouse_id
        for w in rank(WAREHOUSES, place)
        if all(stock.level(p, w.warehouse_id).available >= units for p, units in wanted.items())
    ]
    if whole:
        assert {a.warehouse_id for a in parts} == {whole[0]}


ORDERS = ("o1", "o2", "o3", "o4")
commands = st.one_of(
    st.builds(
        reserve,
        st.sampled_from(ORDERS),
        places,
        p=st.integers(1, 4),
        q=st.integers(1, 4),
    ),
    st.builds(release, st.sampled_from(ORDERS)),
    st.builds(fulfil, st.sampled_from(ORDERS)),
    st.builds(confirmed, st.sampled_from(ORDERS)),
)


@settings(max_examples=300)
@given(levels=shelves, told=st.lists(commands, max_size=40))
def test_the_books_hold_for_any_order_of_messages_and_duplicates(
    levels: dict[tuple[str, str], Level], told: list[Command]
) -> None:
    books = Books(Stock(WAREHOUSES, levels))
    sent: dict[str, ReserveInventory] = {}
    replies: dict[str, object] = {}
    for command in told:
        if isinstance(command, ReserveInventory):
            command = sent.setdefault(command.order_id, command)
        first = books.tell(command)
        snapshot = books.stock.levels(), dict(books.reservations)
        assert books.tell(command) == first, "the same message again has the same answer"
        assert (books.stock.levels(), books.reservations) == snapshot, "and changes nothing"
        if isinstance(command, ReserveInventory):
            assert replies.setdefault(command.order_id, first) == first, "a reserve's answer never changes"
        held, shipped = books.held(), books.shipped()
        for key, level in books.stock.levels().items():
            assert 0 <= level.reserved <= level.quantity
            assert level.reserved == held.get(key, 0)
            assert level.quantity == levels.get(key, Level(0)).quantity - shipped.get(key, 0)


@given(
    levels=shelves,
    told=st.lists(commands, max_size=15),
    last=st.sampled_from(ORDERS),
)
def test_a_released_order_holds_nothing_whatever_came_before_or_comes_after(
    levels: dict[tuple[str, str], Level], told: list[Command], last: str
) -> None:
    books = Books(Stock(WAREHOUSES, levels))
    for command in told:
        books.tell(command)
    books.tell(release(last))
    books.tell(reserve(last, p=1, q=1))
    assert books.reservations[last].status is not ReservationStatus.HELD

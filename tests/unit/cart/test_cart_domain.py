"""The pure rules of the cart."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.products import ProductCard
from contracts.sales import SaleCard, SaleStanding
from oltp.cart.domain import Cart, Offer, WarningCode, assemble, stock_warning


def card(
    product_id: str, *, price: int = 1000, active: bool = True, currency: str = "USD", name: str = ""
) -> ProductCard:
    return ProductCard(
        product_id=product_id,
        sku=product_id.upper(),
        name=name or product_id,
        category="Kettles",
        unit_price=price,
        currency=currency,
        active=active,
    )


def cart(quantities: dict[str, int], *cards: ProductCard, stock: dict[str, int | None] | None = None) -> Cart:
    return assemble(quantities, {c.product_id: c for c in cards}, stock or {}, {}, currency="USD", low=10)


@pytest.mark.parametrize(
    ("quantity", "stock", "code", "message"),
    [
        (1, None, None, None),
        (1, 100, None, None),
        (10, 10, None, None),
        (1, 9, WarningCode.LOW_STOCK, "Only 9 left."),
        (9, 9, WarningCode.LOW_STOCK, "Only 9 left."),
        (10, 9, WarningCode.INSUFFICIENT_STOCK, "Only 9 left."),
        (99, 50, WarningCode.INSUFFICIENT_STOCK, "Only 50 left."),
        (1, 0, WarningCode.OUT_OF_STOCK, "Out of stock."),
        (1, -2, WarningCode.OUT_OF_STOCK, "Out of stock."),
    ],
)
def test_stock_warnings(quantity: int, stock: int | None, code: WarningCode | None, message: str | None):
    warning = stock_warning(quantity, stock, low=10)
    assert (warning and warning.code, warning and warning.message) == (code, message)


def test_a_cart_costs_what_its_lines_cost_now():
    here = cart({"b": 2, "a": 3}, card("a", price=100), card("b", price=250))
    assert [(line.card.product_id, line.line_total) for line in here.lines] == [("a", 300), ("b", 500)]
    assert (here.total, here.total_quantity, here.currency, here.can_checkout) == (800, 5, "USD", True)


def test_what_is_no_longer_for_sale_is_shown_and_not_counted():
    here = cart({"a": 1, "b": 1, "c": 1}, card("a"), card("b", active=False), card("c", currency="EUR"))
    assert [line.warning and line.warning.code for line in here.lines] == [
        None,
        WarningCode.UNAVAILABLE,
        WarningCode.UNAVAILABLE,
    ]
    assert (here.total, here.total_quantity, here.can_checkout) == (1000, 1, False)


@pytest.mark.parametrize(("left", "can_checkout"), [(None, True), (2, True), (1, False), (0, False)])
def test_a_cart_can_be_bought_as_far_as_is_known(left: int | None, can_checkout: bool):
    here = cart({"a": 2}, card("a"), stock={"a": left})
    assert here.can_checkout is can_checkout
    assert here.total == 2000


def test_an_empty_cart_can_not_be_bought():
    assert not cart({}).can_checkout


def test_what_has_no_card_is_left_out():
    assert cart({"gone": 1}).lines == ()


def test_lines_come_by_name_then_id():
    here = cart({"3": 1, "2": 1, "1": 1}, card("3", name="A"), card("2", name="B"), card("1", name="B"))
    assert [line.card.product_id for line in here.lines] == ["3", "1", "2"]


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.integers(1, 99), st.integers(1, 10**8)), max_size=50)
)
def test_the_total_is_the_sum_of_the_lines(entries: dict[str, tuple[int, int]]):
    here = cart({i: q for i, (q, _) in entries.items()}, *(card(i, price=p) for i, (_, p) in entries.items()))
    assert here.total == sum(q * p for q, p in entries.values())
    assert here.total_quantity == sum(q for q, _ in entries.values())


def offer(product_id: str, standing: SaleStanding | None) -> Offer:
    moment = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
    sale = SaleCard(
        sale_id="sale",
        product_id=product_id,
        unit_price=600,
        currency="USD",
        units=10,
        units_per_customer=2,
        waiting_places=5,
        starts_at=moment,
        ends_at=moment + dt.timedelta(hours=1),
    )
    return Offer(sale, standing)


@pytest.mark.parametrize(
    ("quantity", "standing", "code"),
    [
        (1, None, None),
        (2, SaleStanding(left=2, admits=True), None),
        (3, SaleStanding(left=9, admits=True), WarningCode.SALE_LIMIT),
        (3, None, WarningCode.SALE_LIMIT),
        (2, SaleStanding(left=1, admits=True), WarningCode.WAITING_LIST),
        (1, SaleStanding(left=0, admits=False), WarningCode.SOLD_OUT),
    ],
)
def test_a_line_in_a_flash_sale_has_its_price_and_its_warning(
    quantity: int, standing: SaleStanding | None, code: WarningCode | None
) -> None:
    offers = {"kettle": offer("kettle", standing)}
    found = assemble({"kettle": quantity}, {"kettle": card("kettle")}, {"kettle": 0}, offers, currency="USD", low=10)
    (line,) = found.lines
    assert line.unit_price == 600
    assert (line.warning.code if line.warning else None) == code


def test_two_products_in_flash_sales_are_bought_one_by_one() -> None:
    cards = {name: card(name) for name in ("kettle", "pan")}
    offers = {name: offer(name, SaleStanding(left=9, admits=True)) for name in cards}
    found = assemble(dict.fromkeys(cards, 1), cards, {}, offers, currency="USD", low=10)
    assert [line.warning and line.warning.code for line in found.lines] == [WarningCode.ONE_SALE] * 2
    assert not found.can_checkout

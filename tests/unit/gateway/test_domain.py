"""Prices, fingerprints and answers."""

import datetime as dt

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from contracts.events import OrderCreated
from contracts.orders import Address, OrderLine, PaymentMethod, PaymentMethodType
from contracts.products import ProductCard
from kit.ids import new_id
from oltp.gateway import domain
from oltp.gateway.domain import CheckoutItem, Purchase, StoredAddress
from oltp.gateway.schemas import AcceptedCheckout, CheckoutRequest

ADDRESS = Address(name="Ada", line1="12 Square", city="London", postal_code="SW1Y", country="GB")
CARD = PaymentMethod(type=PaymentMethodType.CARD, token="tok_visa")
ADDRESS_JSON = '{"name": "Ada", "line1": "12 Square", "city": "London", "postal_code": "SW1Y", "country": "GB"}'
NOON = dt.datetime(2026, 11, 27, 12, 0, 0, 123456, dt.UTC)


def _card(product_id: str, unit_price: int = 100, **changes: object) -> ProductCard:
    card = ProductCard(
        product_id=product_id,
        sku=f"S-{product_id}",
        name=f"Product {product_id}",
        category="tea",
        unit_price=unit_price,
        currency="USD",
        active=True,
    )
    return msgspec.structs.replace(card, **changes)


def _order(lines: list[OrderLine]) -> OrderCreated:
    return OrderCreated(
        order_id="order",
        user_id="user",
        idempotency_key="key",
        request_hash="hash",
        currency="USD",
        total_amount=sum(line.unit_price * line.quantity for line in lines),
        lines=lines,
        shipping_address=ADDRESS,
        payment_method=CARD,
        queue_position=3,
        created_at=NOON,
    )


def test_a_cart_is_priced_in_order_of_product_id() -> None:
    cards = {"b": _card("b", 250), "a": _card("a", 99)}
    priced = domain.price({"b": 2, "a": 3}, cards)
    assert [line.product_id for line in priced.lines] == ["a", "b"]
    assert priced.total == 2 * 250 + 3 * 99
    assert priced.unavailable == []
    assert priced.currencies == {"USD"}


def test_what_cannot_be_bought_has_no_line() -> None:
    priced = domain.price({"a": 1, "b": 1, "c": 1}, {"a": _card("a"), "b": _card("b", active=False)})
    assert priced.unavailable == ["b", "c"]
    assert [line.product_id for line in priced.lines] == ["a"]


def test_the_fingerprint_is_of_what_the_body_means() -> None:
    same = CheckoutRequest.model_validate_json(
        '{"payment_method": {"token":"tok_visa","type":"card"},  "shipping_address":'
        '{"country":"GB","postal_code":"SW1Y","city":"London","line1":"12 Square","name":"Ada","line2":""}}'
    )
    assert domain.request_hash(same.to_purchase()) == domain.request_hash(Purchase(ADDRESS, CARD))
    moved = msgspec.structs.replace(ADDRESS, city="Paris")
    assert domain.request_hash(Purchase(moved, CARD)) != domain.request_hash(Purchase(ADDRESS, CARD))


def test_a_stored_address_counts_by_its_id() -> None:
    one, other = (Purchase(StoredAddress(new_id()), CARD) for _ in range(2))
    assert domain.request_hash(one) != domain.request_hash(other)
    assert domain.request_hash(one) != domain.request_hash(Purchase(ADDRESS, CARD))


@pytest.mark.parametrize(
    "destination",
    [
        "",
        f'"address_id": "{new_id()}", "shipping_address": {ADDRESS_JSON},',
        '"address_id": null,',
        f'"address_id": null, "shipping_address": {ADDRESS_JSON},',
        '"address_id": "home",',
    ],
)
def test_a_checkout_goes_to_one_address(destination: str) -> None:
    with pytest.raises(ValidationError):
        CheckoutRequest.model_validate_json(
            f'{{{destination} "payment_method": {{"token": "tok_visa", "type": "card"}}}}'
        )


def test_a_fingerprint_once_made_stays() -> None:
    assert domain.request_hash(Purchase(ADDRESS, CARD)) == (
        "ea147b4bc2cbb0f5c8da7161ecea0448c02c67e7445b99014386939bb4035764"
    )


lines = st.lists(
    st.builds(
        OrderLine,
        product_id=st.uuids().map(str),
        sku=st.text(max_size=20),
        name=st.text(max_size=40),
        category=st.just("tea"),
        quantity=st.integers(1, 1000),
        unit_price=st.integers(0, 10**7),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda line: line.product_id,
)


@given(lines, st.randoms())
def test_the_answer_does_not_depend_on_where_the_lines_came_from(bought: list[OrderLine], random: object) -> None:
    order = _order(bought)
    stored = [
        CheckoutItem(product_id=b.product_id, sku=b.sku, name=b.name, quantity=b.quantity, unit_price=b.unit_price)
        for b in bought
    ]
    random.shuffle(stored)  # type: ignore[attr-defined]
    again = domain.answer(
        order_id="order",
        total_amount=order.total_amount,
        currency="USD",
        queue_position=3,
        created_at=NOON.astimezone(dt.timezone(dt.timedelta(hours=5))),
        items=stored,
    )
    assert again == domain.answer_to(order)
    AcceptedCheckout.model_validate_json(again)

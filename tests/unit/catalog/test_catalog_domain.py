"""The pure rules of the catalog."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oltp.catalog.domain import (
    MAX_UNIT_PRICE,
    Availability,
    availability,
    like_pattern,
    stock_level,
    to_minor,
    to_price,
)


@given(st.integers(0, MAX_UNIT_PRICE))
def test_money_goes_to_the_table_and_back(unit_price: int):
    price = to_price(unit_price)
    assert to_minor(price) == unit_price
    assert price == price.quantize(Decimal("0.01"))


def test_the_largest_order_fits_the_order_table():
    assert to_price(MAX_UNIT_PRICE * 99 * 50) < Decimal(10) ** 10


@pytest.mark.parametrize(
    ("stock", "expected"),
    [
        (None, Availability.UNKNOWN),
        (-1, Availability.OUT_OF_STOCK),
        (0, Availability.OUT_OF_STOCK),
        (9, Availability.LOW_STOCK),
        (10, Availability.IN_STOCK),
    ],
)
def test_stock_in_words(stock: int | None, expected: Availability):
    assert availability(stock, low=10) is expected


@pytest.mark.parametrize(("stored", "level"), [(None, None), ("12", 12), (b"12", 12), ("-3", 0), ("twelve", None)])
def test_stock_as_redis_holds_it(stored: str | bytes | None, level: int | None):
    assert stock_level(stored) == level


def test_what_means_something_to_like_is_escaped():
    assert like_pattern(r"50%_off\now") == r"%50\%\_off\\now%"

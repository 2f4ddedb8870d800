"""The pure rules of flash sales."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from contracts.products import ProductCard
from contracts.sales import SaleCard
from oltp.sales.domain import GRACE, LONGEST, Opening, Sale, SaleState, fault

NOW = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
OPENING = Opening(
    product_id="kettle",
    units=100,
    units_per_customer=1,
    waiting_places=50,
    unit_price=1000,
    starts_at=NOW,
    ends_at=NOW + HOUR,
)


def product(*, active: bool = True) -> ProductCard:
    return ProductCard(
        product_id="kettle", sku="K-1", name="Kettle", category="", unit_price=2500, currency="USD", active=active
    )


def test_a_sale_that_can_be_has_no_fault() -> None:
    assert fault(OPENING, product(), 100, NOW) is None


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"units": 101}, "units"),
        ({"units_per_customer": 101}, "units_per_customer"),
        ({"unit_price": 2500}, "unit_price"),
        ({"starts_at": NOW - GRACE - dt.timedelta(seconds=1)}, "starts_at"),
        ({"ends_at": NOW}, "ends_at"),
        ({"starts_at": NOW + HOUR, "ends_at": NOW + HOUR}, "ends_at"),
        ({"ends_at": NOW + LONGEST + dt.timedelta(seconds=1)}, "ends_at"),
    ],
)
def test_a_fault_names_its_field(changed: dict[str, Any], field: str) -> None:
    found = fault(replace(OPENING, **changed), product(), 100, NOW)
    assert found is not None
    assert found.field == field


def test_what_is_not_sold_can_not_be_in_a_sale() -> None:
    unknown, withdrawn = fault(OPENING, None, 100, NOW), fault(OPENING, product(active=False), 100, NOW)
    assert unknown is not None
    assert withdrawn is not None
    assert (unknown.field, withdrawn.field) == ("product_id", "product_id")
    assert "activate" in withdrawn.message


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        (NOW - dt.timedelta(seconds=1), SaleState.UPCOMING),
        (NOW, SaleState.RUNNING),
        (NOW + HOUR - dt.timedelta(microseconds=1), SaleState.RUNNING),
        (NOW + HOUR, SaleState.OVER),
    ],
)
def test_a_sale_runs_from_its_start_until_before_its_end(moment: dt.datetime, state: SaleState) -> None:
    card = SaleCard(
        sale_id="sale",
        product_id="kettle",
        unit_price=1000,
        currency="USD",
        units=100,
        units_per_customer=1,
        waiting_places=50,
        starts_at=NOW,
        ends_at=NOW + HOUR,
    )
    assert Sale(card, NOW + HOUR, "admin", NOW, None).state(moment) is state

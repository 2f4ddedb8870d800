"""Visits, their funnel, and that those with an order are real orders'."""

import datetime as dt

import polars as pl
import pytest

from seed import history, visits
from seed.history import World
from seed.ids import as_uuids
from seed.plan import Plan
from seed.world import world


@pytest.fixture(scope="module")
def shop() -> World:
    now = dt.datetime(2026, 11, 23, 22, 10, 30, tzinfo=dt.UTC)
    return world(Plan(customers=2_000, products=500, orders=20_000, now=now, chunk=10_000))


@pytest.fixture(scope="module")
def told(shop: World) -> pl.DataFrame:
    return visits.events(shop, 600)


def share(told: pl.DataFrame, kind: str) -> float:
    """Visits in which it happened."""
    return told.filter(pl.col("kind") == kind)["session_id"].n_unique() / told["session_id"].n_unique()


def test_visits_end_in_orders_carts_and_checkouts_as_often_as_they_should(told: pl.DataFrame) -> None:
    assert share(told, "order_placed") == pytest.approx(visits.CONVERSION, abs=0.003)
    assert share(told, "cart_add") == pytest.approx(visits.CARTS, abs=0.01)
    assert share(told, "checkout_start") == pytest.approx(visits.CHECKOUTS, abs=0.005)
    assert share(told, "search") == pytest.approx(visits.SEARCHES, abs=0.02)
    assert share(told, "product_view") > 0.9


def test_orders_are_those_of_the_history_and_their_products_were_in_the_cart(shop: World, told: pl.DataFrame) -> None:
    placed = told.filter(pl.col("kind") == "order_placed")
    parts = [history.chunk(shop, numbers) for numbers in shop.plan.chunks()]
    known = {str(order_id): (part, n) for part in parts for n, order_id in enumerate(as_uuids(part.ids))}
    carts = told.filter(pl.col("kind") == "cart_add").group_by("session_id").agg("product_id", "quantity")
    in_cart = {row["session_id"]: set(row["product_id"]) for row in carts.iter_rows(named=True)}
    for row in placed.head(50).iter_rows(named=True):
        part, n = known[row["order_id"]]
        bought = part.product[part.first[n] : part.first[n + 1]]
        ids = {str(product_id) for product_id in as_uuids(shop.goods.draft.ids[bought])}
        assert in_cart[row["session_id"]] == ids
        assert row["user_id"] == str(shop.people.customers[int(part.suspicion.customer[n])].user_id)
        assert int(row["occurred_at"].timestamp() * 1000) == part.created[n]


def test_events_come_in_order_in_the_last_thirty_days_and_the_same_for_the_same_seed(
    shop: World, told: pl.DataFrame
) -> None:
    assert told["occurred_at"].is_sorted()
    assert told["event_id"].n_unique() == told.height
    assert told["occurred_at"].min() >= shop.plan.now - dt.timedelta(days=visits.DAYS, hours=2)  # type: ignore[operator]
    assert told["occurred_at"].max() <= shop.plan.now  # type: ignore[operator]
    assert told.equals(visits.events(shop, 600))
    last = told.group_by("session_id").agg(pl.col("kind").sort_by("occurred_at").last())
    ended = told.filter(pl.col("kind") == "order_placed")["session_id"]
    assert set(last.filter(pl.col("session_id").is_in(ended.implode()))["kind"]) == {"order_placed"}


def test_only_what_belongs_to_a_kind_is_told(told: pl.DataFrame) -> None:
    searches = told.filter(pl.col("kind") == "search")
    assert searches["query"].null_count() == searches["results"].null_count() == 0
    assert 0.02 < (searches["results"] == 0).mean() < 0.12  # type: ignore[operator]
    others = told.filter(pl.col("kind") != "search")
    assert others["query"].null_count() == others["results"].null_count() == others.height
    views = told.filter(pl.col("kind") == "product_view")
    assert views["product_id"].null_count() == views["price"].null_count() == 0
    assert views["quantity"].null_count() == views.height
    assert told.filter(pl.col("variant").is_not_null())["user_id"].null_count() == 0

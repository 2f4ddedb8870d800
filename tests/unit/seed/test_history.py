"""The seeded year: sizes, shares and shapes that the specification asks for, and that chunks stand for themselves."""

import datetime as dt
from collections import Counter

import numpy as np
import pytest

from seed import calendar, history, stock
from seed.goods import Goods, goods, mean_units
from seed.history import Chunk, Ending, Shelves
from seed.ids import item_ids, uuid7s
from seed.paths import MESSAGES, path
from seed.people import People, people
from seed.placed import placed
from seed.plan import Plan, demo
from seed.rows import catalog, inventory, orders
from seed.stock import Stock
from seed.words import CATEGORIES

NOW = dt.datetime(2026, 11, 23, 22, 10, 30, 5000, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return demo(NOW)


@pytest.fixture(scope="module")
def customers(plan: Plan) -> People:
    return people(plan, first_email="first@surge.example")


@pytest.fixture(scope="module")
def products(plan: Plan) -> Goods:
    return goods(plan)


@pytest.fixture(scope="module")
def shelves(plan: Plan, customers: People, products: Goods) -> Shelves:
    return stock.shelves(plan, customers, products)


@pytest.fixture(scope="module")
def levels(plan: Plan, customers: People, products: Goods, shelves: Shelves) -> Stock:
    return stock.stock(plan, customers, products, shelves)


@pytest.fixture(scope="module")
def chunks(plan: Plan, customers: People, products: Goods, shelves: Shelves) -> list[Chunk]:
    return [history.chunk(plan, numbers, customers, products, shelves) for numbers in plan.chunks()]


def test_the_same_seed_number_makes_the_same_shop(plan: Plan, customers: People, products: Goods) -> None:
    again = people(plan, first_email="first@surge.example")
    assert again.customers == customers.customers
    assert goods(plan).products == products.products
    other = Plan(customers=1_000, products=2_000, orders=20_000, now=plan.now, seed=7)
    assert [c.name for c in people(other).customers] != [c.name for c in customers.customers]


def test_logins_do_not_depend_on_the_moment(customers: People) -> None:
    later = people(demo(NOW + dt.timedelta(days=400)), first_email="first@surge.example")
    assert [c.email for c in later.customers] == [c.email for c in customers.customers]
    assert later.customers[0].email == "first@surge.example"
    assert len({c.email for c in later.customers}) == 1_000


def test_a_chunk_can_be_made_alone(
    plan: Plan, customers: People, products: Goods, shelves: Shelves, chunks: list[Chunk]
) -> None:
    alone = history.chunk(plan, chunks[2].numbers, customers, products, shelves)
    assert np.array_equal(alone.created, chunks[2].created)
    assert np.array_equal(alone.product, chunks[2].product)


def test_products_come_in_fifty_categories_between_five_and_five_hundred_dollars(products: Goods) -> None:
    assert Counter(p.category for p in products.products) == dict.fromkeys((c.name for c in CATEGORIES), 40)
    assert products.prices.min() >= 500
    assert products.prices.max() <= 50_000
    assert len({p.name for p in products.products}) == len({p.sku for p in products.products}) == 2_000


def test_average_order_has_two_and_a_half_items_for_75_dollars(chunks: list[Chunk]) -> None:
    totals = np.concatenate([chunk.total for chunk in chunks]) / 100
    lines = sum(int(chunk.has_line.sum()) for chunk in chunks)
    assert totals.mean() == pytest.approx(75, rel=0.03)
    assert totals.std() == pytest.approx(50, rel=0.2)
    assert np.median(totals) < totals.mean()
    assert lines / 20_000 == pytest.approx(2.5, rel=0.02)
    assert 2.5 < mean_units() < 3.2


def test_orders_end_as_the_specification_says(chunks: list[Chunk]) -> None:
    ending = np.concatenate([chunk.ending for chunk in chunks])
    share = {how: float((ending == how).mean()) for how in Ending}
    cancelled = sum(
        share[how]
        for how in (Ending.OUT_OF_STOCK, Ending.PAYMENT_TIMEOUT, Ending.CUSTOMER_REQUEST, Ending.ADMIN_REQUEST)
    )
    assert share[Ending.DELIVERED] == pytest.approx(0.60, abs=0.01)
    assert share[Ending.SHIPPED] == pytest.approx(0.15, abs=0.01)
    assert share[Ending.PROCESSING] == pytest.approx(0.10, abs=0.01)
    assert share[Ending.PAYMENT_FAILED] == pytest.approx(0.05, abs=0.01)
    assert cancelled == pytest.approx(0.10, abs=0.01)


def test_orders_peak_in_the_holidays_in_the_evening_and_on_black_friday(plan: Plan, chunks: list[Chunk]) -> None:
    created = np.concatenate([chunk.created for chunk in chunks])
    moments = [dt.datetime.fromtimestamp(ms / 1000, dt.UTC) for ms in created.tolist()]
    assert sum(m.month >= 11 for m in moments) / 20_000 == pytest.approx(0.40, abs=0.02)
    assert sum(19 <= m.hour < 22 for m in moments) / 20_000 == pytest.approx(0.30, abs=0.01)
    (busiest, count), *_ = Counter(m.date() for m in moments).most_common(1)
    assert busiest in (dt.date(2025, 11, 28), dt.date(2025, 12, 1))
    assert count / (20_000 / 365) == pytest.approx(calendar.SPIKE, rel=0.1)
    assert np.all(np.diff(created) >= 0)
    assert plan.start <= moments[0]
    assert moments[-1] < plan.now
    shares = calendar.hour_shares()
    assert shares.max() / shares.min() == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize(("year", "day"), [(2024, 29), (2025, 28), (2026, 27)])
def test_black_friday_follows_the_fourth_thursday(year: int, day: int) -> None:
    assert calendar.black_friday(year) == dt.date(year, 11, day)


def test_nobody_buys_before_registering_or_before_the_product_was_there(
    customers: People, products: Goods, chunks: list[Chunk]
) -> None:
    listed = np.array([int(p.created_at.timestamp() * 1000) for p in products.products])
    for chunk in chunks:
        assert np.all(customers.registered_ms[chunk.customer] <= chunk.created)
        assert np.all(listed[chunk.product] < chunk.created[:, None])


def test_an_order_has_a_product_once(chunks: list[Chunk]) -> None:
    for chunk in chunks:
        for has, bought in zip(chunk.has_line.tolist(), chunk.product.tolist(), strict=True):
            kept = [product for is_line, product in zip(has, bought, strict=True) if is_line]
            assert len(kept) == len(set(kept)) > 0


def test_stock_is_plentiful_scarce_and_out_as_the_specification_says(levels: Stock, chunks: list[Chunk]) -> None:
    on_hand = levels.quantity.sum(axis=1)
    assert (on_hand == 0).mean() == pytest.approx(0.10, abs=0.005)
    assert ((on_hand >= 10) & (on_hand < 50)).mean() == pytest.approx(0.20, abs=0.01)
    assert ((on_hand >= 50) & (on_hand <= 500)).mean() == pytest.approx(0.70, abs=0.01)
    assert np.all(levels.reserved <= levels.quantity)
    sent = sum(chunk.units(stock.has_left(chunk), 2_000) for chunk in chunks)
    held = sum(chunk.units(chunk.ending == Ending.PROCESSING, 2_000) for chunk in chunks)
    assert np.array_equal(levels.sent, sent)
    assert np.array_equal(levels.reserved, held)
    assert np.all((levels.initial == 0) | levels.stocked)


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_is_one_that_the_saga_comes_to(ending: Ending) -> None:
    course = path(ending)
    assert [step.sequence for step in course.steps] == list(range(1, len(MESSAGES[ending]) + 2))
    assert (course.cancel_reason is not None) == (course.instance.status == "cancelled")


def test_orders_say_when_each_of_their_steps_came(chunks: list[Chunk], customers: People, products: Goods) -> None:
    for order in placed(chunks[0], customers, products):
        assert order.moments == sorted(order.moments)
        assert len(order.moments) == len(order.path.steps)
        assert order.total == sum(line.quantity * line.unit_price for line in order.lines)
        assert order.reserved is (order.ending is not Ending.OUT_OF_STOCK)
        assert order.order_id.version == 7
        if order.ending is Ending.OUT_OF_STOCK:
            with pytest.raises(ValueError, match="never had"):
                order.due("inventory.reserved")


def test_prices_of_the_past_are_those_of_their_day(products: Goods, chunks: list[Chunk]) -> None:
    assert sum(p.repriced_at is not None for p in products.products) == pytest.approx(300, abs=60)
    for order_created, bought, paid in zip(
        chunks[0].created.tolist(), chunks[0].product.tolist(), chunks[0].unit_price.tolist(), strict=True
    ):
        for number, price in zip(bought, paid, strict=True):
            product = products.products[number]
            changed = product.repriced_at is not None and order_created < product.repriced_at.timestamp() * 1000
            assert price == (product.old_price if changed else product.price)


def test_the_ledger_ends_where_the_shelves_are(
    plan: Plan, levels: Stock, customers: People, products: Goods, shelves: Shelves
) -> None:
    warehouses = uuid7s(np.zeros(5, dtype=np.int64), plan.generator(9))
    balances = inventory.Balances(products, levels, warehouses)
    on_hand = {
        (row[0], row[1]): row[2]
        for target, rows in inventory.base(products, levels, warehouses, now=plan.now)
        if target is inventory.LEVELS
        for row in rows
    }
    balance: dict[tuple[object, object], int] = {}
    for numbers in plan.chunks():
        bought = list(placed(history.chunk(plan, numbers, customers, products, shelves), customers, products))
        for target, rows in inventory.rows(bought, balances):
            if target is inventory.LEDGER:
                balance |= {(row[0], row[1]): row[4] for row in rows}
    assert min(balance.values()) >= 0
    assert all(on_hand[key] == left for key, left in balance.items())


def test_order_rows_fit_their_columns(chunks: list[Chunk], customers: People, products: Goods) -> None:
    bought = list(placed(chunks[1], customers, products))
    for target, rows in orders.rows(bought, currency="USD", warehouses=["w"] * 5):
        assert all(len(row) == len(target.columns) for row in rows)


def test_ids_are_version_seven_and_sort_by_time() -> None:
    moments = np.array([1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000])
    ids = uuid7s(moments, np.random.default_rng(1))
    assert ids == sorted(ids)
    assert {str(i)[14] for i in ids} == {"7"}
    assert [i.int >> 80 for i in ids] == moments.tolist()
    assert len({*ids, *item_ids(ids[0], 6)}) == 9


def test_slugs_are_short_and_plain() -> None:
    assert catalog.slug("Televisions & Video") == "televisions-video"
    assert catalog.slug("Women's Clothing") == "womens-clothing"
    assert len({catalog.slug(category.name) for category in CATEGORIES}) == 50


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"orders": -1}, {"chunk": 0}, {"now": NOW.replace(tzinfo=None)}])
def test_a_plan_must_make_sense(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be aware|count from"):
        Plan(**{"customers": 1, "products": 1, "orders": 1, "now": NOW, **wrong})  # type: ignore[arg-type]

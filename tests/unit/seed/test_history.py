"""The seeded year: sizes, shares and shapes that the specification asks for, and that chunks stand for themselves."""

import datetime as dt
from collections import Counter

import numpy as np
import pytest

from seed import calendar, experiments, fraud, history, stock
from seed.goods import FLASH_FACTOR, Goods, mean_units
from seed.history import LEFT, Chunk, Ending, World
from seed.ids import as_uuids, parts, uuid7s
from seed.loading import plan_fields, plan_of
from seed.paths import MESSAGES, path
from seed.people import People, people
from seed.places import WAREHOUSES
from seed.plan import DAY_MS, WEEK_MS, Plan, Scale, demo, scaled
from seed.rows import catalog
from seed.rows.inventory import movements
from seed.stock import Stock
from seed.taste import GROUPS, SEGMENTS
from seed.words import CATEGORIES
from seed.world import world

NOW = dt.datetime(2026, 11, 23, 22, 10, 30, 5000, tzinfo=dt.UTC)
ORDERS = 60_000


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(customers=3_000, products=2_000, orders=ORDERS, now=NOW.replace(microsecond=0), chunk=20_000)


@pytest.fixture(scope="module")
def shop(plan: Plan) -> World:
    return world(plan, first_email="first@surge.example")


@pytest.fixture(scope="module")
def customers(shop: World) -> People:
    return shop.people


@pytest.fixture(scope="module")
def products(shop: World) -> Goods:
    return shop.goods


@pytest.fixture(scope="module")
def chunks(plan: Plan, shop: World) -> list[Chunk]:
    return [history.chunk(shop, numbers) for numbers in plan.chunks()]


@pytest.fixture(scope="module")
def levels(plan: Plan, shop: World, chunks: list[Chunk]) -> Stock:
    return stock.stock(plan, shop.goods.draft, shop.stocked, (movements(plan, part) for part in chunks))


def joined(chunks: list[Chunk], name: str) -> np.ndarray:
    return np.concatenate([getattr(part, name) for part in chunks])


def test_the_same_seed_number_makes_the_same_shop(plan: Plan, shop: World) -> None:
    again = world(plan, first_email="first@surge.example")
    assert again.people.customers == shop.people.customers
    assert again.goods.products == shop.goods.products
    other = Plan(customers=3_000, products=2_000, orders=ORDERS, now=plan.now, seed=7)
    assert [c.name for c in people(other).customers] != [c.name for c in shop.people.customers]


def test_logins_do_not_depend_on_the_moment(customers: People) -> None:
    later = people(demo(NOW + dt.timedelta(days=400), customers=3_000), first_email="first@surge.example")
    assert [c.email for c in later.customers] == [c.email for c in customers.customers]
    assert later.customers[0].email == "first@surge.example"
    assert len({c.email for c in later.customers}) == 3_000


def test_a_chunk_can_be_made_alone(shop: World, chunks: list[Chunk]) -> None:
    alone = history.chunk(shop, chunks[2].numbers)
    for name in ("ids", "created", "product", "unit_price", "steps", "ending"):
        assert np.array_equal(getattr(alone, name), getattr(chunks[2], name)), name


def test_a_plan_survives_being_told_to_another_process(plan: Plan) -> None:
    assert plan_of(plan_fields(plan)) == plan
    full = scaled(Scale.FULL, NOW)
    assert (full.customers, full.products, full.orders) == (100_000, 50_000, 10_000_000)
    assert full.recorded_ms == full.now_ms - 3 * DAY_MS


def test_products_come_in_fifty_categories_between_five_and_five_hundred_dollars(products: Goods) -> None:
    assert Counter(p.category for p in products.products) == dict.fromkeys((c.name for c in CATEGORIES), 40)
    assert products.prices.min() >= 500
    assert products.prices.max() <= 50_000
    assert len({p.name for p in products.products}) == len({p.sku for p in products.products}) == 2_000


def test_average_order_has_two_and_a_half_items_for_75_dollars(chunks: list[Chunk]) -> None:
    totals = joined(chunks, "total") / 100
    lines = sum(len(part.product) for part in chunks)
    assert totals.mean() == pytest.approx(75, rel=0.03)
    assert totals.std() == pytest.approx(50, rel=0.06)
    assert np.median(totals) < totals.mean()
    assert lines / ORDERS == pytest.approx(2.5, rel=0.02)
    assert 2.5 < mean_units() < 3.2


def test_orders_end_as_the_specification_says(chunks: list[Chunk]) -> None:
    ending = joined(chunks, "ending")
    share = {how: float((ending == how).mean()) for how in Ending}
    cancelled = sum(
        share[how]
        for how in (Ending.OUT_OF_STOCK, Ending.PAYMENT_TIMEOUT, Ending.CUSTOMER_REQUEST, Ending.ADMIN_REQUEST)
    )
    assert share[Ending.DELIVERED] == pytest.approx(0.60, abs=0.01)
    assert share[Ending.SHIPPED] == pytest.approx(0.15, abs=0.01)
    assert share[Ending.PROCESSING] == pytest.approx(0.10, abs=0.01)
    assert share[Ending.PAYMENT_FAILED] == pytest.approx(0.05, abs=0.005)
    assert cancelled == pytest.approx(0.10, abs=0.005)


def test_orders_peak_in_the_holidays_in_the_evening_and_on_black_friday(plan: Plan, chunks: list[Chunk]) -> None:
    created = joined(chunks, "created")
    moments = [dt.datetime.fromtimestamp(ms / 1000, dt.UTC) for ms in created.tolist()]
    assert sum(m.month >= 11 for m in moments) / ORDERS == pytest.approx(0.40, abs=0.02)
    assert sum(19 <= m.hour < 22 for m in moments) / ORDERS == pytest.approx(0.30, abs=0.01)
    (busiest, count), *_ = Counter(m.date() for m in moments).most_common(1)
    assert busiest in (dt.date(2025, 11, 28), dt.date(2025, 12, 1))
    assert count / (ORDERS / 365) == pytest.approx(calendar.SPIKE, rel=0.1)
    assert np.all(np.diff(created) >= 0)
    assert plan.start <= moments[0]
    assert moments[-1] < plan.now
    shares = calendar.hour_shares()
    assert shares.max() / shares.min() == pytest.approx(10, rel=0.25)


@pytest.mark.parametrize(("year", "day"), [(2024, 29), (2025, 28), (2026, 27)])
def test_black_friday_follows_the_fourth_thursday(year: int, day: int) -> None:
    assert calendar.black_friday(year) == dt.date(year, 11, day)


def test_nobody_buys_before_registering_or_what_is_not_for_sale(
    plan: Plan, customers: People, products: Goods, chunks: list[Chunk]
) -> None:
    for part in chunks:
        assert np.all(customers.registered_ms[part.suspicion.customer] <= part.created)
        week = (part.created[part.line_order] - plan.first_week_ms) // WEEK_MS
        assert np.all(products.draft.sold_in(part.product, week))
        assert np.all(products.draft.created_ms[part.product] < part.created[part.line_order])


def test_an_order_has_a_product_once(chunks: list[Chunk]) -> None:
    for part in chunks:
        pairs = part.line_order * 10_000 + part.product
        assert len(np.unique(pairs)) == len(pairs)
        assert np.all(np.diff(part.first) > 0)
        amounts = np.bincount(part.line_order, weights=part.unit_price * part.quantity)
        assert np.array_equal(amounts.astype(np.int64), part.total)


def test_segments_buy_what_they_like(customers: People, products: Goods, chunks: list[Chunk]) -> None:
    segment = np.concatenate([customers.segment[part.suspicion.customer][part.line_order] for part in chunks])
    category = products.draft.category[joined(chunks, "product")]
    room = GROUPS["outdoors"]
    in_room = (category >= room.start) & (category < room.stop)
    names = [entry.name for entry in SEGMENTS]
    liked = in_room[segment == names.index("outdoors")].mean()
    others = in_room[segment == names.index("gadgeteer")].mean()
    assert liked > 3 * others


def test_companions_are_bought_together(products: Goods, chunks: list[Chunk]) -> None:
    together = chance = 0
    for part in chunks:
        several = np.flatnonzero(np.diff(part.first) > 1)
        lead, second = part.product[part.first[several]], part.product[part.first[several] + 1]
        together += int((products.draft.companions[lead] == second[:, None]).any(axis=1).sum())
        shuffled = np.random.default_rng(1).permutation(second)
        chance += int((products.draft.companions[lead] == shuffled[:, None]).any(axis=1).sum())
    assert together > 20 * max(chance, 1)


def test_what_gets_dearer_sells_less(plan: Plan, products: Goods, chunks: list[Chunk]) -> None:
    """Units in weeks of an offer against other weeks, in the goods whose customers look at the price."""
    week = np.concatenate([((p.created - plan.first_week_ms) // WEEK_MS)[p.line_order] for p in chunks])
    product = joined(chunks, "product")
    sold = np.zeros(products.prices.shape)
    np.add.at(sold, (week, product), 1)
    share = sold / sold.sum(axis=1, keepdims=True)
    electronics = products.draft.category < GROUPS["electronics"].stop
    offered = products.draft.ratio < 0.8
    on, off = share[offered & electronics].mean(), share[~offered & electronics].mean()
    assert on > 1.3 * off


def test_gardens_bloom_in_spring(products: Goods, chunks: list[Chunk]) -> None:
    category = products.draft.category[joined(chunks, "product")]
    created = np.concatenate([part.created[part.line_order] for part in chunks])
    month = created.astype("datetime64[ms]").astype("datetime64[M]").astype(int) % 12 + 1
    garden = category == [c.name for c in CATEGORIES].index("Garden")
    assert garden[month == 5].mean() > 2.5 * garden[month == 11].mean()


def test_flash_sales_sell_fifty_times_as_much(plan: Plan) -> None:
    busy = Plan(customers=2_000, products=4_000, orders=2_000_000, now=plan.now)
    crowd = world(busy)
    sale = crowd.goods.flash_sales[12]
    at = calendar.moments(busy, range(0, busy.orders, 1), busy.generator(99))
    first = int(np.searchsorted(at, sale.start_ms)) - 1_000
    part = history.chunk(crowd, range(first, int(np.searchsorted(at, sale.end_ms)) + 1_000))
    inside = ((part.created >= sale.start_ms) & (part.created < sale.end_ms))[part.line_order]
    usual = crowd.goods.draft.popularity[sale.product]
    assert (part.product[inside] == sale.product).mean() / usual == pytest.approx(FLASH_FACTOR, rel=0.35)
    assert set(part.unit_price[inside & (part.product == sale.product)].tolist()) == {sale.price}


def test_two_percent_are_fraud_in_every_pattern_and_some_honest_orders_look_like_it(chunks: list[Chunk]) -> None:
    kind = np.concatenate([part.suspicion.kind for part in chunks])
    assert (kind >= fraud.FIRST_FRAUD).mean() == pytest.approx(0.02, abs=0.002)
    for pattern, share in fraud.SHARES.items():
        assert (kind == pattern).mean() == pytest.approx(share, rel=0.35), pattern
    for honest in (fraud.Kind.GIFT, fraud.Kind.TRAVELLER, fraud.Kind.SHARED_NETWORK, fraud.Kind.NEW_HOME):
        assert (kind == honest).mean() > 0.002


def test_fraud_looks_like_what_it_is(customers: People, chunks: list[Chunk]) -> None:
    part = chunks[1]
    kind, total = part.suspicion.kind, part.total
    plain = kind == fraud.Kind.PLAIN
    age = part.created - customers.registered_ms[part.suspicion.customer]
    assert np.median(total[kind == fraud.Kind.NEW_ACCOUNT]) > 2 * np.median(total[plain])
    assert np.median(total[kind == fraud.Kind.CARD_TESTING]) < np.median(total[plain]) / 2
    assert np.median(age[kind == fraud.Kind.NEW_ACCOUNT]) < 7 * DAY_MS < np.median(age[kind == fraud.Kind.PATIENT])
    ring = np.flatnonzero(kind == fraud.Kind.RING)
    behind = Counter(part.suspicion.connection[ring].tolist())
    assert behind.most_common(1)[0][1] >= 10
    takeover = np.flatnonzero(kind == fraud.Kind.TAKEOVER)
    assert len(set(part.suspicion.address[takeover].tolist())) > 2 * len(
        set(part.suspicion.customer[takeover].tolist())
    )


def test_customers_leave(plan: Plan, customers: People, chunks: list[Chunk]) -> None:
    gone = customers.churned_ms < plan.now_ms
    assert 0.15 < gone.mean() < 0.6
    last = chunks[-1]
    bought_after = (customers.churned_ms[last.suspicion.customer] < last.created)[~last.suspicion.fraud]
    assert bought_after.mean() < 0.01


def test_the_experiment_that_works_adds_lines_and_only_for_its_customers(plan: Plan, shop: World) -> None:
    (entry,) = (e for e in experiments.assignments(plan, shop.people) if e.experiment.lines)
    assert np.array_equal(np.flatnonzero(shop.uplift.customers), np.sort(entry.customer[entry.variant == 1]))
    assert 0.45 < entry.variant.mean() < 0.55


def test_stock_is_plentiful_scarce_and_out_as_the_specification_says(levels: Stock) -> None:
    free = (levels.quantity - levels.reserved).reshape(-1, len(WAREHOUSES)).sum(axis=1)
    assert (free == 0).mean() == pytest.approx(0.10, abs=0.005)
    assert ((free >= 10) & (free < 50)).mean() == pytest.approx(0.20, abs=0.01)
    assert ((free >= 50) & (free <= 500)).mean() == pytest.approx(0.70, abs=0.01)
    assert np.all(levels.reserved <= levels.quantity)


@pytest.mark.parametrize("recorded", [dt.timedelta(days=365), dt.timedelta(days=30), dt.timedelta(0)])
def test_the_ledger_ends_where_the_shelves_are(plan: Plan, shop: World, recorded: dt.timedelta) -> None:
    """However many orders have lines of their own."""
    some = Plan(
        customers=plan.customers, products=plan.products, orders=6_000, now=plan.now, chunk=3_000, recorded=recorded
    )
    smaller = World(some, shop.people, shop.goods, shop.tastes, shop.stocked, shop.uplift)
    drawn = [history.chunk(smaller, numbers) for numbers in some.chunks()]
    found = stock.stock(some, shop.goods.draft, shop.stocked, (movements(some, part) for part in drawn))
    ledger = found.ledger
    assert ledger.balance.min() >= 0
    assert np.all(np.diff(ledger.moment) >= 0)
    assert np.array_equal(
        np.bincount(ledger.shelf, weights=ledger.delta, minlength=len(found.quantity)), found.quantity
    )
    last = dict(zip(ledger.shelf.tolist(), ledger.balance.tolist(), strict=True))
    assert all(found.quantity[shelf] == balance for shelf, balance in last.items())
    gone = sum(int(history.units(part, part.ended(*LEFT), some.products).sum()) for part in drawn)
    assert -int(ledger.delta[ledger.kind >= stock.SETTLED].sum()) == gone
    of_orders = ledger.kind == stock.SHIPPED
    assert bool(of_orders.any()) is (recorded > dt.timedelta(0))
    assert np.array_equal(of_orders, ledger.order >= 0)


@pytest.mark.parametrize("ending", list(Ending))
def test_every_ending_is_one_that_the_saga_comes_to(ending: Ending) -> None:
    course = path(ending)
    assert [step.sequence for step in course.steps] == list(range(1, len(MESSAGES[ending]) + 2))
    assert (course.cancel_reason is not None) == (course.instance.status == "cancelled")
    assert len(course.steps) - 1 <= history.STEPS


def test_steps_come_one_after_the_other(plan: Plan, chunks: list[Chunk]) -> None:
    for part in chunks:
        assert np.all(np.diff(np.column_stack([part.created, part.steps]), axis=1) >= 0)
        assert part.steps.max() < plan.now_ms


def test_prices_of_the_past_are_those_of_their_day(products: Goods, chunks: list[Chunk]) -> None:
    part = chunks[1]
    created = part.created[part.line_order]
    for number in range(0, len(part.product), 37):
        product = products.products[part.product[number]]
        price = product.repricings[0].old if product.repricings else product.price
        for change in product.repricings:
            if change.at_ms <= created[number]:
                price = change.new
        assert part.unit_price[number] == price


def test_ids_are_version_seven_and_sort_by_time(chunks: list[Chunk]) -> None:
    moments = np.array([1_700_000_000_000, 1_700_000_000_001, 1_800_000_000_000])
    ids = uuid7s(moments, np.random.default_rng(1))
    assert ids == sorted(ids)
    assert {str(i)[14] for i in ids} == {"7"}
    assert [i.int >> 80 for i in ids] == moments.tolist()
    orders = chunks[0].ids[:50]
    found = {*as_uuids(orders), *(i for part in (1, 2, 15, 32) for i in as_uuids(parts(orders, part)))}
    assert len(found) == 250
    assert len(np.unique(joined(chunks, "ids"), axis=0)) == ORDERS


def test_slugs_are_short_and_plain() -> None:
    assert catalog.slug("Televisions & Video") == "televisions-video"
    assert catalog.slug("Women's Clothing") == "womens-clothing"
    assert len({catalog.slug(category.name) for category in CATEGORIES}) == 50


@pytest.mark.parametrize("wrong", [{"customers": 0}, {"orders": -1}, {"chunk": 0}, {"now": NOW.replace(tzinfo=None)}])
def test_plans_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    fields: dict[str, object] = {"customers": 1, "products": 50, "orders": 1, "now": NOW}
    with pytest.raises(ValueError, match=r"count from|aware"):
        Plan(**{**fields, **wrong})  # type: ignore[arg-type]

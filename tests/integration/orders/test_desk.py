"""The order desk finds what fits, in order, page by page, by the indexes that were made for it."""

import datetime as dt
import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.orders import OrderStatus
from kit.db import ReadSession
from kit.ids import new_id
from kit.resources import Resources
from oltp.orders import desk_repository
from oltp.orders.desk import COUNT_CAP, DeskFilter, DeskKey, Sort, id_bounds
from oltp.orders.desk_repository import OrderDesk
from oltp.orders.domain import Filter

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
PRODUCT = new_id()
S = OrderStatus

_CROWD = """
    INSERT INTO orders.orders (id, user_id, status, total_amount, currency, cancel_reason, payment_method,
        shipping_address, idempotency_key, sequence, created_at, updated_at)
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
            || substr(md5(n::text), 4, 15))::uuid,
        md5((n % 50)::text)::uuid, status, (n * 7919) % 300 + 0.5, 'USD',
        CASE WHEN status = 'cancelled' THEN 'out_of_stock' END, 'card', '{}', n::text, 1, at, now()
    FROM (SELECT n, timestamptz '2026-06-01' - n * interval '17 minutes' AS at,
            (ARRAY['delivered', 'delivered', 'cancelled', 'shipped', 'pending'])[1 + n % 5] AS status
          FROM generate_series(1, 6000) n) crowd
"""
_LINES = """
    INSERT INTO orders.order_items (id, order_id, product_id, sku, product_name, category, quantity, price_at_purchase)
    SELECT gen_random_uuid(), id, CAST(:product AS uuid), 'S', 'Tea', 'tea', 1, 5 FROM orders.orders
    WHERE created_at > timestamptz '2026-06-01' - interval '40 days' AND total_amount > 100
        AND user_id IN (SELECT md5(n::text)::uuid FROM generate_series(0, 49) n)
"""
_OTHER_LINES = """
    INSERT INTO orders.order_items (id, order_id, product_id, sku, product_name, category, quantity, price_at_purchase)
    SELECT gen_random_uuid(), id, md5((n % 40)::text)::uuid, 'S', 'Cup', 'cups', 1, 5
    FROM orders.orders CROSS JOIN generate_series(1, 3) n
    WHERE user_id IN (SELECT md5(n::text)::uuid FROM generate_series(0, 49) n)
"""


@pytest.fixture(scope="module")
async def crowd(resources: Resources) -> AsyncIterator[ReadSession]:
    """A session that sees many orders, which nobody else ever does."""
    async with AsyncSession(resources.database.engine) as session:
        await session.execute(text(_CROWD))
        await session.execute(text(_LINES), {"product": PRODUCT})
        await session.execute(text(_OTHER_LINES))
        await session.execute(text("ANALYZE orders.orders"))
        await session.execute(text("ANALYZE orders.order_items"))
        yield cast(ReadSession, session)
        await session.rollback()


async def truth(session: ReadSession, wanted: DeskFilter, sort: Sort) -> list[str]:
    """The ids that fit, by a statement that no index was made for."""
    column, direction = "total_amount" if sort.by_total else "created_at", "DESC" if sort.descending else "ASC"
    asked = wanted.orders
    statement = f"""
        SELECT id::text FROM orders.orders o
        WHERE (cardinality(CAST(:statuses AS text[])) = 0 OR status = ANY(CAST(:statuses AS text[])))
          AND created_at >= :date_from AND created_at < :date_to AND total_amount * 100 BETWEEN :low AND :high
          AND (CAST(:user AS text) IS NULL OR user_id::text = :user)
          AND id::text LIKE :prefix
          AND (CAST(:product AS text) IS NULL OR EXISTS (
              SELECT FROM orders.order_items i WHERE i.order_id = o.id AND i.product_id::text = :product))
        ORDER BY {column} {direction}, id {direction}
    """
    parameters = {
        "statuses": [str(status) for status in asked.statuses],
        "date_from": asked.date_from or NOW - dt.timedelta(days=10_000),
        "date_to": asked.date_to or NOW + dt.timedelta(days=10_000),
        "low": asked.price_min or 0,
        "high": 10**12 if asked.price_max is None else asked.price_max,
        "user": wanted.user_id,
        "product": wanted.product_id,
        "prefix": f"{wanted.id_prefix}%",
    }
    return list((await session.execute(text(statement), parameters)).scalars())


async def walked(session: ReadSession, wanted: DeskFilter, sort: Sort, limit: int, most: int) -> list[str]:
    """The ids that pages give one after another, at least ``most`` of them if there are so many."""
    found: list[str] = []
    after: DeskKey | None = None
    while len(found) < most:
        page = await OrderDesk(session).page(wanted, sort, after=after, limit=limit)
        found += [stored.order_id for stored in page.orders]
        after = page.more
        if after is None:
            return found
    return found


def some_filter(chance: random.Random) -> DeskFilter:
    from_day, days = chance.randrange(70), chance.choice((1, 5, 60))
    product = PRODUCT if chance.random() < 0.25 else None
    return DeskFilter(
        orders=Filter(
            statuses=frozenset(chance.sample([S.DELIVERED, S.CANCELLED, S.PENDING], chance.choice((0, 0, 1, 2)))),
            date_from=NOW - dt.timedelta(days=from_day + days) if chance.random() < 0.5 else None,
            date_to=NOW - dt.timedelta(days=from_day) if chance.random() < 0.4 else None,
            price_min=chance.randrange(30_000) if chance.random() < 0.4 else None,
            price_max=chance.randrange(30_000) if chance.random() < 0.3 else None,
        ),
        user_id="d3d94468-02a4-4259-b55d-38e6d163e820" if chance.random() < 0.2 else None,
        product_id=product,
    )


@pytest.mark.parametrize("narrow", [5_000, 30])
async def test_pages_give_what_fits_in_order(crowd: ReadSession, narrow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_repository, "NARROW", narrow)
    monkeypatch.setattr(desk_repository, "WINDOW", 300)
    monkeypatch.setattr(desk_repository, "JOINED_WINDOW", 100)
    chance = random.Random(narrow)
    found = 0
    for _ in range(60):
        wanted = some_filter(chance)
        sort = chance.choice([Sort.NEWEST, Sort.OLDEST] if wanted.product_id else list(Sort))
        expected = await truth(crowd, wanted, sort)
        limit = chance.choice((7, 40))
        got = await walked(crowd, wanted, sort, limit, limit * 4)
        assert got == expected[: len(got)], (wanted, sort)
        assert len(got) >= min(len(expected), limit * 4), (wanted, sort)
        count = await OrderDesk(crowd).count(wanted)
        assert count.orders <= len(expected)
        if count.exact:
            assert count.orders == len(expected), wanted
        found += len(got)
    assert found > 1_000


async def test_an_id_is_found_by_its_beginning(crowd: ReadSession) -> None:
    [some] = await walked(crowd, DeskFilter(orders=Filter(date_to=NOW)), Sort.NEWEST, 1, 1)
    for length in (8, 13, 20, 36):
        wanted = DeskFilter(id_prefix=some[:length])
        for sort in Sort:
            assert await walked(crowd, wanted, sort, 50, 50) == await truth(crowd, wanted, sort)
    assert id_bounds(some.replace("-", "")[:20]) == id_bounds(some[:24])
    for nonsense in ("0193a0c", "zzzzzzzz", f"{some}0"):
        with pytest.raises(ValueError, match=nonsense):
            id_bounds(nonsense)


async def test_counting_stops_where_it_says(crowd: ReadSession) -> None:
    everything = await OrderDesk(crowd).count(DeskFilter())
    assert everything.orders >= 6_000
    assert everything.exact == (everything.orders < COUNT_CAP)


class Explained(Exception):
    """Carries the plan out of the repository."""


class Explainer:
    """A session that answers with the plan of what it is asked to execute."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def execute(self, statement: TextClause, parameters: dict[str, Any]) -> None:
        explained = text(f"EXPLAIN (COSTS OFF) {statement.text}").bindparams(*statement._bindparams.values())
        rows = await self._session.execute(explained, parameters)
        raise Explained("\n".join(row[0] for row in rows))


@pytest.mark.parametrize(
    ("wanted", "sort", "index"),
    [
        (DeskFilter(), Sort.NEWEST, "ix_orders_status_date"),
        (DeskFilter(orders=Filter(date_to=NOW)), Sort.OLDEST, "ix_orders_status_date"),
        (DeskFilter(), Sort.HIGHEST, "ix_orders_status_total"),
        (DeskFilter(orders=Filter(statuses=frozenset({S.SHIPPED}))), Sort.LOWEST, "ix_orders_status_total"),
        (DeskFilter(orders=Filter(price_min=29_000)), Sort.NEWEST, "ix_orders_status_total"),
        (DeskFilter(orders=Filter(date_from=NOW)), Sort.HIGHEST, "ix_orders_status_date"),
        (DeskFilter(user_id=new_id()), Sort.NEWEST, "ix_orders_user_date"),
        (DeskFilter(product_id=PRODUCT), Sort.NEWEST, "ix_order_items_product"),
        (DeskFilter(id_prefix="0193a0c4-80aa"), Sort.LOWEST, "orders_pkey"),
    ],
)
async def test_lists_walk_their_index(crowd: ReadSession, wanted: DeskFilter, sort: Sort, index: str) -> None:
    with pytest.raises(Explained) as explained:
        await OrderDesk(Explainer(crowd)).page(wanted, sort, after=None, limit=20)  # type: ignore[arg-type]
    plan = str(explained.value)
    assert f"using {index}" in plan or f"on {index}" in plan, plan
    assert "Seq Scan on orders" not in plan, plan

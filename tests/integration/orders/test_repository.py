"""The order queries use the indexes that were made for them."""

import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.orders import OrderStatus
from kit.db import ReadSession
from kit.ids import new_id
from kit.resources import Resources
from oltp.orders import repository
from oltp.orders.domain import Filter
from oltp.orders.repository import OrderRepository
from tests.integration.orders.conftest import Customer

NOW = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
KEY = (NOW, new_id())
USER = new_id()


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


Query = Callable[[OrderRepository], Awaitable[Any]]
ALL = Filter(
    statuses=frozenset({OrderStatus.SHIPPED, OrderStatus.CANCELLED}),
    date_from=NOW - dt.timedelta(days=30),
    date_to=NOW,
    price_min=100,
    price_max=200,
    text="tea",
)


_CROWD = """
    INSERT INTO orders.orders (id, user_id, status, total_amount, currency, cancel_reason, payment_method,
        shipping_address, idempotency_key, sequence, created_at, updated_at)
    SELECT gen_random_uuid(), md5((n % 400)::text)::uuid, status, n % 300, 'USD',
        CASE WHEN status = 'cancelled' THEN 'out_of_stock' END, 'card', '{}', n::text, 1,
        timestamptz '2026-06-01' - n * interval '17 minutes', now()
    FROM (SELECT n, (ARRAY['delivered', 'delivered', 'cancelled', 'shipped'])[1 + n % 4] AS status
          FROM generate_series(1, 20000) n) crowd
"""


@pytest.fixture(scope="module")
async def crowd(resources: Resources) -> AsyncIterator[ReadSession]:
    """A session that sees many orders, which nobody else ever does."""
    async with AsyncSession(resources.database.engine) as session:
        await session.execute(text(_CROWD))
        await session.execute(text("ANALYZE orders.orders"))
        yield cast(ReadSession, session)
        await session.rollback()


@pytest.mark.parametrize(
    ("query", "index", "condition"),
    [
        (lambda r: r.of_user(USER, Filter(), after=None, limit=20), "ix_orders_user_date", "user_id ="),
        (lambda r: r.of_user(USER, ALL, after=KEY, limit=20), "ix_orders_user_date", "ROW(created_at, id) <"),
        (lambda r: r.open_of_user(USER, most=10), "ix_orders_user_date", "user_id ="),
        (lambda r: r.happened_since([USER], NOW), "ix_orders_user_date", "user_id = watched.user_id"),
        (lambda r: r.happened_after({USER: 1}), "orders_pkey", "id = seen.id"),
        (lambda r: r.many([USER]), "orders_pkey", "id = ANY"),
    ],
)
async def test_queries_walk_their_index(crowd: ReadSession, query: Query, index: str, condition: str) -> None:
    with pytest.raises(Explained) as explained:
        await query(OrderRepository(Explainer(crowd)))  # type: ignore[arg-type]

    plan = str(explained.value)
    assert f"using {index}" in plan, plan
    where = plan.index(f"using {index}")
    assert condition in plan[where : where + 400], plan
    assert "Seq Scan on orders" not in plan, plan


async def test_a_search_that_finds_little_says_where_it_stopped(
    customer: Customer, read_session: ReadSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository, "WINDOW", 2)
    monkeypatch.setattr(repository, "MOST_WINDOWS", 2)
    now = dt.datetime.now(dt.UTC)
    placed = [await customer.place(total=100 * n, at=now - dt.timedelta(days=10 - n)) for n in range(2, 10)]
    reader = OrderRepository(read_session)
    cheap = Filter(price_max=300)

    first = await reader.of_user(customer.user_id, cheap, after=None, limit=5)
    second = await reader.of_user(customer.user_id, cheap, after=first.more, limit=5)
    third = await reader.of_user(customer.user_id, cheap, after=second.more, limit=5)

    assert first.orders == []
    assert first.more is not None
    assert first.more[1] == placed[4]
    assert [stored.order_id for stored in second.orders] == [placed[1], placed[0]]
    assert second.more is None or third.orders == []

"""Reads the books for the checker: orders, payments and stock, in one snapshot of Postgres."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from stack.chaos.checker import Books, Order

_ORDERS: Final = """
    SELECT o.id::text, o.user_id::text, o.idempotency_key, o.status, o.sequence,
           (o.total_amount * 100)::bigint AS total,
           CASE WHEN p.status IN ('succeeded', 'refunding', 'refunded') THEN (p.amount * 100)::bigint ELSE 0 END
               AS captured,
           coalesce((SELECT (r.amount * 100)::bigint FROM payments.refunds r
                     WHERE r.order_id = o.id AND r.status = 'succeeded'), 0) AS refunded,
           (SELECT count(DISTINCT a.idempotency_key) FROM payments.payment_attempts a
            WHERE a.order_id = o.id AND a.action = 'charge' AND a.outcome = 'captured') AS charges
    FROM orders.orders o LEFT JOIN payments.payments p ON p.order_id = o.id
"""
_ITEMS: Final = "SELECT order_id::text, product_id::text, quantity FROM orders.order_items"
_STOCK: Final = """
    SELECT product_id::text AS id, sum(quantity - reserved_quantity)::bigint AS units
    FROM inventory.inventory GROUP BY 1
"""
_CUSTOMERS: Final = "SELECT id::text FROM accounts.users WHERE role = 'customer' ORDER BY id"
_OPEN: Final = """
    SELECT CASE WHEN status IN ('processing', 'shipped', 'delivered', 'cancelled')
                THEN 'waiting for ' || (outstanding -> 0 ->> 'command') ELSE status END AS state, count(*) AS orders
    FROM orders.orders
    WHERE status NOT IN ('processing', 'shipped', 'delivered', 'cancelled') OR outstanding <> '[]'
    GROUP BY state
"""


@asynccontextmanager
async def _snapshot(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=5, server_settings={"application_name": "surge.chaos"})
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


async def stock(url: str) -> dict[str, int]:
    """Units of each product that can be bought.

    Raises:
        OSError, asyncpg.PostgresError: if Postgres is away; so do the others here.
    """
    async with _snapshot(url) as connection:
        return {row["id"]: row["units"] for row in await connection.fetch(_STOCK)}


async def customers(url: str) -> list[str]:
    """Ids of the shop's customers."""
    async with _snapshot(url) as connection:
        return [row["id"] for row in await connection.fetch(_CUSTOMERS)]


async def unsettled(url: str) -> dict[str, int]:
    """How many orders are in each status that is on the way to another, or wait for the answer to a command."""
    async with _snapshot(url) as connection:
        return {row["state"]: row["orders"] for row in await connection.fetch(_OPEN)}


async def read(url: str, *, stock_before: dict[str, int], dead_letters: int) -> Books:
    """The books of all orders."""
    async with _snapshot(url) as connection:
        items: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for row in await connection.fetch(_ITEMS):
            items[row["order_id"]][row["product_id"]] += row["quantity"]
        orders = {
            row["id"]: Order(
                order_id=row["id"],
                user=row["user_id"],
                key=row["idempotency_key"],
                status=row["status"],
                sequence=row["sequence"],
                total=row["total"],
                captured=row["captured"],
                refunded=row["refunded"],
                charges=row["charges"],
                items=dict(items[row["id"]]),
            )
            for row in await connection.fetch(_ORDERS)
        }
        after = {row["id"]: row["units"] for row in await connection.fetch(_STOCK)}
    return Books(orders, stock_before, after, dead_letters)

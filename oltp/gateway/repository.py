"""The gateway's only queries: what Redis has to know again of checkouts and flash sales, and a checkout by its key."""

import datetime as dt
from collections.abc import AsyncIterator, Collection, Sequence

from sqlalchemy import RowMapping, text

from contracts.orders import OrderStatus
from kit.db import ReadSession
from oltp.gateway import domain
from oltp.gateway.domain import CheckoutItem
from oltp.sales.gate import Claim, Standing

# every status is named so that the index on (status, created_at) serves; one statement is one snapshot
_CHECKOUT = """
    SELECT o.id::text, o.user_id::text, o.idempotency_key, o.request_hash, o.total_amount, o.currency,
           o.queue_position, o.created_at, bought.items
    FROM orders.orders AS o
    CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('product_id', i.product_id, 'sku', i.sku, 'name', i.product_name,
            'quantity', i.quantity, 'unit_price', (i.price_at_purchase * 100)::bigint)) AS items
        FROM orders.order_items AS i WHERE i.order_id = o.id
    ) AS bought
"""
_CHECKOUTS = text(
    f"""
    {_CHECKOUT}
    WHERE o.status IN ('pending', 'awaiting_payment', 'confirmed', 'processing', 'shipped', 'delivered',
                       'cancelling', 'cancelled')
      AND o.created_at >= :since
    """
)
_BY_KEY = text(f"{_CHECKOUT} WHERE o.user_id = CAST(:user_id AS uuid) AND o.idempotency_key = :key")


class Checkout:
    """A checkout as its order tells of it."""

    __slots__ = ("answer", "created_at", "idempotency_key", "order_id", "request_hash", "units", "user_id")

    def __init__(
        self,
        order_id: str,
        user_id: str,
        idempotency_key: str,
        request_hash: str,
        created_at: dt.datetime,
        answer: bytes,
        units: dict[str, int],
    ) -> None:
        self.order_id = order_id
        self.user_id = user_id
        self.idempotency_key = idempotency_key
        self.request_hash = request_hash
        self.created_at = created_at
        self.answer = answer
        self.units = units


def _checkout(row: RowMapping) -> Checkout:
    items = [CheckoutItem(**item) for item in row["items"] or ()]
    return Checkout(
        order_id=row["id"],
        user_id=row["user_id"],
        idempotency_key=row["idempotency_key"],
        request_hash=row["request_hash"],
        created_at=row["created_at"],
        answer=domain.answer(
            order_id=row["id"],
            total_amount=int(row["total_amount"] * 100),
            currency=row["currency"],
            queue_position=row["queue_position"],
            created_at=row["created_at"],
            items=items,
        ),
        units={item.product_id: item.quantity for item in items},
    )


async def checkouts_since(session: ReadSession, since: dt.datetime, chunk: int) -> AsyncIterator[Sequence[Checkout]]:
    """The checkouts since a moment with the answers that they got, ``chunk`` at a time."""
    result = await session.stream(_CHECKOUTS, {"since": since}, execution_options={"yield_per": chunk})
    async for rows in result.mappings().partitions(chunk):
        yield [_checkout(row) for row in rows]


async def checkout_by_key(session: ReadSession, user_id: str, key: str) -> Checkout | None:
    """The checkout that a customer made under a key; None if the saga has not written one."""
    row = (await session.execute(_BY_KEY, {"user_id": user_id, "key": key})).mappings().first()
    return _checkout(row) if row is not None else None


_SALE_ORDERS = text(
    """
    SELECT o.id::text, o.user_id::text, o.status, o.created_at, bought.units
    FROM orders.orders AS o
    CROSS JOIN LATERAL (
        SELECT sum(i.quantity)::integer AS units FROM orders.order_items AS i
        WHERE i.order_id = o.id AND i.product_id = (o.sale ->> 'product_id')::uuid
    ) AS bought
    WHERE o.sale IS NOT NULL AND o.sale ->> 'sale_id' = :sale_id AND o.status <> 'cancelled'
    """
)
_EXISTING = text("SELECT id::text FROM orders.orders WHERE id = ANY(CAST(:ids AS uuid[]))")
_UNPAID = (OrderStatus.PENDING, OrderStatus.AWAITING_PAYMENT)


async def sale_orders(session: ReadSession, sale_id: str) -> dict[str, Claim]:
    """The orders of a flash sale that have not been cancelled, by id."""
    rows = (await session.execute(_SALE_ORDERS, {"sale_id": sale_id})).mappings()
    return {
        row["id"]: Claim(
            order_id=row["id"],
            customer_id=row["user_id"],
            units=row["units"],
            standing=Standing.CLAIMED if row["status"] in _UNPAID else Standing.SOLD,
            since=row["created_at"],
        )
        for row in rows
    }


async def existing_orders(session: ReadSession, order_ids: Collection[str]) -> set[str]:
    """Those of the orders that the saga has written."""
    if not order_ids:
        return set()
    return set((await session.execute(_EXISTING, {"ids": list(order_ids)})).scalars())

"""The gateway's only queries: what Redis has to know again of the checkouts of the last hours, and of one of them."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence

from sqlalchemy import RowMapping, text

from kit.db import ReadSession
from oltp.gateway import domain
from oltp.gateway.domain import CheckoutItem

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

"""Every query on the order tables that is not the saga's (see ``sagas/store.py``); all of them read."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import RowMapping, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, INTEGER, TEXT

from contracts.admission import QueuePlace
from contracts.orders import OrderStatus
from kit.db import ReadSession
from oltp.orders.domain import Filter, Item, Outstanding, Placement, Recorded, Step, StoredOrder, timeline

Key = tuple[dt.datetime, str]
"""An order's place in every list: when it was created, and its id."""

ORDER: Final = """
    o.id::text AS id, o.user_id::text AS user_id, o.status, o.sequence, o.cancel_reason, o.currency,
    (o.total_amount * 100)::bigint AS total_amount, o.payment_method, o.shipping_address, o.outstanding,
    o.correlation_id, o.created_at, o.updated_at, o.queue_position, o.sale ->> 'sale_id' AS sale_id
"""
TRANSITIONS: Final = """
    (SELECT coalesce(jsonb_agg(jsonb_build_object('sequence', t.sequence, 'message_id', t.message_id,
        'message_type', t.message_type, 'previous_status', t.previous_status, 'status', t.status,
        'reason', t.reason, 'outputs', t.outputs, 'occurred_at', t.occurred_at) ORDER BY t.sequence), '[]')
     FROM orders.order_transitions t WHERE t.order_id = o.id) AS transitions
"""
ITEMS: Final = """
    (SELECT coalesce(jsonb_agg(jsonb_build_object('product_id', i.product_id, 'sku', i.sku, 'name', i.product_name,
        'category', i.category, 'quantity', i.quantity, 'unit_price', (i.price_at_purchase * 100)::bigint)
        ORDER BY i.id), '[]')
     FROM orders.order_items i WHERE i.order_id = o.id) AS items
"""
_WHOLE: Final = f"SELECT {ORDER}, {TRANSITIONS}, {ITEMS} FROM orders.orders o"  # noqa: S608

_FIND: Final = text(f"{_WHOLE} WHERE o.id = CAST(:id AS uuid)")
_MANY: Final = text(f"{_WHOLE} WHERE o.id = ANY(CAST(:ids AS uuid[]))").bindparams(bindparam("ids", type_=ARRAY(TEXT)))
_KNOWN: Final = text("SELECT id::text FROM orders.orders WHERE id = ANY(CAST(:ids AS uuid[]))").bindparams(
    bindparam("ids", type_=ARRAY(TEXT))
)
_PLACES: Final = text(
    "SELECT id::text, queue_position, sale ->> 'sale_id' AS sale_id FROM orders.orders "
    "WHERE id = ANY(CAST(:ids AS uuid[]))"
).bindparams(bindparam("ids", type_=ARRAY(TEXT)))
_AFTER: Final = text(
    f"""
    SELECT {ORDER}, {TRANSITIONS}
    FROM unnest(CAST(:ids AS uuid[]), CAST(:sequences AS integer[])) AS seen(id, sequence)
    JOIN orders.orders o ON o.id = seen.id AND o.sequence > seen.sequence
    """  # noqa: S608
).bindparams(bindparam("ids", type_=ARRAY(TEXT)), bindparam("sequences", type_=ARRAY(INTEGER)))
_RECENT: Final = text(
    f"""
    SELECT {ORDER}, {TRANSITIONS}
    FROM unnest(CAST(:users AS uuid[])) AS watched(user_id)
    CROSS JOIN LATERAL (
        SELECT * FROM orders.orders WHERE user_id = watched.user_id ORDER BY created_at DESC, id DESC LIMIT :most
    ) o
    WHERE o.updated_at >= :since
    """  # noqa: S608
).bindparams(bindparam("users", type_=ARRAY(TEXT)))
_OPEN: Final = text(
    f"""
    SELECT {ORDER}, {TRANSITIONS}
    FROM (SELECT * FROM orders.orders WHERE user_id = CAST(:user AS uuid)
          ORDER BY created_at DESC, id DESC LIMIT :scan) o
    WHERE o.status NOT IN ('delivered', 'cancelled') ORDER BY o.created_at DESC, o.id DESC LIMIT :most
    """  # noqa: S608
)

_WINDOW_OF_USER: Final = """
    SELECT * FROM orders.orders o WHERE o.user_id = CAST(:user AS uuid) {within}
    ORDER BY o.created_at DESC, o.id DESC LIMIT :window
"""
_PAGE: Final = """
    WITH seen AS MATERIALIZED ({window}),
    edge AS (SELECT count(*) AS scanned, (SELECT created_at FROM seen ORDER BY created_at, id LIMIT 1) AS edge_at,
                    (SELECT id::text FROM seen ORDER BY created_at, id LIMIT 1) AS edge_id FROM seen),
    found AS (SELECT o.* FROM seen o WHERE true {fits} ORDER BY o.created_at DESC, o.id DESC LIMIT :most)
    SELECT edge.scanned, edge.edge_at, edge.edge_id, page.*
    FROM edge LEFT JOIN (SELECT {order}, {transitions}, {items} FROM found o) page ON true
    ORDER BY page.created_at DESC, page.id DESC
"""
_WITHIN: Final[Mapping[str, str]] = {
    "after": "AND (o.created_at, o.id) < (:after_at, CAST(:after_id AS uuid))",
    "date_from": "AND o.created_at >= :date_from",
    "date_to": "AND o.created_at < :date_to",
}
_FITS: Final[Mapping[str, str]] = {
    "statuses": "AND o.status = ANY(CAST(:statuses AS text[]))",
    "price_min": "AND o.total_amount >= CAST(:price_min AS numeric) / 100",
    "price_max": "AND o.total_amount <= CAST(:price_max AS numeric) / 100",
    "text": """AND (o.id::text LIKE :pattern OR EXISTS (SELECT FROM orders.order_items i
               WHERE i.order_id = o.id AND i.product_name ILIKE :pattern))""",
}
_ARRAYS: Final = ("statuses",)

WINDOW: Final = 2_000
"""How many orders one round of a filtered search looks at."""
MOST_WINDOWS: Final = 10
"""How many rounds a search makes before it answers with what it has and where it stopped."""


@lru_cache(maxsize=256)
def _page_statement(window: str, within: tuple[str, ...], fits: tuple[str, ...]) -> TextClause:
    statement = _PAGE.format(
        window=window.format(within=" ".join(_WITHIN[name] for name in within)),
        fits=" ".join(_FITS[name] for name in fits),
        order=ORDER,
        transitions=TRANSITIONS,
        items=ITEMS,
    )
    arrays = [name for name in _ARRAYS if f":{name} " in statement]
    return text(statement).bindparams(*(bindparam(name, type_=ARRAY(TEXT)) for name in arrays))


@dataclass(frozen=True, slots=True)
class Found:
    """A page of orders, newest first; ``more`` says where the next page begins, None if there is none.

    A page may have fewer orders than asked for and still have a next one: a search looks at a bounded number of orders.
    """

    orders: list[StoredOrder]
    more: Key | None


@dataclass(frozen=True, slots=True)
class Happening:
    """A step of somebody's order."""

    order_id: str
    user_id: str
    step: Step


def _recorded(rows: Iterable[Mapping[str, Any]]) -> tuple[Recorded, ...]:
    return tuple(
        Recorded(
            sequence=row["sequence"],
            message_id=row["message_id"],
            message_type=row["message_type"],
            previous_status=OrderStatus(row["previous_status"]),
            status=OrderStatus(row["status"]),
            reason=row["reason"],
            outputs=tuple(row["outputs"]),
            occurred_at=dt.datetime.fromisoformat(row["occurred_at"]),
        )
        for row in rows
    )


def stored_order(row: RowMapping) -> StoredOrder:
    """The order in a row of :data:`ORDER`, :data:`TRANSITIONS` and :data:`ITEMS`."""
    return StoredOrder(
        order_id=row["id"],
        user_id=row["user_id"],
        status=OrderStatus(row["status"]),
        sequence=row["sequence"],
        cancel_reason=row["cancel_reason"],
        placement=Placement(
            created_at=row["created_at"],
            currency=row["currency"],
            total_amount=row["total_amount"],
            payment_method=row["payment_method"],
            items=tuple(Item(**item) for item in row["items"]),
        ),
        shipping_address=row["shipping_address"],
        recorded=_recorded(row["transitions"]),
        outstanding=tuple(
            Outstanding(o["command"], o["attempt"], o["tries"], dt.datetime.fromisoformat(o["due_at"]))
            for o in row["outstanding"]
        ),
        correlation_id=row["correlation_id"],
        updated_at=row["updated_at"],
        queue_position=row["queue_position"],
        sale_id=row["sale_id"],
    )


def _happenings(row: RowMapping) -> list[Happening]:
    steps = timeline(
        _recorded(row["transitions"]),
        status=OrderStatus(row["status"]),
        sequence=row["sequence"],
        cancel_reason=row["cancel_reason"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
    return [Happening(row["id"], row["user_id"], steps[number]) for number in sorted(steps)]


class OrderRepository:
    """Reads orders in the session's transaction."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def find(self, order_id: str) -> StoredOrder | None:
        """One order with everything about it."""
        row = (await self._session.execute(_FIND, {"id": order_id})).mappings().first()
        return stored_order(row) if row is not None else None

    async def many(self, order_ids: Iterable[str]) -> list[StoredOrder]:
        """Those of the orders that exist."""
        rows = (await self._session.execute(_MANY, {"ids": list(order_ids)})).mappings()
        return [stored_order(row) for row in rows]

    async def known(self, order_ids: Iterable[str]) -> set[str]:
        """The ids of those of the orders that exist."""
        return set((await self._session.execute(_KNOWN, {"ids": list(order_ids)})).scalars())

    async def of_user(self, user_id: str, wanted: Filter, *, after: Key | None, limit: int) -> Found:
        """A customer's orders that fit, by ``ix_orders_user_date``."""
        parameters: dict[str, Any] = {"user": user_id}
        if wanted.statuses:
            parameters["statuses"] = sorted(wanted.statuses)
        return await self._search(_WINDOW_OF_USER, parameters, wanted, after=after, limit=limit)

    async def _search(
        self, window: str, parameters: dict[str, Any], wanted: Filter, *, after: Key | None, limit: int
    ) -> Found:
        if wanted.date_from is not None:
            parameters["date_from"] = wanted.date_from
        if wanted.date_to is not None:
            parameters["date_to"] = wanted.date_to
        if wanted.price_min is not None:
            parameters["price_min"] = wanted.price_min
        if wanted.price_max is not None:
            parameters["price_max"] = wanted.price_max
        fits = [name for name in _FITS if name in parameters]
        if wanted.text:
            fits.append("text")
            escaped = wanted.text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            parameters["pattern"] = f"%{escaped.lower()}%"
        size = WINDOW if fits else limit + 1
        orders: list[StoredOrder] = []
        for _ in range(MOST_WINDOWS):
            if after is not None:
                parameters |= {"after_at": after[0], "after_id": after[1]}
            within = [name for name in _WITHIN if name in parameters or (name == "after" and after is not None)]
            statement = _page_statement(window, tuple(within), tuple(fits))
            most = limit + 1 - len(orders)
            rows = (
                (await self._session.execute(statement, {**parameters, "window": size, "most": most})).mappings().all()
            )
            orders += [stored_order(row) for row in rows if row["id"] is not None]
            if len(orders) > limit:
                last = orders[limit - 1]
                return Found(orders[:limit], (last.placement.created_at, last.order_id))
            if rows[0]["scanned"] < size:
                return Found(orders, None)
            after = (rows[0]["edge_at"], rows[0]["edge_id"])
        return Found(orders, after)

    async def open_of_user(self, user_id: str, *, most: int, scan: int = 500) -> list[list[Happening]]:
        """The stories of a customer's orders that have not ended, newest order first, of the last ``scan`` orders."""
        rows = (await self._session.execute(_OPEN, {"user": user_id, "most": most, "scan": scan})).mappings()
        return [_happenings(row) for row in rows]

    async def places(self, order_ids: Iterable[str]) -> list[QueuePlace]:
        """The places of those of the orders that the saga has written; they have left the log behind."""
        rows = (await self._session.execute(_PLACES, {"ids": list(order_ids)})).mappings()
        return [
            QueuePlace(order_id=row["id"], first=row["queue_position"], log=None, sale_id=row["sale_id"])
            for row in rows
        ]

    async def happened_after(self, seen: Mapping[str, int]) -> list[Happening]:
        """What happened to orders after the sequence numbers in ``seen``, by order and sequence."""
        if not seen:
            return []
        parameters = {"ids": list(seen), "sequences": list(seen.values())}
        rows = (await self._session.execute(_AFTER, parameters)).mappings()
        return [h for row in rows for h in _happenings(row) if h.step.sequence > seen[h.order_id]]

    async def happened_since(self, user_ids: Sequence[str], since: dt.datetime, *, most: int = 500) -> list[Happening]:
        """What happened to the customers' last ``most`` orders each at or after a moment, oldest first."""
        parameters = {"users": list(user_ids), "since": since, "most": most}
        rows = (await self._session.execute(_RECENT, parameters)).mappings()
        happened = [h for row in rows for h in _happenings(row) if h.step.occurred_at >= since]
        return sorted(happened, key=lambda h: (h.step.occurred_at, h.order_id, h.step.sequence))

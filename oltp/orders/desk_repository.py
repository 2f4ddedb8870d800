"""The order desk's queries. Each walks an index in the order asked for, and looks at a bounded number of entries.

* by date: ``ix_orders_status_date``, one walk a status, merged; it holds the totals too;
* by total: ``ix_orders_status_total``, the same; it holds the dates too;
* of a customer: ``ix_orders_user_date``;
* with a product: ``ix_order_items_product``, in which an order's id says when it was placed (UUIDv7);
* by the beginning of an id: the primary key.

What an index is sorted by narrows the walk itself; everything else is compared entry by entry, in windows of
:data:`WINDOW`, at most :data:`MOST_WINDOWS` of them for a page. What is narrow by the other index (a short time sorted
by total, a rare price sorted by date) is read by that one, and sorted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from contracts.orders import OrderStatus
from kit.db import ReadSession
from oltp.orders.desk import COUNT_CAP, DeskCount, DeskFilter, DeskKey, DeskPage, Sort, id_bounds
from oltp.orders.domain import StoredOrder
from oltp.orders.repository import ITEMS, ORDER, TRANSITIONS, stored_order

WINDOW: Final = 5_000
JOINED_WINDOW: Final = 1_000
"""The same where each entry has to be looked up in the table."""
MOST_WINDOWS: Final = 10
NARROW: Final = 50_000
"""So many orders can be read from the other index alone and sorted for each page: a day of 20,000 takes 8 ms in memory,
40–70 ms from disk (ten million orders, 2 cores). A day of more has enough in the first windows."""

_HELD: Final = "o.id, o.created_at, o.total_amount, o.status"
"""What both indexes hold: a walk that reads no more needs no table."""

_CONDITIONS: Final[Mapping[str, str]] = {
    "date_from": "o.created_at >= :date_from",
    "date_to": "o.created_at < :date_to",
    "price_min": "o.total_amount >= CAST(:price_min AS numeric) / 100",
    "price_max": "o.total_amount <= CAST(:price_max AS numeric) / 100",
    "statuses": "o.status = ANY(CAST(:statuses AS text[]))",
    "user": "o.user_id = CAST(:user AS uuid)",
    "id": "o.id BETWEEN CAST(:id_from AS uuid) AND CAST(:id_to AS uuid)",
    "product": """EXISTS (SELECT FROM orders.order_items i
                  WHERE i.order_id = o.id AND i.product_id = CAST(:product AS uuid))""",
}
_DATES: Final = frozenset({"date_from", "date_to"})
_PRICES: Final = frozenset({"price_min", "price_max"})

_PAGE: Final = """
    WITH seen AS MATERIALIZED ({walk}),
    edge AS (SELECT count(*) AS scanned, (array_agg({column} ORDER BY {reverse}))[1] AS edge_value,
                    (array_agg(id::text ORDER BY {reverse}))[1] AS edge_id FROM seen),
    found AS (SELECT o.id FROM seen o {fits} ORDER BY {order} LIMIT :most)
    SELECT edge.scanned, edge.edge_value, edge.edge_id, page.*
    FROM edge
    LEFT JOIN (SELECT {columns}, {transitions}, {items} FROM found JOIN orders.orders o USING (id)) page ON true
    ORDER BY {page_order}
"""
_COUNT: Final = "SELECT count(*) AS scanned, count(*) FILTER (WHERE {fits}) AS found FROM ({walk}) o"


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a list is read: which index is walked, what narrows the walk, and what is compared entry by entry."""

    anchor: str
    sort: Sort
    statuses: int
    within: tuple[str, ...]
    fits: tuple[str, ...]

    @property
    def window(self) -> int:
        return JOINED_WINDOW if self.anchor == "product" else WINDOW

    @property
    def column(self) -> str:
        return "total_amount" if self.sort.by_total else "created_at"

    def direction(self, *, reverse: bool = False) -> str:
        return "DESC" if self.sort.descending != reverse else "ASC"

    def order(self, prefix: str, *, reverse: bool = False) -> str:
        direction = self.direction(reverse=reverse)
        if self.anchor == "product":  # it walks by id
            return f"{prefix}id {direction}"
        return f"{prefix}{self.column} {direction}, {prefix}id {direction}"

    @property
    def after(self) -> str:
        sign = "<" if self.sort.descending else ">"
        value = "CAST(:after_value AS numeric) / 100" if self.sort.by_total else ":after_value"
        return f"(o.{self.column}, o.id) {sign} ({value}, CAST(:after_id AS uuid))"


def _where(conditions: Iterable[str]) -> str:
    parts = list(conditions)
    return f"WHERE {' AND '.join(parts)}" if parts else ""


def _by_status(plan: _Plan, conditions: Iterable[str], ending: str) -> str:
    """One walk a status; the planner merges what is sorted."""
    parts = list(conditions)
    return " UNION ALL ".join(
        f"(SELECT {_HELD} FROM orders.orders o {_where([f'o.status = :status_{n}', *parts])} {ending})"  # noqa: S608
        for n in range(plan.statuses)
    )


@lru_cache(maxsize=512)
def _walk(plan: _Plan, after: bool, ordered: bool = True) -> str:
    """The entries that the index gives, at most ``:window`` of them."""
    ending = f"ORDER BY {plan.order('o.')} LIMIT :window" if ordered else "LIMIT :window"
    conditions = [_CONDITIONS[name] for name in plan.within]
    beyond = [plan.after] if after else []
    match plan.anchor:
        case "product":
            sign = "<" if plan.sort.descending else ">"
            edge = f"AND i.order_id {sign} CAST(:after_id AS uuid)" if after else ""
            return f"""
                SELECT {_HELD}, o.user_id FROM (
                    SELECT DISTINCT i.order_id FROM orders.order_items i
                    WHERE i.product_id = CAST(:product AS uuid) {edge}
                    ORDER BY i.order_id {plan.direction()} LIMIT :window
                ) i JOIN orders.orders o ON o.id = i.order_id
            """  # noqa: S608
        case "narrow":
            inner = _by_status(plan, [c for c in conditions if c in _other_index(plan.sort)], "")
            rest = [c for c in conditions if c not in _other_index(plan.sort)]
            return f"SELECT * FROM ({inner}) o {_where([*rest, *beyond])} {ending}"  # noqa: S608
        case "status":
            return f"SELECT * FROM ({_by_status(plan, [*conditions, *beyond], ending)}) o {ending}"  # noqa: S608
        case _:
            where = _where([_CONDITIONS[plan.anchor], *conditions, *beyond])
            return f"SELECT {_HELD}, o.user_id FROM orders.orders o {where} {ending}"  # noqa: S608


def _other_index(sort: Sort) -> frozenset[str]:
    """The conditions that the index narrows by which does not sort."""
    return frozenset(_CONDITIONS[name] for name in (_DATES if sort.by_total else _PRICES))


@lru_cache(maxsize=512)
def _page_statement(plan: _Plan, after: bool) -> TextClause:
    return _bound(
        _PAGE.format(
            walk=_walk(plan, after),
            column=plan.column,
            reverse=plan.order("", reverse=True),
            fits=_where(_CONDITIONS[name] for name in plan.fits),
            order=plan.order("o."),
            page_order=plan.order("page."),
            columns=ORDER,
            transitions=TRANSITIONS,
            items=ITEMS,
        )
    )


@lru_cache(maxsize=512)
def _count_statement(plan: _Plan) -> TextClause:
    fits = " AND ".join(_CONDITIONS[name] for name in plan.fits) or "true"
    return _bound(_COUNT.format(walk=_walk(plan, False, bool(plan.fits)), fits=fits))


@lru_cache(maxsize=512)
def _probe_statement(plan: _Plan) -> TextClause:
    conditions = [_CONDITIONS[name] for name in plan.fits if _CONDITIONS[name] in _other_index(plan.sort)]
    inner = _by_status(plan, conditions, "LIMIT :narrow")
    return text(f"SELECT count(*) FROM (SELECT FROM ({inner}) o LIMIT :narrow) o")  # noqa: S608


def _bound(statement: str) -> TextClause:
    bound = text(statement)
    return bound.bindparams(bindparam("statuses", type_=ARRAY(TEXT))) if ":statuses" in statement else bound


class OrderDesk:
    """Searches everybody's orders in the session's transaction."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def page(self, wanted: DeskFilter, sort: Sort, *, after: DeskKey | None, limit: int) -> DeskPage:
        """The orders that fit, from ``after`` on. With a product, they can't be sorted by total.

        Raises:
            ValueError: if that is asked for.
        """
        plan, parameters = await self._narrowed(*_plan(wanted, sort))
        size = plan.window if plan.fits else limit + 1
        found: list[StoredOrder] = []
        for _ in range(MOST_WINDOWS):
            values: dict[str, Any] = {**parameters, "window": size, "most": limit + 1 - len(found)}
            if after is not None:
                values["after_id"] = after.order_id
                if plan.anchor != "product":
                    values["after_value"] = after.value
            rows = (await self._session.execute(_page_statement(plan, after is not None), values)).mappings().all()
            found += [stored_order(row) for row in rows if row["id"] is not None]
            if len(found) > limit:
                return DeskPage(found[:limit], DeskKey.of(found[limit - 1], sort))
            edge = rows[0]
            if edge["scanned"] < size:
                return DeskPage(found, None)
            value = int(edge["edge_value"] * 100) if sort.by_total else edge["edge_value"]
            after = DeskKey(value, edge["edge_id"])
        return DeskPage(found, after)

    async def count(self, wanted: DeskFilter) -> DeskCount:
        """How many fit, as far as can be said from a bounded number of entries."""
        plan, parameters = await self._narrowed(*_plan(wanted, Sort.NEWEST))
        size = plan.window * MOST_WINDOWS if plan.fits else COUNT_CAP + 1
        result = await self._session.execute(_count_statement(plan), {**parameters, "window": size})
        row = result.mappings().one()
        return DeskCount(min(row["found"], COUNT_CAP), exact=row["scanned"] < size and row["found"] <= COUNT_CAP)

    async def _narrowed(self, plan: _Plan, parameters: dict[str, Any]) -> tuple[_Plan, dict[str, Any]]:
        """The plan by the other index, if that has few entries."""
        other = _DATES if plan.sort.by_total else _PRICES
        names = [name for name in plan.fits if name in other]
        if plan.anchor != "status" or not names:
            return plan, parameters
        statuses = {name: value for name, value in parameters.items() if name.startswith("status_")}
        asked = {**statuses, **{name: parameters[name] for name in names}, "narrow": NARROW + 1}
        if ((await self._session.execute(_probe_statement(plan), asked)).scalar() or 0) > NARROW:
            return plan, parameters
        return _Plan("narrow", plan.sort, plan.statuses, (*plan.within, *plan.fits), ()), parameters


def _plan(wanted: DeskFilter, sort: Sort) -> tuple[_Plan, dict[str, Any]]:
    asked = wanted.orders
    given = {
        "date_from": asked.date_from,
        "date_to": asked.date_to,
        "price_min": asked.price_min,
        "price_max": asked.price_max,
    }
    parameters: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    held = _PRICES if sort.by_total else _DATES
    compared: list[str] = []
    statuses = sorted(asked.statuses)
    count = 0
    if wanted.id_prefix:
        anchor, held = "id", _DATES | _PRICES
        parameters["id_from"], parameters["id_to"] = id_bounds(wanted.id_prefix)
        compared += [name for name, value in (("user", wanted.user_id), ("product", wanted.product_id)) if value]
    elif wanted.product_id is not None:
        if sort.by_total:
            raise ValueError("orders with a product can't be sorted by total")
        anchor, held = "product", frozenset()
        compared += ["user"] if wanted.user_id else []
    elif wanted.user_id is not None:
        anchor, held = "user", _DATES | _PRICES
    else:
        anchor = "status"
        walked = statuses or sorted(OrderStatus)
        parameters |= {f"status_{n}": str(status) for n, status in enumerate(walked)}
        count, statuses = len(walked), []
    if wanted.user_id is not None:
        parameters["user"] = wanted.user_id
    if wanted.product_id is not None:
        parameters["product"] = wanted.product_id
    if statuses:
        parameters["statuses"] = [str(status) for status in statuses]
        compared.append("statuses")
    names = [name for name in given if name in parameters]
    within = tuple(name for name in names if name in held)
    return _Plan(anchor, sort, count, within, (*compared, *(name for name in names if name not in held))), parameters

"""Every query of the inventory schema but those of flash sales. Statements on the hot path take a batch as arrays.

The books hold, at any moment and in any one snapshot, for each product and warehouse:

1. ``inventory.quantity = Σ stock_ledger.delta``: initial + restocked ± adjusted − shipped − settled is what lies on the
   shelf; ``settled`` is a month's units of orders that were brought in without reservations of their own;
2. ``inventory.reserved_quantity = Σ reservation_lines.quantity`` of the reservations that are ``held``;
3. ``−Σ stock_ledger.delta`` of kind ``shipped`` ``= Σ reservation_lines.quantity`` of those ``fulfilled``, for each
   order too: what was sold;
4. in order of ``stock_ledger.id``, ``balance`` is the running sum of ``delta``;
5. every ``held`` reservation has ``confirmed_at``, or ``expires_at`` in the future;

and for each product, once nothing is under way, Redis's ``inventory:{product_id} = Σ (quantity − reserved_quantity)``.

Rows are locked in this order, each kind by its key: reservations, sales, then levels.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import CursorResult, Result, Row, text

from contracts.orders import Allocation
from contracts.sales import SaleFigures
from kit.db import Database, ReadSession, WriteSession
from oltp.inventory.domain import Level, Reservation, ReservationStatus, Stock, StockChange, Warehouse
from oltp.inventory.sale_repository import SaleReads


@dataclass(frozen=True, slots=True)
class WarehouseRow:
    """A warehouse as it is listed."""

    warehouse: Warehouse
    code: str
    name: str


@dataclass(frozen=True, slots=True)
class ProductStock:
    """A product's units over some warehouses."""

    product_id: str
    quantity: int
    reserved: int
    warehouses: int


@dataclass(frozen=True, slots=True)
class WarehouseLevel:
    """A product's level in one warehouse, as it is shown."""

    warehouse_id: str
    code: str
    name: str
    level: Level
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """One physical change. ``balance`` is what lay on the shelf after it; ``entry_id`` is 0 until it is written."""

    product_id: str
    warehouse_id: str
    kind: str
    delta: int
    balance: int
    occurred_at: dt.datetime
    reason: str = ""
    actor_id: str | None = None
    order_id: str | None = None
    idempotency_key: str | None = None
    entry_id: int = 0


class ConcurrentChange(RuntimeError):
    """A row that was locked is not as it was read: somebody wrote past the lock."""


_RESERVATIONS: Final = text(
    """
    SELECT CAST(order_id AS text) AS order_id, status, reason, CAST(refused_product_ids AS text[]) AS refused,
           expires_at, confirmed_at IS NOT NULL AS confirmed, sale_id IS NOT NULL AS in_sale
    FROM inventory.reservations
    WHERE order_id = ANY(CAST(:orders AS uuid[]))
    ORDER BY reservations.order_id
    FOR UPDATE
    """
)
_LINES: Final = text(
    """
    SELECT CAST(order_id AS text) AS order_id, CAST(product_id AS text) AS product_id,
           CAST(warehouse_id AS text) AS warehouse_id, quantity
    FROM inventory.reservation_lines
    WHERE order_id = ANY(CAST(:orders AS uuid[]))
    ORDER BY reservation_lines.order_id, reservation_lines.product_id, reservation_lines.warehouse_id
    """
)
_LOCK_STOCK: Final = text(
    """
    SELECT CAST(i.product_id AS text) AS product_id, CAST(i.warehouse_id AS text) AS warehouse_id,
           i.quantity, i.reserved_quantity, w.country, w.latitude, w.longitude, w.priority
    FROM inventory.inventory AS i JOIN inventory.warehouses AS w ON w.id = i.warehouse_id
    WHERE i.product_id = ANY(CAST(:products AS uuid[]))
    ORDER BY i.product_id, i.warehouse_id
    FOR UPDATE OF i
    """
)
_INSERT_RESERVATIONS: Final = text(
    """
    INSERT INTO inventory.reservations
        (order_id, status, reason, refused_product_ids, expires_at, confirmed_at, sale_id, created_at, updated_at)
    SELECT order_id, status, reason, CAST(refused AS uuid[]), expires_at, CASE WHEN confirmed THEN now.at END,
           sale_id, now.at, now.at
    FROM unnest(CAST(:orders AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:refused AS text[]),
                CAST(:expires AS timestamptz[]), CAST(:confirmed AS boolean[]), CAST(:sales AS uuid[]))
        AS row (order_id, status, reason, refused, expires_at, confirmed, sale_id)
    CROSS JOIN (SELECT CAST(:now AS timestamptz)) AS now (at)
    """
)
_INSERT_LINES: Final = text(
    """
    INSERT INTO inventory.reservation_lines (order_id, product_id, warehouse_id, quantity)
    SELECT * FROM unnest(CAST(:orders AS uuid[]), CAST(:products AS uuid[]), CAST(:warehouses AS uuid[]),
                         CAST(:quantities AS integer[]))
    """
)
_UPDATE_RESERVATIONS: Final = text(
    """
    UPDATE inventory.reservations AS r
    SET status = row.status, reason = row.reason, updated_at = :now,
        confirmed_at = CASE WHEN row.confirmed THEN coalesce(r.confirmed_at, CAST(:now AS timestamptz)) END
    FROM unnest(CAST(:orders AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
                CAST(:confirmed AS boolean[])) AS row (order_id, status, reason, confirmed)
    WHERE r.order_id = row.order_id AND r.status = 'held'
    """
)
_MOVE_LEVELS: Final = text(
    """
    UPDATE inventory.inventory AS i
    SET quantity = i.quantity + row.quantity, reserved_quantity = i.reserved_quantity + row.reserved, updated_at = :now
    FROM unnest(CAST(:products AS uuid[]), CAST(:warehouses AS uuid[]), CAST(:quantities AS integer[]),
                CAST(:reserved AS integer[])) AS row (product_id, warehouse_id, quantity, reserved)
    WHERE i.product_id = row.product_id AND i.warehouse_id = row.warehouse_id
    """
)
_APPEND_LEDGER: Final = text(
    """
    INSERT INTO inventory.stock_ledger
        (product_id, warehouse_id, kind, delta, balance, reason, actor_id, order_id, idempotency_key, occurred_at)
    SELECT product_id, warehouse_id, kind, delta, balance, reason, actor_id, order_id, key, occurred_at
    FROM unnest(CAST(:products AS uuid[]), CAST(:warehouses AS uuid[]), CAST(:kinds AS text[]),
                CAST(:deltas AS integer[]), CAST(:balances AS integer[]), CAST(:reasons AS text[]),
                CAST(:actors AS uuid[]), CAST(:orders AS uuid[]), CAST(:keys AS text[]),
                CAST(:moments AS timestamptz[])) WITH ORDINALITY
        AS row (product_id, warehouse_id, kind, delta, balance, reason, actor_id, order_id, key, occurred_at, place)
    ORDER BY place
    ON CONFLICT (actor_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING id
    """
)
_EXPIRED: Final = text(
    """
    WITH expired AS (
        SELECT order_id FROM inventory.reservations
        WHERE status = 'held' AND confirmed_at IS NULL AND expires_at <= :now
          AND (asked_at IS NULL OR asked_at <= :asked_before)
        ORDER BY expires_at
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE inventory.reservations AS r SET asked_at = :now
    FROM expired WHERE r.order_id = expired.order_id
    RETURNING CAST(r.order_id AS text) AS order_id, r.expires_at
    """
)
_AVAILABLE: Final = text(
    """
    SELECT CAST(product_id AS text) AS product_id, CAST(sum(quantity - reserved_quantity) AS bigint) AS available
    FROM inventory.inventory WHERE product_id = ANY(CAST(:products AS uuid[]))
    GROUP BY inventory.product_id
    """
)
_AVAILABLE_AFTER: Final = text(
    """
    SELECT CAST(product_id AS text) AS product_id, CAST(sum(quantity - reserved_quantity) AS bigint) AS available
    FROM inventory.inventory WHERE product_id > CAST(:after AS uuid)
    GROUP BY inventory.product_id
    ORDER BY inventory.product_id
    LIMIT :limit
    """
)
_LEDGER_COLUMNS: Final = """
    id, CAST(product_id AS text) AS product_id, CAST(warehouse_id AS text) AS warehouse_id, kind, delta, balance,
    occurred_at, reason, CAST(actor_id AS text) AS actor_id, CAST(order_id AS text) AS order_id, idempotency_key
"""


class InventoryReads:
    """Queries that change nothing."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def available(self, product_ids: Collection[str]) -> dict[str, int]:
        """Units of those of the products that are listed that can still be reserved, over all warehouses."""
        rows = await self._session.execute(_AVAILABLE, {"products": list(product_ids)})
        return {row.product_id: row.available for row in rows}

    async def available_after(self, product_id: str, limit: int) -> list[tuple[str, int]]:
        """The same for the next ``limit`` products in order of their ids."""
        rows = await self._session.execute(_AVAILABLE_AFTER, {"after": product_id, "limit": limit})
        return [(row.product_id, row.available) for row in rows]

    async def warehouses(self) -> list[WarehouseRow]:
        """All warehouses, preferred ones first."""
        rows = await self._session.execute(
            text(
                "SELECT CAST(id AS text) AS id, code, name, country, latitude, longitude, priority "
                "FROM inventory.warehouses ORDER BY priority, code"
            )
        )
        return [
            WarehouseRow(
                Warehouse(row.id, row.country, row.latitude, row.longitude, row.priority), code=row.code, name=row.name
            )
            for row in rows
        ]

    async def stock_page(
        self,
        *,
        after: str | None,
        limit: int,
        product_id: str | None = None,
        warehouse_id: str | None = None,
        available_below: int | None = None,
    ) -> list[ProductStock]:
        """Products in order of their ids; only those of one warehouse, or with few units left, where asked for."""
        conditions = ["true"]
        if after is not None:
            conditions.append("product_id > CAST(:after AS uuid)")
        if product_id is not None:
            conditions.append("product_id = CAST(:product AS uuid)")
        if warehouse_id is not None:
            conditions.append("warehouse_id = CAST(:warehouse AS uuid)")
        having = "" if available_below is None else "HAVING sum(quantity - reserved_quantity) < :below"
        rows = await self._session.execute(
            text(
                f"""
                SELECT CAST(product_id AS text) AS product_id, CAST(sum(quantity) AS bigint) AS quantity,
                       CAST(sum(reserved_quantity) AS bigint) AS reserved, count(*) AS warehouses
                FROM inventory.inventory WHERE {" AND ".join(conditions)}
                GROUP BY inventory.product_id {having}
                ORDER BY inventory.product_id
                LIMIT :limit
                """  # noqa: S608 -- built from the literals above
            ),
            {
                "after": after,
                "product": product_id,
                "warehouse": warehouse_id,
                "below": available_below,
                "limit": limit,
            },
        )
        return [ProductStock(row.product_id, row.quantity, row.reserved, row.warehouses) for row in rows]

    async def levels(self, product_id: str) -> list[WarehouseLevel]:
        """A product's level in each warehouse that lists it, preferred ones first."""
        rows = await self._session.execute(
            text(
                """
                SELECT CAST(i.warehouse_id AS text) AS warehouse_id, w.code, w.name, i.quantity, i.reserved_quantity,
                       i.updated_at
                FROM inventory.inventory AS i JOIN inventory.warehouses AS w ON w.id = i.warehouse_id
                WHERE i.product_id = CAST(:product AS uuid)
                ORDER BY w.priority, w.code
                """
            ),
            {"product": product_id},
        )
        return [
            WarehouseLevel(
                row.warehouse_id, row.code, row.name, Level(row.quantity, row.reserved_quantity), row.updated_at
            )
            for row in rows
        ]

    async def ledger(self, product_id: str, *, limit: int) -> list[LedgerEntry]:
        """A product's latest physical changes, newest first."""
        rows = await self._session.execute(
            text(
                f"SELECT {_LEDGER_COLUMNS} FROM inventory.stock_ledger "  # noqa: S608 -- literals
                "WHERE product_id = CAST(:product AS uuid) ORDER BY id DESC LIMIT :limit"
            ),
            {"product": product_id, "limit": limit},
        )
        return [_ledger_entry(row) for row in rows]

    async def ledger_entry(self, actor_id: str, idempotency_key: str) -> LedgerEntry | None:
        """What an admin's request with this key did; None if there was none."""
        rows = await self._session.execute(
            text(
                f"SELECT {_LEDGER_COLUMNS} FROM inventory.stock_ledger "  # noqa: S608 -- literals
                "WHERE actor_id = CAST(:actor AS uuid) AND idempotency_key = :key"
            ),
            {"actor": actor_id, "key": idempotency_key},
        )
        row = rows.one_or_none()
        return None if row is None else _ledger_entry(row)

    async def warehouse_exists(self, warehouse_id: str) -> bool:
        """Whether there is such a warehouse."""
        found = await self._session.execute(
            text("SELECT 1 FROM inventory.warehouses WHERE id = CAST(:id AS uuid)"), {"id": warehouse_id}
        )
        return found.one_or_none() is not None


def _ledger_entry(row: Row[Any]) -> LedgerEntry:
    return LedgerEntry(
        product_id=row.product_id,
        warehouse_id=row.warehouse_id,
        kind=row.kind,
        delta=row.delta,
        balance=row.balance,
        occurred_at=row.occurred_at,
        reason=row.reason,
        actor_id=row.actor_id,
        order_id=row.order_id,
        idempotency_key=row.idempotency_key,
        entry_id=row.id,
    )


class InventoryRepository(InventoryReads):
    """Queries of a transaction that changes the books."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def lock_reservations(self, order_ids: Collection[str]) -> dict[str, Reservation]:
        """The reservations of those of the orders that have one, locked."""
        orders = list(order_ids)
        rows = (await self._session.execute(_RESERVATIONS, {"orders": orders})).all()
        allocations: dict[str, list[Allocation]] = defaultdict(list)
        if with_lines := [row.order_id for row in rows if row.expires_at is not None]:
            for line in await self._session.execute(_LINES, {"orders": with_lines}):
                allocations[line.order_id].append(
                    Allocation(product_id=line.product_id, warehouse_id=line.warehouse_id, quantity=line.quantity)
                )
        in_sales = [row.order_id for row in rows if row.in_sale]
        claims = await SaleReads(self._session).claims(in_sales) if in_sales else {}
        return {
            row.order_id: Reservation(
                order_id=row.order_id,
                status=ReservationStatus(row.status),
                allocations=tuple(allocations[row.order_id]),
                expires_at=row.expires_at,
                reason=row.reason,
                product_ids=tuple(row.refused),
                confirmed=row.confirmed,
                claim=claims.get(row.order_id),
            )
            for row in rows
        }

    async def lock_stock(self, product_ids: Collection[str]) -> Stock:
        """The products' levels in all warehouses, locked."""
        warehouses: dict[str, Warehouse] = {}
        levels: dict[tuple[str, str], Level] = {}
        for row in await self._session.execute(_LOCK_STOCK, {"products": list(product_ids)}):
            if row.warehouse_id not in warehouses:
                warehouses[row.warehouse_id] = Warehouse(
                    row.warehouse_id, row.country, row.latitude, row.longitude, row.priority
                )
            levels[row.product_id, row.warehouse_id] = Level(row.quantity, row.reserved_quantity)
        return Stock(warehouses.values(), levels)

    async def insert_reservations(self, reservations: Sequence[Reservation], now: dt.datetime) -> None:
        """Writes orders' first reservations with their lines.

        Raises:
            IntegrityError: if an order has one by now.
        """
        await self._session.execute(
            _INSERT_RESERVATIONS,
            {
                "orders": [r.order_id for r in reservations],
                "statuses": [r.status.value for r in reservations],
                "reasons": [r.reason for r in reservations],
                "refused": ["{" + ",".join(r.product_ids) + "}" for r in reservations],
                "expires": [r.expires_at for r in reservations],
                "confirmed": [r.confirmed for r in reservations],
                "sales": [r.claim.sale_id if r.claim is not None else None for r in reservations],
                "now": now,
            },
        )
        await self.insert_lines(reservations)

    async def insert_lines(self, reservations: Sequence[Reservation]) -> None:
        """Writes what orders have reserved where, if anything."""
        if lines := [(r.order_id, a) for r in reservations for a in r.allocations]:
            await self._session.execute(
                _INSERT_LINES,
                {
                    "orders": [order_id for order_id, _ in lines],
                    "products": [a.product_id for _, a in lines],
                    "warehouses": [a.warehouse_id for _, a in lines],
                    "quantities": [a.quantity for _, a in lines],
                },
            )

    async def update_reservations(self, reservations: Sequence[Reservation], now: dt.datetime) -> None:
        """Moves reservations that are locked and held.

        Raises:
            ConcurrentChange: if one is not held any more.
        """
        moved = await self._session.execute(
            _UPDATE_RESERVATIONS,
            {
                "orders": [r.order_id for r in reservations],
                "statuses": [r.status.value for r in reservations],
                "reasons": [r.reason for r in reservations],
                "confirmed": [r.confirmed for r in reservations],
                "now": now,
            },
        )
        if _rows(moved) != len(reservations):
            raise ConcurrentChange(f"{len(reservations)} reservations were held, {_rows(moved)} still are")

    async def move_levels(self, changes: Collection[StockChange], now: dt.datetime) -> None:
        """Moves each level once, by the sum of its changes; the table's CHECK has the last word.

        Raises:
            IntegrityError: if a level would leave ``0 <= reserved_quantity <= quantity``.
            ConcurrentChange: if a level is gone.
        """
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for change in changes:
            quantity, reserved = sums.get((change.product_id, change.warehouse_id), (0, 0))
            sums[change.product_id, change.warehouse_id] = quantity + change.quantity, reserved + change.reserved
        moving = {key: delta for key, delta in sums.items() if delta != (0, 0)}
        if not moving:
            return
        moved = await self._session.execute(
            _MOVE_LEVELS,
            {
                "products": [product_id for product_id, _ in moving],
                "warehouses": [warehouse_id for _, warehouse_id in moving],
                "quantities": [quantity for quantity, _ in moving.values()],
                "reserved": [reserved for _, reserved in moving.values()],
                "now": now,
            },
        )
        if _rows(moved) != len(moving):
            raise ConcurrentChange(f"{len(moving)} levels were locked, {_rows(moved)} are there")

    async def append_ledger(self, entries: Sequence[LedgerEntry]) -> list[int]:
        """Writes physical changes down; entries whose actor used their idempotency key before are left out."""
        if not entries:
            return []
        written = await self._session.execute(
            _APPEND_LEDGER,
            {
                "products": [e.product_id for e in entries],
                "warehouses": [e.warehouse_id for e in entries],
                "kinds": [e.kind for e in entries],
                "deltas": [e.delta for e in entries],
                "balances": [e.balance for e in entries],
                "reasons": [e.reason for e in entries],
                "actors": [e.actor_id for e in entries],
                "orders": [e.order_id for e in entries],
                "keys": [e.idempotency_key for e in entries],
                "moments": [e.occurred_at for e in entries],
            },
        )
        return [row.id for row in written]

    async def lock_level(self, product_id: str, warehouse_id: str) -> Level | None:
        """One level, locked; None where the product is not listed in the warehouse."""
        rows = await self._session.execute(
            text(
                "SELECT quantity, reserved_quantity FROM inventory.inventory WHERE product_id = CAST(:product AS uuid) "
                "AND warehouse_id = CAST(:warehouse AS uuid) FOR UPDATE"
            ),
            {"product": product_id, "warehouse": warehouse_id},
        )
        row = rows.one_or_none()
        return None if row is None else Level(row.quantity, row.reserved_quantity)

    async def list_products(self, product_ids: Collection[str], now: dt.datetime) -> set[str]:
        """Lists products in every warehouse, with nothing on the shelf; returns those that were not listed before."""
        rows = await self._session.execute(
            text(
                """
                INSERT INTO inventory.inventory (product_id, warehouse_id, quantity, updated_at)
                SELECT listed.product_id, w.id, 0, :now
                FROM unnest(CAST(:products AS uuid[])) AS listed (product_id) CROSS JOIN inventory.warehouses AS w
                ORDER BY listed.product_id, w.id
                ON CONFLICT DO NOTHING
                RETURNING CAST(product_id AS text) AS product_id
                """
            ),
            {"products": list(product_ids), "now": now},
        )
        return {row.product_id for row in rows}

    async def ask_about_expired(
        self, now: dt.datetime, *, asked_before: dt.datetime, limit: int
    ) -> list[tuple[str, dt.datetime]]:
        """Order and end of unpaid holds whose time is over and that were not asked about lately; marks them asked."""
        rows = await self._session.execute(_EXPIRED, {"now": now, "asked_before": asked_before, "limit": limit})
        return [(row.order_id, row.expires_at) for row in rows]


def _rows(result: Result[Any]) -> int:
    return cast("CursorResult[Any]", result).rowcount


class DatabaseBooks:
    """:class:`oltp.inventory.gate.Books` and :class:`contracts.sales.SaleBooks`, a read transaction a question."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def available(self, product_ids: Collection[str]) -> dict[str, int]:
        """Of those of the products that the books know."""
        async with self._database.read() as session:
            return await InventoryReads(session).available(product_ids)

    async def available_after(self, product_id: str, limit: int) -> list[tuple[str, int]]:
        """Of the next ``limit`` products in order of their ids."""
        async with self._database.read() as session:
            return await InventoryReads(session).available_after(product_id, limit)

    async def figures(self, sale_ids: Collection[str]) -> dict[str, SaleFigures]:
        """Of those of the flash sales that an order has come for."""
        async with self._database.read() as session:
            return await SaleReads(session).figures(sale_ids)

    async def waiting(self, sale_ids: Collection[str]) -> dict[str, list[str]]:
        """Sale id → the orders that wait for a unit, first come first."""
        async with self._database.read() as session:
            return await SaleReads(session).waiting_orders(sale_ids)

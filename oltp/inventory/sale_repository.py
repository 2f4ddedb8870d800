"""Every query on flash sales in the inventory schema.

The books hold, at any moment and in any one snapshot, for each sale:

1. ``taken = Σ units`` of the claims whose reservation is ``held`` or ``fulfilled``, and is at most ``units``;
2. ``paid = Σ units`` of those of them that are confirmed or fulfilled;
3. ``waiting = Σ units`` of the claims whose reservation is ``queued``; these have their ``command``, and no others;
4. ``sale_customers.units = Σ units`` of a customer's claims that are taken or wait, at most what a customer may have.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, cast

import orjson
from sqlalchemy import CursorResult, Row, text

from contracts.commands import ReserveInventory
from contracts.envelope import Envelope, decode, encode, registry
from contracts.orders import SaleTerms
from contracts.sales import SaleFigures
from kit.db import ReadSession, WriteSession
from oltp.inventory.allotment import Allotment, SaleClaim
from oltp.inventory.domain import Reservation

_CLAIMS: Final = text(
    """
    SELECT CAST(order_id AS text) AS order_id, CAST(sale_id AS text) AS sale_id,
           CAST(customer_id AS text) AS customer_id, units, place, command
    FROM inventory.sale_claims WHERE order_id = ANY(CAST(:orders AS uuid[]))
    """
)
_QUEUES: Final = text(
    """
    SELECT CAST(order_id AS text) AS order_id, CAST(sale_id AS text) AS sale_id,
           CAST(customer_id AS text) AS customer_id, units, place, command
    FROM inventory.sale_claims WHERE sale_id = ANY(CAST(:sales AS uuid[])) AND command IS NOT NULL
    """
)
_KNOW_SALES: Final = text(
    """
    INSERT INTO inventory.sales (sale_id, product_id, units, units_per_customer, ends_at)
    SELECT * FROM unnest(CAST(:sales AS uuid[]), CAST(:products AS uuid[]), CAST(:units AS integer[]),
                         CAST(:shares AS integer[]), CAST(:ends AS timestamptz[]))
    ON CONFLICT DO NOTHING
    """
)
_LOCK_SALES: Final = text(
    """
    SELECT CAST(sale_id AS text) AS sale_id, CAST(product_id AS text) AS product_id, units, units_per_customer, taken,
           paid, waiting, last_place, ends_at, closed_at IS NOT NULL AS closed
    FROM inventory.sales WHERE sale_id = ANY(CAST(:sales AS uuid[])) ORDER BY sales.sale_id FOR UPDATE
    """
)
_SHARES: Final = text(
    """
    SELECT CAST(sale_id AS text) AS sale_id, CAST(customer_id AS text) AS customer_id, units
    FROM inventory.sale_customers
    WHERE sale_id = ANY(CAST(:sales AS uuid[])) AND customer_id = ANY(CAST(:customers AS uuid[]))
    """
)
_UPDATE_SALES: Final = text(
    """
    UPDATE inventory.sales AS s
    SET taken = row.taken, paid = row.paid, waiting = row.waiting, last_place = row.last_place,
        closed_at = CASE WHEN row.closed THEN coalesce(s.closed_at, CAST(:now AS timestamptz)) END
    FROM unnest(CAST(:sales AS uuid[]), CAST(:taken AS integer[]), CAST(:paid AS integer[]),
                CAST(:waiting AS integer[]), CAST(:places AS bigint[]), CAST(:closed AS boolean[]))
        AS row (sale_id, taken, paid, waiting, last_place, closed)
    WHERE s.sale_id = row.sale_id
    """
)
_SET_SHARES: Final = text(
    """
    INSERT INTO inventory.sale_customers AS present (sale_id, customer_id, units, most)
    SELECT * FROM unnest(CAST(:sales AS uuid[]), CAST(:customers AS uuid[]), CAST(:units AS integer[]),
                         CAST(:most AS integer[]))
    ON CONFLICT (sale_id, customer_id) DO UPDATE SET units = excluded.units WHERE present.units <> excluded.units
    """
)
_INSERT_CLAIMS: Final = text(
    """
    INSERT INTO inventory.sale_claims (order_id, sale_id, customer_id, units, place, command)
    SELECT * FROM unnest(CAST(:orders AS uuid[]), CAST(:sales AS uuid[]), CAST(:customers AS uuid[]),
                         CAST(:units AS integer[]), CAST(:places AS bigint[]), CAST(:commands AS jsonb[]))
    """
)
_LEAVE_QUEUE: Final = text(
    """
    WITH left_queue AS (
        UPDATE inventory.sale_claims SET command = NULL WHERE order_id = ANY(CAST(:orders AS uuid[]))
    )
    UPDATE inventory.reservations AS r
    SET status = row.status, reason = row.reason, refused_product_ids = CAST(row.refused AS uuid[]),
        expires_at = row.expires_at, updated_at = :now
    FROM unnest(CAST(:orders AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]), CAST(:refused AS text[]),
                CAST(:expires AS timestamptz[])) AS row (order_id, status, reason, refused, expires_at)
    WHERE r.order_id = row.order_id AND r.status = 'queued'
    """
)
_DUE_SALES: Final = text(
    """
    SELECT CAST(sale_id AS text) AS sale_id FROM inventory.sales
    WHERE closed_at IS NULL AND ends_at <= :now ORDER BY sales.sale_id
    """
)
_SALE_FIGURES: Final = text(
    """
    SELECT CAST(sale_id AS text) AS sale_id, paid, taken - paid AS held, waiting
    FROM inventory.sales WHERE sale_id = ANY(CAST(:sales AS uuid[]))
    """
)
_WAITING_ORDERS: Final = text(
    """
    SELECT CAST(sale_id AS text) AS sale_id, CAST(order_id AS text) AS order_id
    FROM inventory.sale_claims WHERE sale_id = ANY(CAST(:sales AS uuid[])) AND command IS NOT NULL
    ORDER BY sale_claims.sale_id, place
    """
)


def _claim(row: Row[Any]) -> SaleClaim:
    command = None
    if row.command is not None:
        payload = registry.decode(_envelope(row))
        assert isinstance(payload, ReserveInventory)
        command = payload
    return SaleClaim(row.order_id, row.sale_id, row.customer_id, row.units, row.place, command)


def _envelope(row: Row[Any]) -> Envelope:
    return decode(orjson.dumps(row.command))


class SaleReads:
    """Queries that change nothing."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def claims(self, order_ids: Collection[str]) -> dict[str, SaleClaim]:
        """What orders want in their sales, of those that were not refused at once."""
        rows = await self._session.execute(_CLAIMS, {"orders": list(order_ids)})
        return {row.order_id: _claim(row) for row in rows}

    async def figures(self, sale_ids: Collection[str]) -> dict[str, SaleFigures]:
        """Of those of the sales that an order has come for."""
        rows = await self._session.execute(_SALE_FIGURES, {"sales": list(sale_ids)})
        return {row.sale_id: SaleFigures(sold=row.paid, held=row.held, waiting=row.waiting) for row in rows}

    async def waiting_orders(self, sale_ids: Collection[str]) -> dict[str, list[str]]:
        """Sale id → the orders that wait for a unit, first come first."""
        waiting: dict[str, list[str]] = {}
        for row in await self._session.execute(_WAITING_ORDERS, {"sales": list(sale_ids)}):
            waiting.setdefault(row.sale_id, []).append(row.order_id)
        return waiting

    async def due(self, now: dt.datetime) -> list[str]:
        """The sales that have ended and in which somebody may still wait."""
        return [row.sale_id for row in await self._session.execute(_DUE_SALES, {"now": now})]


class SaleRepository(SaleReads):
    """Queries of a transaction that changes the books."""

    def __init__(self, session: WriteSession) -> None:
        super().__init__(session)

    async def know(self, sales: Collection[SaleTerms]) -> None:
        """Makes sure that there is a row of each sale."""
        known = sorted(sales, key=lambda terms: terms.sale_id)
        await self._session.execute(
            _KNOW_SALES,
            {
                "sales": [terms.sale_id for terms in known],
                "products": [terms.product_id for terms in known],
                "units": [terms.units for terms in known],
                "shares": [terms.units_per_customer for terms in known],
                "ends": [terms.ends_at for terms in known],
            },
        )

    async def lock(
        self, sale_ids: Collection[str], customer_ids: Collection[str], *, queues: Collection[str]
    ) -> tuple[dict[str, Allotment], dict[str, Envelope]]:
        """The sales' allotments, locked, with what these customers have.

        Those of ``queues`` come with who waits; the second answer is what those wait with, by order id.
        """
        rows = (await self._session.execute(_LOCK_SALES, {"sales": list(sale_ids)})).all()
        claims: dict[str, list[SaleClaim]] = {sale_id: [] for sale_id in queues}
        commands: dict[str, Envelope] = {}
        if queues:
            for row in await self._session.execute(_QUEUES, {"sales": list(queues)}):
                claims[row.sale_id].append(_claim(row))
                commands[row.order_id] = _envelope(row)
        shares: dict[str, dict[str, int]] = {}
        customers = {*customer_ids, *(claim.customer_id for queue in claims.values() for claim in queue)}
        found = await self._session.execute(_SHARES, {"sales": list(sale_ids), "customers": list(customers)})
        for row in found:
            shares.setdefault(row.sale_id, {})[row.customer_id] = row.units
        allotments = {
            row.sale_id: Allotment(
                SaleTerms(
                    sale_id=row.sale_id,
                    product_id=row.product_id,
                    units=row.units,
                    units_per_customer=row.units_per_customer,
                    ends_at=row.ends_at,
                ),
                taken=row.taken,
                paid=row.paid,
                waiting=row.waiting,
                last_place=row.last_place,
                closed=row.closed,
                customers=shares.get(row.sale_id),
                queue=claims.get(row.sale_id),
            )
            for row in rows
        }
        return allotments, commands

    async def save(self, allotments: Iterable[Allotment], now: dt.datetime) -> None:
        """Writes the counts of locked allotments; the tables' checks have the last word.

        Raises:
            IntegrityError: if a sale would have more taken than its units, or a customer more than one may have.
        """
        changed = list(allotments)
        await self._session.execute(
            _UPDATE_SALES,
            {
                "sales": [a.terms.sale_id for a in changed],
                "taken": [a.taken for a in changed],
                "paid": [a.paid for a in changed],
                "waiting": [a.waiting for a in changed],
                "places": [a.last_place for a in changed],
                "closed": [a.closed for a in changed],
                "now": now,
            },
        )
        shares = [(a.terms, customer_id, units) for a in changed for customer_id, units in sorted(a.customers.items())]
        await self._session.execute(
            _SET_SHARES,
            {
                "sales": [terms.sale_id for terms, _, _ in shares],
                "customers": [customer_id for _, customer_id, _ in shares],
                "units": [units for _, _, units in shares],
                "most": [terms.units_per_customer for terms, _, _ in shares],
            },
        )

    async def insert_claims(self, claims: Sequence[SaleClaim], commands: Mapping[str, Envelope]) -> None:
        """Writes the claims of new reservations; those that wait with their command."""
        await self._session.execute(
            _INSERT_CLAIMS,
            {
                "orders": [claim.order_id for claim in claims],
                "sales": [claim.sale_id for claim in claims],
                "customers": [claim.customer_id for claim in claims],
                "units": [claim.units for claim in claims],
                "places": [claim.place for claim in claims],
                "commands": [
                    encode(commands[claim.order_id]).decode() if claim.command is not None else None for claim in claims
                ],
            },
        )

    async def leave_queue(self, reservations: Sequence[Reservation], now: dt.datetime) -> int:
        """Moves reservations that are locked and queued, and returns how many did."""
        moved = await self._session.execute(
            _LEAVE_QUEUE,
            {
                "orders": [r.order_id for r in reservations],
                "statuses": [r.status.value for r in reservations],
                "reasons": [r.reason for r in reservations],
                "refused": ["{" + ",".join(r.product_ids) + "}" for r in reservations],
                "expires": [r.expires_at for r in reservations],
                "now": now,
            },
        )
        return cast("CursorResult[Any]", moved).rowcount

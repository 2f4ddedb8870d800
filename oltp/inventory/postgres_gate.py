"""The gate in Postgres alone: a row for each unit that can be claimed, claimed with ``SKIP LOCKED``.

Nobody waits for anybody: who finds a unit locked takes the next one. That is what makes a popular product sell in
parallel, where its one row in the books lets one transaction after the other through.

How many units may be free follows from the books in one snapshot, whatever is under way at that moment: what the books
have available, less what was claimed by orders that the books have not written yet (or have given back already). So the
gate can follow the books at any time and needs no quiet moments.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import structlog
from redis.exceptions import RedisError
from sqlalchemy import text

from kit.db import Database, WriteSession
from oltp.inventory.domain import FailureReason, Refusal
from oltp.inventory.gate import Claim, Gate
from oltp.inventory.redis_gate import FIRST_PRODUCT
from oltp.inventory.repository import DatabaseBooks

log = structlog.get_logger()

_PAGE: Final = 500

_UNFILLED: Final = text(
    """
    SELECT asked.product_id::text FROM unnest(CAST(:products AS uuid[])) AS asked (product_id)
    WHERE NOT EXISTS (SELECT FROM inventory.gate_products AS g WHERE g.product_id = asked.product_id)
    """
)
_LOOK: Final = text(
    """
    SELECT DISTINCT order_id::text AS order_id, NULL AS product_id, CAST(NULL AS bigint) AS unit
    FROM inventory.gate_units WHERE order_id = ANY(CAST(:orders AS uuid[]))
    UNION ALL
    SELECT NULL, wanted.product_id::text, free.unit
    FROM unnest(CAST(:products AS uuid[]), CAST(:units AS integer[])) AS wanted (product_id, units)
    CROSS JOIN LATERAL (
        SELECT unit FROM inventory.gate_units AS u
        WHERE u.product_id = wanted.product_id AND u.order_id IS NULL
        ORDER BY u.unit LIMIT wanted.units FOR UPDATE SKIP LOCKED
    ) AS free
    """
)
_CLAIM: Final = text(
    """
    UPDATE inventory.gate_units AS u SET order_id = taken.order_id
    FROM unnest(CAST(:orders AS uuid[]), CAST(:products AS uuid[]), CAST(:units AS bigint[]))
        AS taken (order_id, product_id, unit)
    WHERE u.product_id = taken.product_id AND u.unit = taken.unit
    """
)
_GIVE_BACK: Final = text(
    """
    WITH freed AS (
        UPDATE inventory.gate_units SET order_id = NULL WHERE (product_id, unit) IN (
            SELECT product_id, unit FROM inventory.gate_units
            WHERE order_id = ANY(CAST(:orders AS uuid[])) ORDER BY product_id, unit FOR UPDATE
        )
        RETURNING product_id
    )
    SELECT product_id::text, count(*) AS units FROM freed GROUP BY product_id
    """
)
_FORGET: Final = text("DELETE FROM inventory.gate_units WHERE order_id = ANY(CAST(:orders AS uuid[]))")
_LOCK_PRODUCTS: Final = text(
    """
    WITH added AS (
        INSERT INTO inventory.gate_products (product_id)
        SELECT product_id FROM unnest(CAST(:products AS uuid[])) AS p (product_id) ORDER BY product_id
        ON CONFLICT DO NOTHING
    )
    SELECT product_id FROM inventory.gate_products
    WHERE product_id = ANY(CAST(:products AS uuid[])) ORDER BY product_id FOR UPDATE
    """
)
_DIFFERENCES: Final = text(
    """
    SELECT asked.product_id::text AS product_id,
           coalesce(books.available, 0) - gate.free - gate.under_way AS missing
    FROM unnest(CAST(:products AS uuid[])) AS asked (product_id)
    LEFT JOIN LATERAL (
        SELECT sum(quantity - reserved_quantity) AS available
        FROM inventory.inventory AS i WHERE i.product_id = asked.product_id
    ) AS books ON true
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE u.order_id IS NULL) AS free,
               count(*) FILTER (
                   WHERE u.order_id IS NOT NULL AND (r.order_id IS NULL OR r.status NOT IN ('held', 'fulfilled'))
               ) AS under_way
        FROM inventory.gate_units AS u LEFT JOIN inventory.reservations AS r ON r.order_id = u.order_id
        WHERE u.product_id = asked.product_id
    ) AS gate
    """
)
_ADD: Final = text(
    """
    INSERT INTO inventory.gate_units (product_id)
    SELECT p.product_id FROM unnest(CAST(:products AS uuid[]), CAST(:units AS integer[])) AS p (product_id, units)
    CROSS JOIN LATERAL generate_series(1, p.units)
    """
)
_REMOVE: Final = text(
    """
    DELETE FROM inventory.gate_units WHERE (product_id, unit) IN (
        SELECT p.product_id, free.unit
        FROM unnest(CAST(:products AS uuid[]), CAST(:units AS integer[])) AS p (product_id, units)
        CROSS JOIN LATERAL (
            SELECT unit FROM inventory.gate_units AS u
            WHERE u.product_id = p.product_id AND u.order_id IS NULL
            ORDER BY u.unit DESC LIMIT p.units FOR UPDATE SKIP LOCKED
        ) AS free
    )
    """
)


class PostgresGate:
    """:class:`oltp.inventory.gate.Gate` over the shop's own database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._books = DatabaseBooks(database)
        self._filled: set[str] = set()
        self._suspects: set[str] = set()
        self._last = FIRST_PRODUCT

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]:
        """For each claim in turn, takes all its units (None) or none of them (why not).

        Units that somebody else holds locked count as taken, even if they are given up a moment later.
        """
        ghosts = await self._fill({product_id for claim in claims for product_id in claim.units} - self._filled)
        async with self._database.write() as session:
            return await self._claim(session, claims, ghosts)

    async def _fill(self, product_ids: set[str]) -> set[str]:
        """Takes over products that were never asked for; returns those that the books do not know either."""
        if not product_ids:
            return set()
        async with self._database.read() as session:
            rows = await session.execute(_UNFILLED, {"products": list(product_ids)})
            unfilled = {row.product_id for row in rows}
        known = set(await self._books.available(unfilled)) if unfilled else set()
        await self.follow(known)
        self._filled |= product_ids - (unfilled - known)
        return unfilled - known

    async def _claim(self, session: WriteSession, claims: Sequence[Claim], ghosts: set[str]) -> list[Refusal | None]:
        wanted: dict[str, int] = defaultdict(int)
        for claim in {claim.order_id: claim for claim in claims}.values():
            for product_id, units in claim.units.items():
                wanted[product_id] += units
        admitted, free = await self._look(session, [claim.order_id for claim in claims], wanted)
        verdicts: list[Refusal | None] = []
        taken: list[tuple[str, str, int]] = []
        for claim in claims:
            if claim.order_id in admitted:
                verdicts.append(None)
            elif unknown := tuple(product_id for product_id in claim.units if product_id in ghosts):
                verdicts.append(Refusal(FailureReason.UNKNOWN_PRODUCT, unknown))
            elif short := tuple(p for p, units in claim.units.items() if len(free[p]) < units):
                verdicts.append(Refusal(FailureReason.OUT_OF_STOCK, short))
            else:
                admitted.add(claim.order_id)
                verdicts.append(None)
                for product_id, units in claim.units.items():
                    taken += [(claim.order_id, product_id, free[product_id].pop()) for _ in range(units)]
        if taken:
            orders, products, numbers = zip(*taken, strict=True)
            await session.execute(_CLAIM, {"orders": orders, "products": products, "units": numbers})
        return verdicts

    async def _look(
        self, session: WriteSession, order_ids: Sequence[str], wanted: Mapping[str, int]
    ) -> tuple[set[str], dict[str, list[int]]]:
        """The orders that have their units already; and, locked, as many free units as are wanted, lowest last."""
        rows = await session.execute(
            _LOOK, {"orders": order_ids, "products": list(wanted), "units": list(wanted.values())}
        )
        admitted: set[str] = set()
        free: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            if row.product_id is None:
                admitted.add(row.order_id)
            else:
                free[row.product_id].append(row.unit)
        for units in free.values():
            units.sort(reverse=True)
        return admitted, free

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Makes the claims' units available again; where there are fewer than were claimed, by what the books say."""
        claimed: dict[str, int] = defaultdict(int)
        for claim in claims:
            for product_id, units in claim.units.items():
                claimed[product_id] += units
        async with self._database.write() as session:
            rows = await session.execute(_GIVE_BACK, {"orders": [claim.order_id for claim in claims]})
            freed = {row.product_id: row.units for row in rows}
        await self.follow({product_id for product_id, units in claimed.items() if freed.get(product_id, 0) != units})

    async def forget(self, claims: Sequence[Claim]) -> None:
        """Takes the units out that these orders claimed."""
        async with self._database.write() as session:
            await session.execute(_FORGET, {"orders": [claim.order_id for claim in claims]})

    async def follow(self, product_ids: Collection[str]) -> None:
        """Adds or removes free units until there are as many as the books allow."""
        ordered = sorted(product_ids)
        for at in range(0, len(ordered), _PAGE):
            async with self._database.write() as session:
                await self._follow(session, ordered[at : at + _PAGE])

    async def _follow(self, session: WriteSession, product_ids: Sequence[str]) -> None:
        await session.execute(_LOCK_PRODUCTS, {"products": product_ids})
        rows = await session.execute(_DIFFERENCES, {"products": product_ids})
        missing = {row.product_id: int(row.missing) for row in rows if row.missing}
        for query, sign in ((_ADD, 1), (_REMOVE, -1)):
            changes = {product_id: units * sign for product_id, units in missing.items() if units * sign > 0}
            if changes:
                await session.execute(query, {"products": list(changes), "units": list(changes.values())})

    async def suspect(self, product_ids: Collection[str]) -> None:
        """Has these products compared with the books in the next round."""
        self._suspects.update(product_ids)

    async def round(self) -> None:
        """Follows the books for products under suspicion and, in turn, the next few of all others."""
        suspects, self._suspects = self._suspects, set()
        page = await self._books.available_after(self._last, _PAGE)
        self._last = page[-1][0] if len(page) == _PAGE else FIRST_PRODUCT
        try:
            await self.follow(suspects | {product_id for product_id, _ in page})
        except BaseException:
            self._suspects |= suspects
            raise


class Counted:
    """Another gate, with the counters in Redis kept for those who look at them: product pages and checkout.

    They are advisory: a Redis that is away holds nothing up, and its keeper sets right what it missed.
    """

    def __init__(self, gate: Gate, counters: Gate) -> None:
        self._gate = gate
        self._counters = counters

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]:
        """As the gate says."""
        verdicts = await self._gate.admit(claims)
        await self._moved({p for claim, no in zip(claims, verdicts, strict=True) if no is None for p in claim.units})
        return verdicts

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Makes the claims' units available again."""
        await self._gate.give_back(claims)
        await self._moved({product_id for claim in claims for product_id in claim.units})

    async def forget(self, claims: Sequence[Claim]) -> None:
        """Forgets orders whose units have left the shelves for good."""
        await self._gate.forget(claims)

    async def follow(self, product_ids: Collection[str]) -> None:
        """Has gate and counters take over what the books say."""
        await self._gate.follow(product_ids)
        try:
            await self._counters.follow(product_ids)
        except (RedisError, ConnectionError) as error:
            log.warning("gate.counters_behind", products=len(product_ids), error=repr(error))

    async def suspect(self, product_ids: Collection[str]) -> None:
        """Has these products compared with the books."""
        await self._gate.suspect(product_ids)
        await self._moved(product_ids)

    async def _moved(self, product_ids: Collection[str]) -> None:
        try:
            await self._counters.suspect(product_ids)
        except (RedisError, ConnectionError) as error:
            log.warning("gate.counters_behind", products=len(product_ids), error=repr(error))

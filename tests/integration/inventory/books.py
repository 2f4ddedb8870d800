"""The books' equations as queries for whatever breaks them; the equations are in ``oltp/inventory/repository.py``."""

import datetime as dt
from typing import Final

from sqlalchemy import text

from kit.db import ReadSession

LEDGER: Final = "SELECT product_id, warehouse_id, sum(delta) AS units FROM inventory.stock_ledger GROUP BY 1, 2"
ON_HAND: Final = "SELECT product_id, warehouse_id, quantity AS units FROM inventory.inventory"
RESERVED: Final = "SELECT product_id, warehouse_id, reserved_quantity AS units FROM inventory.inventory"
SHIPPED: Final = """
    SELECT product_id, warehouse_id, -sum(delta) AS units FROM inventory.stock_ledger
    WHERE kind = 'shipped' GROUP BY 1, 2
"""
CLAIMED: Final = """
    SELECT product_id, warehouse_id, sum(quantity) AS units
    FROM inventory.reservation_lines JOIN inventory.reservations USING (order_id) WHERE status = '{}' GROUP BY 1, 2
"""
BALANCE: Final = """
    SELECT CAST(product_id AS text) AS product_id, id FROM
        (SELECT *, sum(delta) OVER (PARTITION BY product_id, warehouse_id ORDER BY id) AS total
         FROM inventory.stock_ledger) AS running
    WHERE balance <> total
"""


async def breaks(session: ReadSession) -> list[tuple[str, str]]:
    """Product and what is wrong with it, for each break of equations 1 to 4."""
    found: list[tuple[str, str]] = []
    for name, one, other in (
        ("ledger = on hand", LEDGER, ON_HAND),
        ("held = reserved", CLAIMED.format("held"), RESERVED),
        ("fulfilled = shipped", CLAIMED.format("fulfilled"), SHIPPED),
    ):
        rows = await session.execute(
            text(
                f"""
                SELECT CAST(product_id AS text) AS product_id, coalesce(one.units, 0) AS one,
                       coalesce(other.units, 0) AS other
                FROM ({one}) AS one FULL JOIN ({other}) AS other USING (product_id, warehouse_id)
                WHERE coalesce(one.units, 0) <> coalesce(other.units, 0)
                """
            )
        )
        found += [(row.product_id, f"{name}: {row.one}, {row.other}") for row in rows]
    found += [(row.product_id, f"balance of entry {row.id}") for row in await session.execute(text(BALANCE))]
    return found


async def overdue(session: ReadSession, now: dt.datetime) -> set[str]:
    """Orders whose unpaid holds were over by ``now``."""
    rows = await session.execute(
        text(
            "SELECT CAST(order_id AS text) AS order_id FROM inventory.reservations "
            "WHERE status = 'held' AND confirmed_at IS NULL AND expires_at <= :now"
        ),
        {"now": now},
    )
    return {row.order_id for row in rows}

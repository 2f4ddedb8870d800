"""Flash sales: no unit sold twice, nobody above one's share, nobody passed or forgotten in the queue."""

from typing import Final

import asyncpg
from redis.asyncio import Redis

from audit.books import MOST, Check
from audit.report import Finding, Offender
from contracts import redis_keys

_TAKEN: Final = "r.status IN ('held', 'fulfilled')"
_PAID: Final = "(r.status = 'fulfilled' OR (r.status = 'held' AND r.confirmed_at IS NOT NULL))"
_CLAIMS: Final = "inventory.sale_claims c JOIN inventory.reservations r USING (order_id)"

CHECKS: Final = (
    Check(
        "sales.units",
        "each sale's units: taken and paid are what orders hold and have bought, and no more than there are",
        f"""
        SELECT s.sale_id AS id, format('%s units: taken %s, orders %s; paid %s, orders %s; waiting %s, orders %s',
                                       s.units, s.taken, coalesce(c.taken, 0), s.paid, coalesce(c.paid, 0), s.waiting,
                                       coalesce(c.waiting, 0)) AS what
        FROM inventory.sales s LEFT JOIN
            (SELECT c.sale_id, sum(c.units) FILTER (WHERE {_TAKEN}) AS taken,
                    sum(c.units) FILTER (WHERE {_PAID}) AS paid,
                    sum(c.units) FILTER (WHERE r.status = 'queued') AS waiting
             FROM {_CLAIMS} GROUP BY 1) c USING (sale_id)
        WHERE s.taken <> coalesce(c.taken, 0) OR s.paid <> coalesce(c.paid, 0) OR s.waiting <> coalesce(c.waiting, 0)
           OR s.taken > s.units OR s.paid > s.taken
        """,  # noqa: S608
        """
        SELECT count(*) AS sales, coalesce(sum(units), 0) AS units, coalesce(sum(paid), 0) AS sold,
               coalesce(sum(taken - paid), 0) AS held, coalesce(sum(waiting), 0) AS waiting
        FROM inventory.sales
        """,
    ),
    Check(
        "sales.customers",
        "no customer has, or waits for, more of a sale than one may",
        f"""
        SELECT customer_id AS id, format('sale %s: has %s, orders %s, may have %s', sale_id, coalesce(h.units, 0),
                                         coalesce(c.units, 0), s.units_per_customer) AS what
        FROM inventory.sale_customers h FULL JOIN
            (SELECT c.sale_id, c.customer_id, sum(c.units) AS units FROM {_CLAIMS}
             WHERE {_TAKEN} OR r.status = 'queued' GROUP BY 1, 2) c USING (sale_id, customer_id)
        JOIN inventory.sales s USING (sale_id)
        WHERE coalesce(h.units, 0) <> coalesce(c.units, 0) OR coalesce(h.units, 0) > s.units_per_customer
        """,  # noqa: S608
        "SELECT count(*) AS customers FROM inventory.sale_customers WHERE units > 0",
    ),
    Check(
        "sales.queue",
        "who waits may still get something, the first in line waits for what is taken, and nobody was passed",
        f"""
        SELECT c.order_id AS id, format('%s, waits with its command: %s', r.status, c.command IS NOT NULL) AS what
        FROM {_CLAIMS} WHERE (r.status = 'queued') <> (c.command IS NOT NULL)
        UNION ALL
        SELECT c.order_id, format('waits in vain: %s of %s units paid, closed %s', s.paid, s.units, s.closed_at)
        FROM {_CLAIMS} JOIN inventory.sales s ON s.sale_id = c.sale_id
        WHERE r.status = 'queued' AND (s.paid + c.units > s.units OR s.closed_at IS NOT NULL)
        UNION ALL
        SELECT c.order_id, format('waits first in line, %s of %s units are taken', s.taken, s.units)
        FROM (SELECT DISTINCT ON (c.sale_id) c.* FROM {_CLAIMS} WHERE r.status = 'queued'
              ORDER BY c.sale_id, c.place) c JOIN inventory.sales s USING (sale_id)
        WHERE s.taken + c.units <= s.units
        UNION ALL
        SELECT waiting.order_id, format('waits at place %s, place %s was served', waiting.place, served.place)
        FROM (SELECT c.* FROM {_CLAIMS} WHERE r.status = 'queued') waiting
        JOIN (SELECT c.sale_id, max(c.place) AS place FROM {_CLAIMS} WHERE {_TAKEN} GROUP BY 1) served USING (sale_id)
        WHERE waiting.place < served.place
        """,  # noqa: S608
        "SELECT count(*) AS waiting FROM inventory.reservations WHERE status = 'queued'",
    ),
    Check(
        "sales.orders",
        "every order of a sale waits for, holds or has bought its units, or was cancelled",
        f"""
        SELECT o.id, format('%s in sale %s, reservation %s', o.status, o.sale ->> 'sale_id',
                            coalesce(r.status, 'missing')) AS what
        FROM orders.orders o LEFT JOIN ({_CLAIMS}) ON c.order_id = o.id
        WHERE o.sale IS NOT NULL AND CASE
            WHEN o.status = 'cancelled' THEN r.status IN ('queued', 'fulfilled')
            WHEN o.status = 'pending' THEN r.status IS DISTINCT FROM 'queued'
            ELSE coalesce(r.status, '') NOT IN ('held', 'fulfilled') END
        """,  # noqa: S608
        "SELECT count(*) AS orders FROM orders.orders WHERE sale IS NOT NULL",
        needs_quiet=True,
    ),
)

KEY: Final = "sales.redis"
TITLE: Final = "Redis lets through to each running sale what its orders leave"
_PAID_ORDERS: Final = "('confirmed', 'processing', 'cancelling', 'shipped', 'delivered')"
_ORDERS: Final = f"""
    SELECT s.id::text AS sale_id, o.id::text AS order_id, o.user_id::text AS customer_id, sum(i.quantity)::int AS units,
           o.status IN {_PAID_ORDERS} AS paid
    FROM sales.sales s
    LEFT JOIN orders.orders o ON o.sale IS NOT NULL AND o.sale ->> 'sale_id' = s.id::text AND o.status <> 'cancelled'
    LEFT JOIN orders.order_items i ON i.order_id = o.id AND i.product_id = s.product_id
    WHERE s.starts_at <= now() AND s.ends_at > now()
    GROUP BY 1, 2, 3, 5
"""  # noqa: S608


async def judge(connection: asyncpg.Connection, redis: Redis) -> Finding:
    """Compares the gate of every running sale with its orders, claim by claim and sum by sum."""
    of_sale: dict[str, dict[str, tuple[str, int, bool]]] = {}
    for row in await connection.fetch(_ORDERS):
        orders = of_sale.setdefault(row["sale_id"], {})
        if row["order_id"] is not None:
            orders[row["order_id"]] = (row["customer_id"], row["units"], row["paid"])
    offenders: list[Offender] = []
    for sale_id, orders in of_sale.items():
        offenders += await _compare(redis, sale_id, orders)
    claims = sum(map(len, of_sale.values()))
    figures = {"sales": len(of_sale), "claims": claims}
    return Finding(KEY, TITLE, figures, tuple(offenders[:MOST]), len(offenders), needs_quiet=True)


async def _compare(redis: Redis, sale_id: str, orders: dict[str, tuple[str, int, bool]]) -> list[Offender]:
    claims: dict[str, tuple[str, int, bool]] = {}
    for order_id, value in (await redis.hgetall(redis_keys.sale_claims(sale_id))).items():
        customer_id, units, standing, _ = str(value).split(":")
        claims[str(order_id)] = customer_id, int(units), standing == "sold"
    found = [
        Offender(order_id, f"Redis {claims.get(order_id)}, Postgres {orders.get(order_id)}")
        for order_id in sorted(orders.keys() | claims.keys())
        if orders.get(order_id) != claims.get(order_id)
    ]
    shares: dict[str, int] = {}
    for customer_id, wanted, _ in claims.values():
        shares[customer_id] = shares.get(customer_id, 0) + wanted
    told = {str(c): int(n) for c, n in (await redis.hgetall(redis_keys.sale_customers(sale_id))).items()}
    for customer_id in sorted(shares.keys() | told.keys()):
        if shares.get(customer_id, 0) != told.get(customer_id, 0):
            what = f"Redis lets have {told.get(customer_id, 0)} of sale {sale_id}, claims {shares.get(customer_id, 0)}"
            found.append(Offender(customer_id, what))
    claimed, sold = await redis.hmget(redis_keys.sale(sale_id), "claimed", "sold")
    counted = int(claimed or 0), int(sold or 0)
    right = sum(shares.values()), sum(wanted for _, wanted, is_sold in claims.values() if is_sold)
    if counted != right:
        found.append(Offender(sale_id, f"Redis counts {counted} claimed and sold, its claims are {right}"))
    return found

"""Redis's counters against the books."""

import asyncpg
from redis.asyncio import Redis

from audit.books import MOST
from audit.report import Finding, Offender
from contracts import redis_keys

KEY = "stock.redis"
TITLE = "Redis says what is available as Postgres does"
_PAGE = 5_000
_AVAILABLE = """
    SELECT product_id::text AS id, sum(quantity - reserved_quantity)::bigint AS units
    FROM inventory.inventory GROUP BY product_id ORDER BY product_id
"""


async def judge(connection: asyncpg.Connection, redis: Redis) -> Finding:
    """Compares every product. One that Redis does not know is no break: it is taken from the books when needed."""
    offenders: list[Offender] = []
    known = missing = 0
    rows = await connection.fetch(_AVAILABLE)
    for at in range(0, len(rows), _PAGE):
        page = rows[at : at + _PAGE]
        counters = await redis.mget([redis_keys.stock(row["id"]) for row in page])
        for row, counter in zip(page, counters, strict=True):
            if counter is None:
                missing += 1
                continue
            known += 1
            if int(counter) != row["units"]:
                offenders.append(Offender(row["id"], f"Redis {int(counter)}, Postgres {row['units']}"))
    return Finding(
        KEY,
        TITLE,
        {"products": known, "not in Redis": missing},
        tuple(offenders[:MOST]),
        len(offenders),
        needs_quiet=True,
    )

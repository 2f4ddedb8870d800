"""The document store's order history against Postgres."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from pymongo import AsyncMongoClient

from audit.books import MOST
from audit.report import Finding, Offender

KEY: Final = "history.orders"
TITLE: Final = "the order history says of each order what Postgres says"

_DATABASE: Final = "surge"
_COLLECTION: Final = "order_history"


@dataclass(frozen=True, slots=True)
class Told:
    """What the history says of an order; ``total`` is None where it does not know how it was placed."""

    bucket: str
    status: str | None
    total: int | None


@dataclass(frozen=True, slots=True)
class History:
    """The whole history: orders by id, and from which month on it is complete for a customer."""

    orders: Mapping[str, Told]
    since: Mapping[str, str]


async def read(client: AsyncMongoClient[dict[str, Any]]) -> History:
    """Everything in the store."""
    orders: dict[str, Told] = {}
    since: dict[str, str] = {}
    async for document in client.get_default_database(_DATABASE)[_COLLECTION].find({}):
        key = str(document["_id"])
        if ":" not in key:
            if document.get("since") and not document.get("oversize"):
                since[key] = document["since"]
            continue
        for order_id, story in document.get("orders", {}).items():
            steps = story.get("timeline", {})
            last = max(steps, key=int, default=None)
            placed = story.get("placed")
            orders[order_id] = Told(
                key, None if last is None else steps[last]["status"], placed["total_amount"] if placed else None
            )
    return History(orders, since)


async def judge(connection: asyncpg.Connection, history: History) -> Finding:
    """Compares every order that the history speaks of, or should."""
    rows = await connection.fetch(
        """
        SELECT id::text, user_id::text, status, (total_amount * 100)::bigint AS total,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month
        FROM orders.orders WHERE id = ANY($1::uuid[]) OR user_id = ANY($2::uuid[])
        """,
        list(history.orders),
        list(history.since),
    )
    offenders = list(_compare(rows, history))
    return Finding(
        KEY,
        TITLE,
        {"orders": len(history.orders), "customers built": len(history.since)},
        tuple(offenders[:MOST]),
        len(offenders),
        needs_quiet=True,
    )


def _compare(rows: Iterable[Mapping[str, Any]], history: History) -> Iterable[Offender]:
    unknown = set(history.orders)
    for row in rows:
        unknown.discard(row["id"])
        told = history.orders.get(row["id"])
        if told is None:
            if row["month"] >= history.since[row["user_id"]]:
                yield Offender(row["id"], f"{row['status']}, not in the history")
        elif told.bucket != f"{row['user_id']}:{row['month']}":
            yield Offender(row["id"], f"in bucket {told.bucket}, placed by {row['user_id']} in {row['month']}")
        elif told.status != row["status"]:
            yield Offender(row["id"], f"history {told.status}, Postgres {row['status']}")
        elif told.total is not None and told.total != row["total"]:
            yield Offender(row["id"], f"history {told.total}, Postgres {row['total']} cents")
    for order_id in sorted(unknown):
        yield Offender(order_id, "in the history only")

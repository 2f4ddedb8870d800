"""Every accepted order is there, once, and nothing else is."""

from collections.abc import Mapping

import asyncpg

from audit.books import MOST
from audit.log import AcceptedOrders
from audit.report import Finding, Offender

TITLES = {
    "orders.accepted": "every accepted order is written, and every written one was accepted",
    "orders.keys": "one order for each customer's idempotency key",
}


async def judge(
    connection: asyncpg.Connection, accepted: AcceptedOrders, committed: Mapping[int, int]
) -> list[Finding]:
    """Compares the order log with the orders. ``committed`` is what the saga had committed before the snapshot.

    A second order in the log under a key whose order is written was refused by the saga: it is counted, and no break.
    """
    rows = await connection.fetch(
        """
        SELECT id::text, user_id::text, idempotency_key, log_partition, log_offset FROM orders.orders
        WHERE log_offset IS NOT NULL
        """
    )
    imported = await connection.fetchval("SELECT count(*) FROM orders.orders WHERE log_offset IS NULL")
    written = {row["id"]: (row["log_partition"], row["log_offset"]) for row in rows}
    by_key = {(row["user_id"], row["idempotency_key"]): {row["id"]} for row in rows}
    due = accepted.due(committed)
    refused = {
        order_id
        for key, of_log in accepted.keys.items()
        if len(of_log) > 1 and len(of_log & by_key.get(key, set())) == 1
        for order_id in of_log - written.keys()
    }
    lost = [Offender(order_id, "accepted, never written") for order_id in sorted(due - written.keys() - refused)]
    invented = [
        Offender(order_id, f"written from {partition}:{offset}, where the log has no such order")
        for order_id, (partition, offset) in sorted(written.items())
        if (partition, offset) not in accepted.places.get(order_id, [])
    ]
    doubled = [
        Offender(user_id, f"key {key}: orders {', '.join(sorted(orders))}")
        for (user_id, key), of_log in accepted.keys.items()
        if len(orders := (of_log | by_key.get((user_id, key), set())) - refused) > 1
    ]
    broken = lost + invented
    return [
        Finding(
            "orders.accepted",
            TITLES["orders.accepted"],
            {
                "accepted": len(accepted.places),
                "messages": sum(map(len, accepted.places.values())),
                "waiting": len(accepted.places.keys() - due - written.keys()),
                "imported": imported,
            },
            tuple(broken[:MOST]),
            len(broken),
        ),
        Finding(
            "orders.keys",
            TITLES["orders.keys"],
            {"keys": len(accepted.keys), "refused": len(refused)},
            tuple(doubled[:MOST]),
            len(doubled),
        ),
    ]

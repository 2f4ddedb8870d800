"""What must hold inside Postgres, read in one snapshot. Each check is a query for whatever breaks it.

The queries share no code with the services that write the tables: an auditor who asks the cashier has learned nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from audit.report import Finding, Offender

MOST: Final = 1_000
"""Offenders of one check that are kept."""

OVERDUE: Final = "now() - interval '60 seconds'"
"""SQL: a hold, a deadline or a resend that was due before this is late."""

STUCK: Final = "now() - interval '10 minutes'"
"""SQL: an order that has waited for stock, money or a carrier's word since before this is stuck."""


@dataclass(frozen=True, slots=True)
class Check:
    """One proof.

    ``breaks`` selects ``id`` and ``what`` of each thing that breaks it; ``figures`` selects one row of what it counted.
    """

    key: str
    title: str
    breaks: str
    figures: str = ""
    needs_quiet: bool = False
    warning: bool = False


def waits_for(*commands: str) -> str:
    """SQL: whether order ``o`` waits for the answer to one of the commands."""
    return "(" + " OR ".join(f"""o.outstanding @> '[{{"command": "{command}"}}]'""" for command in commands) + ")"


IN_QUEUE: Final = """
    EXISTS (SELECT FROM inventory.reservations q WHERE q.order_id = o.id AND q.status = 'queued')
"""
"""SQL: whether order ``o`` waits for a unit of a flash sale, which may last as long as the sale."""

COMPACT: Final = """
    (o.log_offset IS NULL
     AND NOT EXISTS (SELECT FROM orders.order_transitions b WHERE b.order_id = o.id AND b.sequence = 1))
"""
"""SQL: whether order ``o`` was brought in as settled history, whose beginning and stock nobody recorded one by one."""

COMPACT_STEPS: Final = 2
"""Steps that such an order's story has when it is brought in: placed, and where it stands."""

PAID_STATUSES: Final = "('confirmed', 'processing', 'cancelling', 'shipped', 'delivered')"
_HELD: Final = """
    SELECT l.product_id, l.warehouse_id, sum(l.quantity) AS units
    FROM inventory.reservation_lines l JOIN inventory.reservations r USING (order_id)
    WHERE r.status = 'held' GROUP BY l.product_id, l.warehouse_id
"""
_DEMAND: Final = """
    SELECT order_id, product_id, sum(i.quantity) AS units
    FROM orders.order_items i JOIN inventory.reservations r USING (order_id) GROUP BY 1, 2
"""
_CLAIM: Final = "SELECT order_id, product_id, sum(quantity) AS units FROM inventory.reservation_lines GROUP BY 1, 2"

STOCK: Final = (
    Check(
        "stock.ledger",
        "initial + restocked ± adjusted − shipped − settled = on hand",
        """
        SELECT product_id AS id,
               format('warehouse %s: ledger %s, on hand %s', warehouse_id, coalesce(l.units, 0),
                      coalesce(i.quantity, 0)) AS what
        FROM (SELECT product_id, warehouse_id, sum(delta) AS units FROM inventory.stock_ledger GROUP BY 1, 2) l
        FULL JOIN inventory.inventory i USING (product_id, warehouse_id)
        WHERE coalesce(l.units, 0) <> coalesce(i.quantity, 0)
        """,
        """
        SELECT l.*, on_hand AS "on hand" FROM
            (SELECT coalesce(sum(delta) FILTER (WHERE kind = 'initial'), 0) AS initial,
                    coalesce(sum(delta) FILTER (WHERE kind = 'restock'), 0) AS restocked,
                    coalesce(sum(delta) FILTER (WHERE kind = 'adjustment'), 0) AS adjusted,
                    coalesce(-sum(delta) FILTER (WHERE kind = 'shipped'), 0) AS shipped,
                    coalesce(-sum(delta) FILTER (WHERE kind = 'settled'), 0) AS settled FROM inventory.stock_ledger) l,
            (SELECT coalesce(sum(quantity), 0) AS on_hand, count(DISTINCT product_id) AS products
             FROM inventory.inventory) i
        """,
    ),
    Check(
        "stock.balance",
        "every line of the ledger continues the one before",
        """
        SELECT product_id AS id, format('ledger line %s: balance %s, sum %s', line, balance, total) AS what
        FROM (SELECT product_id, id AS line, balance,
                     sum(delta) OVER (PARTITION BY product_id, warehouse_id ORDER BY id) AS total
              FROM inventory.stock_ledger) running
        WHERE balance <> total
        """,
        "SELECT count(*) AS lines FROM inventory.stock_ledger",
    ),
    Check(
        "stock.shipped",
        "what the ledger says was shipped = what orders were fulfilled with",
        """
        SELECT order_id AS id,
               format('product %s: ledger %s, fulfilled %s', product_id, coalesce(s.units, 0), coalesce(f.units, 0))
                   AS what
        FROM (SELECT order_id, product_id, warehouse_id, -sum(delta) AS units
              FROM inventory.stock_ledger WHERE kind = 'shipped' GROUP BY 1, 2, 3) s
        FULL JOIN (SELECT order_id, product_id, warehouse_id, l.quantity AS units
                   FROM inventory.reservation_lines l JOIN inventory.reservations r USING (order_id)
                   WHERE r.status = 'fulfilled') f USING (order_id, product_id, warehouse_id)
        WHERE s.units IS DISTINCT FROM f.units
        """,
        "SELECT count(*) AS orders FROM inventory.reservations WHERE status = 'fulfilled'",
    ),
    Check(
        "stock.settled",
        "what the ledger says left for settled history = what those orders bought",
        f"""
        SELECT product_id AS id, format('ledger %s, orders %s', coalesce(s.units, 0), coalesce(b.units, 0)) AS what
        FROM (SELECT product_id, -sum(delta) AS units FROM inventory.stock_ledger WHERE kind = 'settled' GROUP BY 1) s
        FULL JOIN (SELECT i.product_id, sum(i.quantity) AS units
                   FROM orders.order_items i JOIN orders.orders o ON o.id = i.order_id
                   LEFT JOIN inventory.reservations r ON r.order_id = o.id
                   WHERE o.status IN ('shipped', 'delivered') AND r.order_id IS NULL AND {COMPACT}
                   GROUP BY 1) b USING (product_id)
        WHERE s.units IS DISTINCT FROM b.units
        """,  # noqa: S608
        "SELECT count(*) AS lines FROM inventory.stock_ledger WHERE kind = 'settled'",
    ),
    Check(
        "stock.reserved",
        "reserved = Σ live reservations",
        f"""
        SELECT product_id AS id,
               format('warehouse %s: reserved %s, held %s', warehouse_id, coalesce(i.reserved_quantity, 0),
                      coalesce(h.units, 0)) AS what
        FROM ({_HELD}) h FULL JOIN inventory.inventory i USING (product_id, warehouse_id)
        WHERE coalesce(h.units, 0) <> coalesce(i.reserved_quantity, 0)
        """,  # noqa: S608
        """
        SELECT (SELECT coalesce(sum(reserved_quantity), 0) FROM inventory.inventory) AS reserved,
               (SELECT count(*) FROM inventory.reservations WHERE status = 'held') AS holds
        """,
    ),
    Check(
        "stock.bounds",
        "nothing below zero, nothing reserved that is not there",
        """
        SELECT product_id AS id, format('warehouse %s: %s of %s reserved', warehouse_id, reserved_quantity, quantity)
                   AS what
        FROM inventory.inventory WHERE quantity < 0 OR reserved_quantity < 0 OR reserved_quantity > quantity
        UNION ALL
        SELECT product_id, format('ledger line %s: balance %s', id, balance) FROM inventory.stock_ledger
        WHERE balance < 0
        """,
        "SELECT count(*) AS levels FROM inventory.inventory",
    ),
    Check(
        "holds.time",
        "every unpaid hold is within its time",
        f"""
        SELECT order_id AS id, format('expired %s', expires_at) AS what FROM inventory.reservations
        WHERE status = 'held' AND confirmed_at IS NULL AND expires_at < {OVERDUE}
        """,  # noqa: S608
        """
        SELECT count(*) FILTER (WHERE confirmed_at IS NULL) AS unpaid, count(*) FILTER (WHERE confirmed_at IS NOT NULL)
                   AS paid
        FROM inventory.reservations WHERE status = 'held'
        """,
    ),
    Check(
        "holds.owners",
        "every hold belongs to an order that is under way",
        """
        SELECT r.order_id AS id, format('held for an order that is %s', coalesce(o.status, 'unknown')) AS what
        FROM inventory.reservations r LEFT JOIN orders.orders o ON o.id = r.order_id
        WHERE r.status = 'held' AND coalesce(o.status, 'unknown') NOT IN
            ('awaiting_payment', 'confirmed', 'processing', 'cancelling')
        """,
        needs_quiet=True,
    ),
)

ORDERS: Final = (
    Check(
        "orders.transitions",
        "each order's transitions count from 1 without a gap and end in its status; settled history has the later ones",
        f"""
        SELECT o.id, format('%s transitions up to %s, order at %s; %s, last transition %s', t.steps, t.last,
                            o.sequence, o.status, t.status) AS what
        FROM orders.orders o LEFT JOIN
            (SELECT order_id, count(*) AS steps, min(sequence) AS first, max(sequence) AS last,
                    count(*) FILTER (WHERE previous_status <> before) AS torn,
                    (array_agg(status ORDER BY sequence DESC))[1] AS status
             FROM (SELECT *, lag(status) OVER (PARTITION BY order_id ORDER BY sequence) AS before
                   FROM orders.order_transitions) steps
             GROUP BY order_id) t ON t.order_id = o.id
        WHERE t.last <> o.sequence OR t.status <> o.status OR t.torn > 0 OR t.last - t.first + 1 <> t.steps
           OR (coalesce(t.first, 0) <> 1
               AND NOT (coalesce(t.first, o.sequence + 1) = {COMPACT_STEPS} + 1 AND {COMPACT}))
        """,  # noqa: S608
        "SELECT count(*) AS transitions FROM orders.order_transitions",
    ),
    Check(
        "orders.totals",
        "each order's lines add up to its total",
        """
        SELECT o.id, format('total %s, lines %s', o.total_amount, coalesce(i.amount, 0)) AS what
        FROM orders.orders o LEFT JOIN
            (SELECT order_id, sum(quantity * price_at_purchase) AS amount FROM orders.order_items GROUP BY 1) i
            ON i.order_id = o.id
        WHERE o.total_amount IS DISTINCT FROM i.amount
        """,
        "SELECT count(*) AS orders, coalesce(sum(total_amount), 0)::bigint AS dollars FROM orders.orders",
    ),
    Check(
        "orders.reserved",
        "confirmed ⇒ all its units are held; shipped ⇒ they have left",
        f"""
        SELECT o.id, format('%s, reservation %s', o.status, coalesce(r.status, 'missing')) AS what
        FROM orders.orders o LEFT JOIN inventory.reservations r ON r.order_id = o.id
        WHERE (o.status IN ('confirmed', 'processing', 'cancelling') AND r.status IS DISTINCT FROM 'held')
           OR (o.status IN ('shipped', 'delivered') AND r.status IS DISTINCT FROM 'fulfilled'
               AND NOT (r.status IS NULL AND {COMPACT})
               AND NOT (r.status IS NOT DISTINCT FROM 'held' AND {waits_for("inventory.fulfil")}))
        UNION ALL
        SELECT o.id, format('%s, product %s: %s ordered, %s reserved', o.status, d.product_id, d.units,
                            coalesce(c.units, 0))
        FROM orders.orders o JOIN ({_DEMAND}) d ON d.order_id = o.id
        LEFT JOIN ({_CLAIM}) c ON c.order_id = d.order_id AND c.product_id = d.product_id
        WHERE o.status IN {PAID_STATUSES} AND d.units IS DISTINCT FROM c.units
        """,  # noqa: S608
        f"SELECT count(*) AS confirmed FROM orders.orders WHERE status IN {PAID_STATUSES}",  # noqa: S608
    ),
    Check(
        "orders.released",
        "cancelled ⇒ nothing is held for it any more",
        f"""
        SELECT o.id, format('cancelled (%s), reservation %s', o.cancel_reason, r.status) AS what
        FROM orders.orders o JOIN inventory.reservations r ON r.order_id = o.id
        WHERE o.status = 'cancelled' AND (r.status = 'fulfilled'
           OR (r.status = 'held' AND NOT {waits_for("inventory.release")}))
        """,  # noqa: S608
        "SELECT count(*) AS cancelled FROM orders.orders WHERE status = 'cancelled'",
    ),
    Check(
        "orders.moving",
        "no order waits past its time",
        f"""
        SELECT id, format('%s, deadline %s, due %s', status, deadline, due_at) AS what FROM orders.orders
        WHERE deadline < {OVERDUE} OR due_at < {OVERDUE}
        UNION ALL
        SELECT id, format('%s since %s', status, updated_at) FROM orders.orders o
        WHERE status IN ('pending', 'awaiting_payment', 'cancelling') AND updated_at < {STUCK} AND NOT {IN_QUEUE}
        """,  # noqa: S608
        """
        SELECT count(*) FILTER (WHERE status IN ('pending', 'awaiting_payment', 'cancelling')) AS open,
               count(*) FILTER (WHERE status IN ('confirmed', 'processing')) AS "to ship",
               count(*) FILTER (WHERE status = 'shipped') AS shipped,
               count(*) FILTER (WHERE status = 'delivered') AS delivered
        FROM orders.orders
        """,
    ),
    Check(
        "orders.parked",
        "no message waits for an order that never gets there",
        """
        SELECT order_id AS id, format('%s since %s', envelope ->> 'type', parked_at) AS what
        FROM orders.parked_messages
        """,
        needs_quiet=True,
    ),
    Check(
        "orders.compensations",
        "compensations that were asked for more than once",
        """
        SELECT o.id, format('%s, tried %s times', c ->> 'command', c ->> 'tries') AS what
        FROM orders.orders o CROSS JOIN jsonb_array_elements(o.outstanding) c
        WHERE o.status IN ('cancelling', 'cancelled') AND (c ->> 'tries')::int > 1
        """,
        """
        SELECT count(*) AS outstanding FROM orders.orders
        WHERE status IN ('cancelling', 'cancelled') AND outstanding <> '[]'
        """,
        warning=True,
    ),
)


async def judge(connection: asyncpg.Connection, checks: Sequence[Check]) -> list[Finding]:
    """The findings of checks in the connection's transaction."""
    return [await _judge(connection, check) for check in checks]


async def _judge(connection: asyncpg.Connection, check: Check) -> Finding:
    rows = await connection.fetch(
        f"SELECT id::text AS id, what, count(*) OVER () AS total FROM ({check.breaks}) broken ORDER BY 1, 2 "  # noqa: S608
        f"LIMIT {MOST}"
    )
    return Finding(
        key=check.key,
        title=check.title,
        figures=_figures(await connection.fetchrow(check.figures)) if check.figures else {},
        offenders=tuple(Offender(row["id"], row["what"]) for row in rows),
        count=rows[0]["total"] if rows else 0,
        needs_quiet=check.needs_quiet,
        warning=check.warning,
    )


def _figures(row: asyncpg.Record | None) -> dict[str, int | str]:
    return {name: int(value) for name, value in row.items()} if row is not None else {}

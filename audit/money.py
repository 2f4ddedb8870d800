"""What was taken and given back, inside Postgres."""

from typing import Final

from audit.books import OVERDUE, PAID_STATUSES, Check, waits_for

_MOVED: Final = """
    SELECT p.order_id, p.status, p.amount, o.status AS order_status, o.total_amount, o.outstanding,
           CASE WHEN p.status IN ('succeeded', 'refunding', 'refunded') THEN p.amount ELSE 0 END AS captured,
           coalesce(r.amount, 0) AS refunded
    FROM payments.payments p
    LEFT JOIN orders.orders o ON o.id = p.order_id
    LEFT JOIN payments.refunds r ON r.order_id = p.order_id AND r.status = 'succeeded'
"""

CHECKS: Final = (
    Check(
        "money.whole",
        "captured − refunded ∈ {0, total} for each order",
        f"""
        SELECT order_id AS id,
               format('%s: total %s, captured %s, refunded %s', status, total_amount, captured, refunded) AS what
        FROM ({_MOVED}) m
        WHERE captured - refunded NOT IN (0, coalesce(total_amount, amount))
           OR (captured > 0 AND captured <> coalesce(total_amount, amount))
           OR (status = 'refunded') <> (refunded > 0)
        """,  # noqa: S608
        f"""
        SELECT count(*) AS payments, coalesce(sum(captured), 0)::bigint AS captured,
               coalesce(sum(refunded), 0)::bigint AS refunded FROM ({_MOVED}) m
        """,  # noqa: S608
    ),
    Check(
        "money.confirmed",
        "confirmed ⇔ charged",
        f"""
        SELECT o.id, format('%s, payment %s', o.status, coalesce(p.status, 'missing')) AS what
        FROM orders.orders o LEFT JOIN payments.payments p ON p.order_id = o.id
        WHERE o.status IN {PAID_STATUSES} AND p.status IS DISTINCT FROM 'succeeded'
        UNION ALL
        SELECT p.order_id, format('payment %s, order %s', p.status, coalesce(o.status, 'missing'))
        FROM payments.payments p LEFT JOIN orders.orders o ON o.id = p.order_id
        WHERE coalesce(o.status, 'pending') = 'pending' AND p.status NOT IN ('voided', 'failed')
        """,  # noqa: S608
        f"SELECT count(*) AS charged FROM orders.orders WHERE status IN {PAID_STATUSES}",  # noqa: S608
    ),
    Check(
        "money.returned",
        "cancelled ⇒ nothing stays charged",
        f"""
        SELECT o.id, format('cancelled (%s), payment %s', o.cancel_reason, p.status) AS what
        FROM orders.orders o JOIN payments.payments p ON p.order_id = o.id
        WHERE o.status = 'cancelled' AND p.status IN ('pending', 'unknown', 'succeeded', 'refunding')
          AND NOT {waits_for("payment.void", "payment.refund")}
        """,  # noqa: S608
        """
        SELECT count(*) FILTER (WHERE status = 'refunded') AS refunded, count(*) FILTER (WHERE status = 'failed')
                   AS declined, count(*) FILTER (WHERE status = 'voided') AS voided
        FROM payments.payments
        """,
    ),
    Check(
        "money.once",
        "no order is charged by two calls",
        """
        SELECT order_id AS id, format('captured by %s', string_agg(DISTINCT idempotency_key, ', ')) AS what
        FROM payments.payment_attempts WHERE action = 'charge' AND outcome = 'captured'
        GROUP BY order_id HAVING count(DISTINCT idempotency_key) > 1
        """,
        """
        SELECT count(*) AS calls, count(*) FILTER (WHERE outcome = 'unknown') AS unanswered
        FROM payments.payment_attempts
        """,
    ),
    Check(
        "money.moving",
        "no payment waits past its time",
        f"""
        SELECT order_id AS id, format('%s, due %s, %s', status, next_attempt_at, obstacle) AS what
        FROM payments.payments WHERE next_attempt_at < {OVERDUE}
        """,  # noqa: S608
        "SELECT count(*) AS open FROM payments.payments WHERE next_attempt_at IS NOT NULL",
    ),
)

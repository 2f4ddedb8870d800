"""Shipments against orders."""

from typing import Final

from audit.books import COMPACT, Check

CHECKS: Final = (
    Check(
        "parcels.orders",
        "parcels are where their orders say",
        """
        SELECT o.id, format('order %s, parcels %s', o.status, coalesce(f.state, 'missing')) AS what
        FROM orders.orders o LEFT JOIN shipping.fulfilments f ON f.order_id = o.id
        WHERE CASE o.status
            WHEN 'processing' THEN f.state IS DISTINCT FROM 'booked'
            WHEN 'shipped' THEN f.state IS DISTINCT FROM 'dispatched'
            WHEN 'delivered' THEN f.state IS DISTINCT FROM 'delivered'
            ELSE coalesce(f.state, 'unbooked') NOT IN ('unbooked', 'cancelled') END
        """,
        """
        SELECT count(*) FILTER (WHERE state = 'booked') AS booked, count(*) FILTER (WHERE state = 'dispatched')
                   AS dispatched, count(*) FILTER (WHERE state = 'delivered') AS delivered,
               count(*) FILTER (WHERE state = 'cancelled') AS cancelled
        FROM shipping.fulfilments
        """,
        needs_quiet=True,
    ),
    Check(
        "parcels.contents",
        "parcels hold what was reserved",
        """
        SELECT coalesce(r.order_id, p.order_id) AS id,
               format('product %s from %s: %s reserved, %s packed', coalesce(r.product_id, p.product_id),
                      coalesce(r.warehouse_id, p.warehouse_id), coalesce(r.quantity, 0), coalesce(p.quantity, 0))
                   AS what
        FROM (SELECT l.order_id, l.product_id, l.warehouse_id, l.quantity FROM inventory.reservation_lines l
              JOIN shipping.fulfilments f USING (order_id)
              WHERE f.state IN ('booked', 'dispatched', 'delivered')) r
        FULL JOIN (SELECT s.order_id, (i ->> 'product_id')::uuid AS product_id, s.warehouse_id,
                          sum((i ->> 'quantity')::int) AS quantity
                   FROM shipping.shipments s JOIN inventory.reservations h USING (order_id)
                   CROSS JOIN jsonb_array_elements(s.items) i
                   WHERE s.status <> 'cancelled' GROUP BY 1, 2, 3) p USING (order_id, product_id, warehouse_id)
        WHERE r.quantity IS DISTINCT FROM p.quantity
        """,
        "SELECT count(*) AS parcels FROM shipping.shipments WHERE status <> 'cancelled'",
    ),
    Check(
        "parcels.settled",
        "parcels of settled history hold what was bought",
        f"""
        SELECT o.id, format('%s units bought, %s packed', b.units, coalesce(p.units, 0)) AS what
        FROM (SELECT order_id, sum(quantity) AS units FROM orders.order_items GROUP BY 1) b
        JOIN orders.orders o ON o.id = b.order_id
        LEFT JOIN inventory.reservations r ON r.order_id = o.id
        LEFT JOIN (SELECT s.order_id, sum((SELECT sum((i ->> 'quantity')::int) FROM jsonb_array_elements(s.items) i))
                              AS units
                   FROM shipping.shipments s WHERE s.status <> 'cancelled' GROUP BY 1) p ON p.order_id = o.id
        WHERE o.status IN ('shipped', 'delivered') AND r.order_id IS NULL AND {COMPACT}
          AND b.units IS DISTINCT FROM p.units
        """,  # noqa: S608
    ),
)

"""Every check of the books can fail: each is shown a break of its own, and a clean shop passes them all."""

from typing import Any, Final

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from audit import accepted, books, history, money, parcels, providers, quiet, sales
from audit.history import History, Told
from audit.log import AcceptedOrders, Progress
from audit.report import Verdict
from audit.settings import AuditSettings
from contracts import redis_keys

CHECKS: Final = (*books.STOCK, *books.ORDERS, *money.CHECKS, *parcels.CHECKS, *sales.CHECKS)

_ONE: Final = "(SELECT id FROM orders.orders WHERE status = '{}' ORDER BY id DESC LIMIT 1)"
"""The youngest orders have all their records, the older half of the history is compact."""
DELIVERED, SHIPPED, PROCESSING = (_ONE.format(status) for status in ("delivered", "shipped", "processing"))
REFUNDED: Final = "(SELECT order_id FROM payments.payments WHERE status = 'refunded' ORDER BY order_id DESC LIMIT 1)"
COMPACT: Final = "(SELECT id FROM orders.orders WHERE status = 'delivered' ORDER BY id LIMIT 1)"

_SALE: Final = (
    "INSERT INTO inventory.sales (sale_id, product_id, units, units_per_customer, taken, ends_at) "
    "VALUES (gen_random_uuid(), gen_random_uuid(), 2, 1, {taken}, now());"
)

BREAKS: Final = {
    "stock.ledger": "UPDATE inventory.inventory SET quantity = quantity + 1 WHERE ctid = (SELECT min(ctid) FROM "
    "inventory.inventory)",
    "stock.balance": "UPDATE inventory.stock_ledger SET balance = balance + 1 WHERE id = (SELECT max(id) FROM "
    "inventory.stock_ledger)",
    "stock.shipped": "UPDATE inventory.reservation_lines SET quantity = quantity + 1 WHERE ctid = (SELECT min(l.ctid) "
    "FROM inventory.reservation_lines l JOIN inventory.reservations r USING (order_id) WHERE r.status = 'fulfilled')",
    "stock.settled": "UPDATE inventory.stock_ledger SET delta = delta - 1 WHERE id = (SELECT max(id) FROM "
    "inventory.stock_ledger WHERE kind = 'settled')",
    "stock.reserved": "UPDATE inventory.inventory SET reserved_quantity = reserved_quantity - 1 WHERE ctid = (SELECT "
    "min(ctid) FROM inventory.inventory WHERE reserved_quantity > 0)",
    "stock.bounds": "ALTER TABLE inventory.inventory DROP CONSTRAINT ck_inventory_reserved; UPDATE inventory.inventory "
    "SET reserved_quantity = quantity + 1 WHERE ctid = (SELECT min(ctid) FROM inventory.inventory)",
    "holds.time": f"UPDATE inventory.reservations SET confirmed_at = NULL WHERE order_id = {PROCESSING}",
    "holds.owners": f"UPDATE inventory.reservations SET status = 'held' WHERE order_id = {DELIVERED}",
    "orders.transitions": f"DELETE FROM orders.order_transitions WHERE sequence = 3 AND order_id = {DELIVERED}",
    "orders.totals": f"UPDATE orders.orders SET total_amount = total_amount + 0.01 WHERE id = {DELIVERED}",
    "orders.reserved": f"UPDATE inventory.reservations SET status = 'released' WHERE order_id = {PROCESSING}",
    "orders.released": f"UPDATE inventory.reservations SET status = 'held' WHERE order_id = {REFUNDED}",
    "orders.moving": f"UPDATE orders.orders SET due_at = now() - interval '2 minutes' WHERE id = {PROCESSING}",
    "orders.parked": "INSERT INTO orders.parked_messages VALUES (gen_random_uuid(), 'm', '{\"type\": \"x\"}', now())",
    "orders.compensations": "UPDATE orders.orders SET outstanding = "
    f'\'[{{"command": "payment.refund", "tries": 3}}]\' WHERE id = {REFUNDED}',
    "money.whole": "UPDATE payments.refunds SET amount = amount - 0.01 WHERE ctid = (SELECT min(ctid) FROM "
    "payments.refunds)",
    "money.confirmed": f"UPDATE payments.payments SET status = 'failed' WHERE order_id = {SHIPPED}",
    "money.returned": "UPDATE payments.payments SET status = 'refunding' WHERE order_id = " + REFUNDED,
    "money.once": "INSERT INTO payments.payment_attempts (order_id, action, provider, idempotency_key, outcome, "
    f"duration_ms, attempted_at) VALUES ({DELIVERED}, 'charge', 'stripe', 'another', 'captured', 1, now())",
    "money.moving": "UPDATE payments.payments SET next_attempt_at = now() - interval '2 minutes' WHERE order_id = "
    + REFUNDED,
    "parcels.orders": f"UPDATE shipping.fulfilments SET state = 'dispatched' WHERE order_id = {PROCESSING}",
    "sales.units": _SALE.format(taken=1),
    "sales.customers": _SALE.format(taken=0) + "INSERT INTO inventory.sale_customers SELECT sale_id, "
    "gen_random_uuid(), 1, 1 FROM inventory.sales",
    "sales.queue": _SALE.format(taken=0) + "INSERT INTO inventory.sale_claims SELECT (SELECT order_id FROM "
    "inventory.reservations WHERE status = 'held' ORDER BY 1 LIMIT 1), sale_id, gen_random_uuid(), 1, 1, '{}' "
    "FROM inventory.sales",
    "sales.orders": f"UPDATE orders.orders SET sale = '{{}}' WHERE id = {PROCESSING}",
    "parcels.contents": f"UPDATE shipping.shipments SET items = '[]' WHERE order_id = {SHIPPED}",
    "parcels.settled": f"UPDATE shipping.shipments SET items = '[]' WHERE order_id = {COMPACT}",
}
"""What breaks each check."""


def test_every_check_is_broken_here() -> None:
    assert BREAKS.keys() == {check.key for check in CHECKS}


async def test_a_seeded_shop_is_clean(connection: asyncpg.Connection) -> None:
    findings = await books.judge(connection, CHECKS)
    assert {finding.key: finding.verdict for finding in findings} == dict.fromkeys(BREAKS, Verdict.HOLDS)
    figures = {finding.key: finding.figures for finding in findings}
    assert figures["orders.totals"]["orders"] == 600
    ledger = figures["stock.ledger"]
    left = ledger["shipped"] + ledger["settled"]  # type: ignore[operator]
    assert ledger["initial"] + ledger["restocked"] - left == ledger["on hand"]  # type: ignore[operator]
    assert min(ledger["shipped"], ledger["settled"]) > 0  # type: ignore[type-var]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.key)
async def test_a_break_is_seen_and_named(connection: asyncpg.Connection, check: books.Check) -> None:
    await connection.execute(BREAKS[check.key])
    (finding,) = await books.judge(connection, [check])
    assert finding.verdict is (Verdict.WARNING if check.warning else Verdict.BROKEN)
    assert finding.count >= 1
    assert len(finding.offenders[0].id) == 36


async def test_a_recorded_order_cannot_pass_for_settled_history(connection: asyncpg.Connection) -> None:
    await connection.execute(f"DELETE FROM orders.order_transitions WHERE order_id = {DELIVERED}")
    await connection.execute(f"DELETE FROM inventory.reservation_lines WHERE order_id = {SHIPPED}")
    await connection.execute(f"DELETE FROM inventory.reservations WHERE order_id = {SHIPPED}")
    findings = await books.judge(connection, books.ORDERS)
    broken = {finding.key: finding.count for finding in findings if finding.verdict is Verdict.BROKEN}
    assert broken == {"orders.transitions": 1, "orders.reserved": 1}


async def test_compensations_under_way_are_no_break(connection: asyncpg.Connection) -> None:
    for command in ("inventory.release", "payment.refund"):
        await connection.execute(
            f"UPDATE orders.orders SET outstanding = outstanding || jsonb_build_array(jsonb_build_object('command', "
            f"'{command}', 'attempt', 1, 'tries', 1)) WHERE id = {REFUNDED}"
        )
    await connection.execute(f"UPDATE inventory.reservations SET status = 'held' WHERE order_id = {REFUNDED}")
    await connection.execute(f"UPDATE payments.payments SET status = 'refunding' WHERE order_id = {REFUNDED}")
    keys = {"orders.released", "money.returned"}
    findings = await books.judge(connection, [check for check in CHECKS if check.key in keys])
    assert [finding.verdict for finding in findings] == [Verdict.HOLDS, Verdict.HOLDS]
    waiting = await quiet.outstanding(connection)
    assert waiting == ["1 × inventory.release", "1 × payment.refund"]


async def test_an_order_that_was_accepted_and_never_written_is_found(connection: asyncpg.Connection) -> None:
    log = AcceptedOrders(places={"lost": [(0, 10)], "waiting": [(1, 99)]}, keys={("user", "key"): {"lost"}})
    written, keys = await accepted.judge(connection, log, {0: 11, 1: 50})
    assert [offender.id for offender in written.offenders] == ["lost"]
    assert written.figures == {"accepted": 2, "messages": 2, "waiting": 1, "imported": 600}
    assert keys.verdict is Verdict.HOLDS


async def test_an_order_that_nobody_accepted_is_found(connection: asyncpg.Connection) -> None:
    await connection.execute(f"UPDATE orders.orders SET log_partition = 2, log_offset = 7 WHERE id = {DELIVERED}")
    order_id = await connection.fetchval("SELECT id::text FROM orders.orders WHERE log_offset = 7")
    nowhere, _ = await accepted.judge(connection, AcceptedOrders(), {})
    assert [offender.id for offender in nowhere.offenders] == [order_id]
    somewhere, _ = await accepted.judge(connection, AcceptedOrders(places={order_id: [(2, 7), (2, 8)]}), {2: 9})
    assert somewhere.verdict is Verdict.HOLDS


async def test_two_orders_of_one_key_are_found(connection: asyncpg.Connection) -> None:
    log = AcceptedOrders(places={"a": [(0, 1)], "b": [(0, 2)]}, keys={("user", "key"): {"a", "b"}})
    _, keys = await accepted.judge(connection, log, {})
    assert [str(offender) for offender in keys.offenders] == ["user: key key: orders a, b"]


async def test_a_second_order_of_a_key_that_the_saga_refused_is_no_break(connection: asyncpg.Connection) -> None:
    await connection.execute(f"UPDATE orders.orders SET log_partition = 2, log_offset = 7 WHERE id = {DELIVERED}")
    row = await connection.fetchrow(
        "SELECT id::text, user_id::text, idempotency_key FROM orders.orders WHERE log_offset = 7"
    )
    places = {row["id"]: [(2, 7)], "refused": [(2, 8)]}
    log = AcceptedOrders(places=places, keys={(row["user_id"], row["idempotency_key"]): {row["id"], "refused"}})

    written, keys = await accepted.judge(connection, log, {2: 9})

    assert written.verdict is Verdict.HOLDS
    assert keys.verdict is Verdict.HOLDS
    assert keys.figures == {"keys": 1, "refused": 1}


async def test_the_history_is_compared_order_by_order(connection: asyncpg.Connection) -> None:
    rows = await connection.fetch(
        """
        SELECT id::text, user_id::text AS "user", status, (total_amount * 100)::bigint AS total,
               to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM') AS month
        FROM orders.orders WHERE user_id = (SELECT user_id FROM orders.orders GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)
        """
    )
    right = {row["id"]: Told(f"{row['user']}:{row['month']}", row["status"], row["total"]) for row in rows}
    first, second, third, *_ = rows
    since = {first["user"]: "2000-01"}
    assert (await history.judge(connection, History(right, since))).verdict is Verdict.HOLDS

    wrong = {
        **right,
        first["id"]: Told(f"{first['user']}:{first['month']}", "pending", first["total"]),
        second["id"]: Told(f"{second['user']}:{second['month']}", second["status"], 1),
        "00000000-0000-7000-8000-000000000000": Told("somebody:2026-01", "delivered", 1),
    }
    del wrong[third["id"]]
    finding = await history.judge(connection, History(wrong, since))
    assert {offender.id: offender.what for offender in finding.offenders} == {
        first["id"]: f"history pending, Postgres {first['status']}",
        second["id"]: f"history 1, Postgres {second['total']} cents",
        third["id"]: f"{third['status']}, not in the history",
        "00000000-0000-7000-8000-000000000000": "in the history only",
    }
    elsewhere = {first["id"]: Told("somebody:2026-01", first["status"], first["total"])}
    moved = await history.judge(connection, History(elsewhere, {}))
    assert moved.offenders[0].what.startswith("in bucket somebody:2026-01")


def _entry(order_id: str, cents: int) -> dict[str, Any]:
    return {"order_id": order_id, "captures": 1, "captured": cents, "refunds": 0, "refunded": 0}


async def test_the_providers_books_are_compared(connection: asyncpg.Connection, audit_settings: AuditSettings) -> None:
    rows = await connection.fetch(
        """
        UPDATE payments.payments SET provider = 'stripe'
        WHERE order_id IN (SELECT order_id FROM payments.payments WHERE status = 'succeeded' ORDER BY 1 LIMIT 4)
        RETURNING order_id::text, (amount * 100)::bigint AS cents
        """
    )
    theirs = sorted((_entry(row["order_id"], row["cents"]) for row in rows), key=lambda entry: str(entry["order_id"]))

    def answer(request: httpx.Request) -> httpx.Response:
        items = [entry for entry in theirs if entry["order_id"] > request.url.params["after"]][:3]
        return httpx.Response(200, json={"items": items, "next_after": items[-1]["order_id"] if items else None})

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        clean = await providers.judge(connection, await providers.read(http, audit_settings))
        assert clean.verdict is Verdict.HOLDS
        assert clean.figures["captures"] == 4
        theirs[0]["captures"] = 2
        theirs[1]["captured"] += 1
        missing = theirs.pop(2)
        theirs.append(_entry("ffffffff-ffff-7fff-bfff-ffffffffffff", cents=100))
        broken = await providers.judge(connection, await providers.read(http, audit_settings))
    said = {offender.id: offender.what for offender in broken.offenders}
    assert said[theirs[0]["order_id"]] == "captured 2 times"
    assert "we " in said[theirs[1]["order_id"]]
    assert said[missing["order_id"]].startswith("they captured 0")
    assert said["ffffffff-ffff-7fff-bfff-ffffffffffff"].endswith("that we never charged")
    assert len(said) == 4


def test_what_is_under_way_is_said() -> None:
    rest = Progress({"order-saga": 0}, {}, 0)
    assert quiet.unrest(rest, [], rest).quiet
    busy = quiet.unrest(Progress({"order-saga": 3}, {}, 0), ["1 × payment.charge"], rest)
    assert str(busy) == "order-saga is 3 behind; waiting for 1 × payment.charge"
    assert str(quiet.unrest(None, [], rest)) == "Kafka is away"


async def test_the_flash_sales_gate_is_compared_claim_by_claim(connection: asyncpg.Connection, redis: Redis) -> None:
    sale_id = await connection.fetchval(
        f"""
        WITH opened AS (
            INSERT INTO sales.sales (id, product_id, price, currency, units, units_per_customer, waiting_places,
                starts_at, ends_at, planned_ends_at, opened_by, opened_at)
            SELECT gen_random_uuid(), product_id, 1, 'USD', 9, 9, 9, now(), now() + interval '1 h', now() + interval '1
            h',
                gen_random_uuid(), now()
            FROM orders.order_items WHERE order_id = {PROCESSING} LIMIT 1 RETURNING id
        )
        UPDATE orders.orders SET sale = jsonb_build_object('sale_id', opened.id) FROM opened
        WHERE orders.id = {PROCESSING} RETURNING opened.id::text
        """
    )
    order = await connection.fetchrow(
        f"""
        SELECT o.id::text, o.user_id::text, i.quantity FROM orders.orders o JOIN orders.order_items i ON i.order_id =
        o.id JOIN sales.sales s ON s.product_id = i.product_id WHERE o.id = {PROCESSING}
        """
    )
    keys = redis_keys.sale(sale_id), redis_keys.sale_claims(sale_id), redis_keys.sale_customers(sale_id)
    claim = f"{order['user_id']}:{order['quantity']}:sold:0"
    try:
        assert (await sales.judge(connection, redis)).count == 1
        await redis.hset(keys[0], mapping={"claimed": order["quantity"], "sold": order["quantity"]})
        await redis.hset(keys[1], order["id"], claim)
        await redis.hset(keys[2], order["user_id"], order["quantity"])
        assert (await sales.judge(connection, redis)).verdict is Verdict.HOLDS
        await redis.hset(keys[2], order["user_id"], order["quantity"] + 1)
        [offender] = (await sales.judge(connection, redis)).offenders
        assert offender.id == order["user_id"]
        await redis.hset(keys[0], "sold", 0)
        await redis.hset(keys[1], order["id"], claim.replace("sold", "claimed"))
        finding = await sales.judge(connection, redis)
        assert {offender.id for offender in finding.offenders} == {order["id"], order["user_id"]}
        await redis.hset(keys[0], "claimed", 0)
        assert sale_id in {offender.id for offender in (await sales.judge(connection, redis)).offenders}
    finally:
        await redis.delete(*keys)

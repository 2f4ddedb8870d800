"""Messages that come twice, out of order and from the wrong partition change nothing."""

import random
from collections import Counter
from typing import Any, Final

import asyncpg
import orjson
import pytest

from contracts import topics
from contracts.envelope import decode, encode, registry, seal
from contracts.events import OrderCreated
from kit.clock import SystemClock
from kit.ids import new_id
from stack.shoppers import BAD_TOKENS
from tests import messages
from tests.messages import Stored
from tests.rig import Bought, Rig, clean_audit, good_payment

ORDERS: Final = 500
ENDS: Final = frozenset({"delivered", "cancelled"})

_STATE: Final = {
    "orders": """
        SELECT id::text, status, cancel_reason, total_amount::text, allocations, sequence, outstanding
        FROM orders.orders WHERE id = ANY($1::uuid[])""",
    "transitions": """
        SELECT order_id::text, sequence, message_id, message_type, status, reason, outputs
        FROM orders.order_transitions WHERE order_id = ANY($1::uuid[])""",
    "parked": "SELECT order_id::text, message_id FROM orders.parked_messages WHERE order_id = ANY($1::uuid[])",
    "reservations": """
        SELECT order_id::text, status, product_id::text, warehouse_id::text, quantity
        FROM inventory.reservations LEFT JOIN inventory.reservation_lines USING (order_id)
        WHERE order_id = ANY($1::uuid[])""",
    "ledger": """
        SELECT order_id::text, product_id::text, warehouse_id::text, delta
        FROM inventory.stock_ledger WHERE order_id = ANY($1::uuid[])""",
    "payments": """
        SELECT order_id::text, payment_id::text, status, amount::text, reason, attempts, provider_reference
        FROM payments.payments WHERE order_id = ANY($1::uuid[])""",
    "calls": """
        SELECT order_id::text, action, idempotency_key, outcome
        FROM payments.payment_attempts WHERE order_id = ANY($1::uuid[])""",
    "parcels": """
        SELECT order_id::text, id::text, status, tracking_number, items
        FROM shipping.shipments WHERE order_id = ANY($1::uuid[])""",
    "notifications": """
        SELECT order_id::text, channel, template, cause_id
        FROM notifications.notifications WHERE order_id = ANY($1::uuid[])""",
}


def _payment(chance: random.Random) -> tuple[str, str]:
    drawn = chance.random()
    if drawn < 0.08:
        return "wallet", chance.choice(BAD_TOKENS["wallet"])
    if drawn < 0.12:
        return "card", "pm_card_chargeDeclinedInsufficientFunds"
    if drawn < 0.14:
        return "wallet", "tok_timeout"
    return good_payment(chance)


async def _state(database: asyncpg.Pool, order_ids: list[str]) -> dict[str, list[str]]:
    """Everything that the shop knows of the orders, without the times at which it was written."""
    state = {}
    for name, query in _STATE.items():
        rows = await database.fetch(query, order_ids)
        state[name] = sorted(orjson.dumps(list(row.values()), default=str).decode() for row in rows)
    return state


async def _outcomes(database: asyncpg.Pool, order_ids: list[str]) -> dict[str, tuple[Any, ...]]:
    """How orders ended, in what does not depend on where each unit came from."""
    rows = await database.fetch(
        """
        SELECT o.id::text, o.status, o.cancel_reason, r.status AS reservation, p.status AS payment, p.reason,
               f.state AS parcels,
               (SELECT array_agg(product_id || ':' || units ORDER BY product_id) FROM
                   (SELECT product_id, sum(quantity) AS units FROM inventory.reservation_lines l
                    WHERE l.order_id = o.id GROUP BY 1) u) AS units
        FROM orders.orders o LEFT JOIN inventory.reservations r ON r.order_id = o.id
        LEFT JOIN payments.payments p ON p.order_id = o.id LEFT JOIN shipping.fulfilments f ON f.order_id = o.id
        WHERE o.id = ANY($1::uuid[])
        """,
        order_ids,
    )
    return {row["id"]: tuple(orjson.dumps(value, default=str) for value in list(row.values())[1:]) for row in rows}


@pytest.mark.timeout(300)
async def test_a_run_delivered_twice_and_shuffled_ends_as_the_clean_one(rig: Rig) -> None:
    bootstrap, chance = rig.shop.settings.kafka_bootstrap, random.Random(4)
    before = await messages.ends(bootstrap)
    bought: list[Bought] = await rig.rush(ORDERS, payment=_payment)
    order_ids = [b.order.order_id for b in bought]
    clean = await rig.settled(order_ids, within=90, ends=ENDS)
    assert {"delivered", "cancelled: payment_failed"} == clean.keys()
    await clean_audit()
    state = await _state(rig.database, order_ids)
    run = await messages.between(bootstrap, before, await messages.ends(bootstrap), order_ids)
    counted = Counter(message.topic for message in run)
    assert counted[topics.ORDER_EVENTS] > ORDERS * 4
    assert counted[topics.PAYMENT_COMMANDS] >= ORDERS

    again = [*run, *run]
    chance.shuffle(again)
    await messages.deliver(bootstrap, again, chance)
    report = await clean_audit(wait=60)

    assert await _state(rig.database, order_ids) == state
    assert report.finding("messages.dead").count == 0

    fresh = {order_id: new_id() for order_id in order_ids}
    born = [_born_again(message, fresh) for message in run if message.topic == topics.ORDER_EVENTS]
    created = [message for message in born if message is not None]
    assert {message.key.decode() for message in created} == set(fresh.values())
    shuffled = [*created, *created]
    chance.shuffle(shuffled)
    async with messages.everything_again(bootstrap, fresh.values(), chance):
        await messages.deliver(bootstrap, shuffled, chance)
        await rig.settled(list(fresh.values()), within=90, ends=ENDS)
    await clean_audit(wait=60)

    wanted = await _outcomes(rig.database, order_ids)
    found = await _outcomes(rig.database, list(fresh.values()))
    assert {fresh[order_id]: outcome for order_id, outcome in wanted.items()} == found


def _born_again(message: Stored, fresh: dict[str, str]) -> Stored | None:
    """The same order once more, under a fresh id and key; None for what is no ``order.created``."""
    envelope = decode(message.value)
    payload = registry.decode(envelope)
    if not isinstance(payload, OrderCreated):
        return None
    order_id = fresh[payload.order_id]
    created = OrderCreated(
        order_id=order_id,
        user_id=payload.user_id,
        idempotency_key=f"again-{payload.idempotency_key}",
        request_hash=payload.request_hash,
        currency=payload.currency,
        total_amount=payload.total_amount,
        lines=payload.lines,
        shipping_address=payload.shipping_address,
        payment_method=payload.payment_method,
        queue_position=0,
        created_at=SystemClock().now(),
    )
    sealed = seal(created, id=order_id, source=envelope.source, subject=order_id, time=created.created_at)
    return Stored(message.topic, order_id.encode(), encode(sealed))

"""The order generator on the running shop: its orders are like any others, and the books stay clean."""

import datetime as dt
import json
from pathlib import Path

import asyncpg
from redis.asyncio import Redis

from contracts import redis_keys
from kit.auth import Role
from stack.generate.patterns import Pattern
from stack.generate.run import Plan, View, generate
from tests.rig import clean_audit
from tests.shop import Shop, eventually


async def test_generated_orders_are_like_any_others(shop: Shop, tmp_path: Path) -> None:
    began = dt.datetime.now(dt.UTC)
    truth = tmp_path / "fraud.jsonl"
    plan = Plan(
        rate=40,
        pattern=Pattern.FLAT,
        seconds=3,
        start=began,
        speed=1,
        seed=7,
        declines=0.2,
        conversion=0.5,
        fraud=0.3,
        truth=truth,
    )
    views: list[View] = []

    outcome = await generate(plan, views.append)

    assert outcome.complete, outcome.document()
    assert outcome.tally.taken == outcome.tally.produced == outcome.offered > 0
    assert views[-1].lag is not None
    connection = await asyncpg.connect(shop.settings.database_url.get_secret_value().replace("+asyncpg", "", 1))
    redis = Redis.from_url(shop.settings.redis_url.get_secret_value(), decode_responses=True)
    try:
        orders = await connection.fetch(
            """
            SELECT o.id::text, o.user_id::text, o.client_ip
            FROM orders.orders AS o JOIN accounts.users AS u ON u.id = o.user_id
            WHERE o.created_at >= $1 AND u.role = 'customer'
            """,
            began,
        )
        remembered = [order["id"] for order in orders if await redis.exists(redis_keys.accepted_order(order["id"]))]
    finally:
        await connection.close()
        await redis.aclose()
    assert len(orders) >= outcome.tally.produced
    assert len(remembered) == len(orders)

    assert outcome.visits.visits > outcome.offered
    assert outcome.visits.events > 0 == outcome.visits.events_lost
    frauds = [json.loads(line) for line in truth.read_text().splitlines()]
    assert 0 < len(frauds) == outcome.fraudulent < outcome.offered
    by_id = {order["id"]: order for order in orders}
    assert all(by_id[fraud["order_id"]]["user_id"] == fraud["user_id"] for fraud in frauds)
    assert all(by_id[fraud["order_id"]]["client_ip"] for fraud in frauds)

    order = orders[0]
    buyer = shop.issue(Role.CUSTOMER, order["user_id"])
    shown = await buyer.order(order["id"])
    assert shown["items"]
    assert shown["shipping_address"]["city"]

    async def listed() -> None:
        mine = (await buyer.get("/api/orders/my-orders")).json()
        assert order["id"] in {row["order_id"] for row in mine["items"]}

    await eventually(listed)
    await clean_audit(rest=False)

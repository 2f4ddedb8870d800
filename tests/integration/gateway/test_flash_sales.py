"""Flash sales at the checkout: the price, who is let through, and into which partition."""

import asyncio
import datetime as dt
from dataclasses import replace

from sqlalchemy import text

from contracts import redis_keys
from kit.db import Database
from kit.ids import new_id
from kit.resources import Resources
from oltp.gateway.order_log import partition_of
from oltp.gateway.sale_keeper import SaleKeeper
from oltp.sales.gate import Claim, SaleGate, Standing
from tests.integration.gateway.conftest import BODY, Gateway, OrderEvents, Serve, written_by_the_saga


class StillLog:
    """An order log in which the saga has nothing before it."""

    def lag(self) -> int:
        return 0


async def test_the_sales_price_holds_in_its_window(gateway: Gateway, order_events: OrderEvents) -> None:
    product_id, other = gateway.shelf.put(unit_price=1250), gateway.shelf.put(unit_price=300)
    sale = gateway.shelf.sales.put(product_id, unit_price=500)
    shopper = gateway.shopper()
    await shopper.put_in_cart({product_id: 1, other: 2})
    answer = await shopper.checkout()
    assert answer.status_code == 202, answer.text
    assert answer.json()["total_amount"] == 500 + 2 * 300
    [(envelope, created, partition, _)] = await order_events.created(shopper.user_id)
    assert created.sale == sale.terms
    assert envelope.partitionkey == product_id
    assert partition == partition_of(product_id, 6)

    gateway.shelf.sales.put(product_id, ends_at=dt.datetime.now(dt.UTC))
    await shopper.put_in_cart({product_id: 1})
    answer = await shopper.checkout()
    assert answer.json()["total_amount"] == 1250
    _, (envelope, created, partition, _) = sorted(
        await order_events.created(shopper.user_id), key=lambda found: found[1].created_at
    )
    assert created.sale is None
    assert (envelope.partitionkey, partition) == ("", partition_of(created.order_id, 6))


async def test_a_normal_price_that_fell_below_the_sales_is_what_is_paid(gateway: Gateway) -> None:
    product_id = gateway.shelf.put(unit_price=400)
    gateway.shelf.sales.put(product_id, unit_price=500)
    shopper = gateway.shopper()
    await shopper.put_in_cart({product_id: 1})
    assert (await shopper.checkout()).json()["total_amount"] == 400


async def test_as_many_are_let_through_as_can_buy_or_wait(gateway: Gateway, order_events: OrderEvents) -> None:
    product_id = gateway.shelf.put()
    sale = gateway.shelf.sales.put(product_id, units=5, waiting_places=3)
    shoppers = [gateway.shopper() for _ in range(30)]
    for shopper in shoppers:
        await shopper.put_in_cart({product_id: 1})
    answers = await asyncio.gather(*(shopper.checkout() for shopper in shoppers))
    accepted = [answer for answer in answers if answer.status_code == 202]
    refused = [answer for answer in answers if answer.status_code != 202]
    assert len(accepted) == 8
    assert {(answer.status_code, answer.json()["type"]) for answer in refused} == {(409, "sold-out")}
    assert refused[0].json()["sale_id"] == sale.sale_id
    last_three = sorted(answer.json()["queue_position"] for answer in accepted)[-3:]
    assert all(told >= ahead for told, ahead in zip(last_three, [1, 2, 3], strict=True))
    logged = [await order_events.created(shopper.user_id) for shopper in shoppers]
    assert sum(map(len, logged)) == 8


async def test_a_customer_gets_no_more_than_the_sale_allows(gateway: Gateway) -> None:
    product_id = gateway.shelf.put()
    gateway.shelf.sales.put(product_id, units=10, units_per_customer=2)
    shopper = gateway.shopper()
    await shopper.put_in_cart({product_id: 3})
    answer = await shopper.checkout()
    assert (answer.status_code, answer.json()["type"], answer.json()["requested"]) == (409, "over-sale-limit", 3)
    await shopper.put_in_cart({product_id: 2})
    assert (await shopper.checkout("first")).status_code == 202
    await shopper.put_in_cart({product_id: 1})
    answer = await shopper.checkout("second")
    assert (answer.status_code, answer.json()["type"], answer.json()["bought"]) == (409, "already-bought", 2)
    assert (await shopper.checkout("first")).status_code == 202


async def test_who_is_turned_away_is_whatever_the_request_says(gateway: Gateway) -> None:
    product_id = gateway.shelf.put()
    sale = gateway.shelf.sales.put(product_id, units=1, waiting_places=0)
    winner, late, nonsense = gateway.shopper(), gateway.shopper(), {"payment_method": None}
    for shopper in (winner, late):
        await shopper.put_in_cart({product_id: 1})
    answer = await winner.checkout("first", nonsense)
    assert (answer.status_code, answer.json()["type"]) == (422, "validation-error")
    first = await winner.checkout("first")
    assert first.status_code == 202
    for body in (BODY, nonsense):
        answer = await late.checkout(body=body)
        assert (answer.status_code, answer.json()["type"]) == (409, "sold-out")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["sale_id"] == sale.sale_id
    assert dt.datetime.fromisoformat(answer.json()["ends_at"]) == sale.ends_at
    assert (await winner.checkout("first")).content == first.content
    other = await winner.checkout("first", {**BODY, "payment_method": {"type": "card", "token": "another"}})
    assert other.json()["type"] == "idempotency-key-reused"


async def test_who_ends_without_a_unit_makes_room_until_all_are_paid(gateway: Gateway) -> None:
    product_id = gateway.shelf.put()
    sale = gateway.shelf.sales.put(product_id, units=1, waiting_places=1)
    gate = SaleGate(gateway.redis)

    async def try_to_buy() -> tuple[int, str]:
        shopper = gateway.shopper()
        await shopper.put_in_cart({product_id: 1})
        answer = await shopper.checkout()
        return answer.status_code, answer.json().get("order_id") or answer.json()["type"]

    (_, first), (_, second), third = [await try_to_buy() for _ in range(3)]
    assert third == (409, "sold-out")
    await gate.settle([(sale.sale_id, first, Standing.GONE)])
    status, fourth = await try_to_buy()
    assert status == 202
    await gate.settle([(sale.sale_id, second, Standing.SOLD), (sale.sale_id, fourth, Standing.GONE)])
    assert await try_to_buy() == (409, "sold-out")
    assert await gateway.redis.hgetall(redis_keys.sale(sale.sale_id)) == {"claimed": "1", "sold": "1"}


async def test_a_sale_does_not_ask_the_stock_that_its_own_orders_hold(gateway: Gateway) -> None:
    product_id, other = gateway.shelf.put(), gateway.shelf.put()
    gateway.shelf.sales.put(product_id, units=1, waiting_places=1)
    await gateway.redis.mset({redis_keys.stock(product_id): 0, redis_keys.stock(other): 0})
    shopper = gateway.shopper()
    await shopper.put_in_cart({product_id: 1})
    assert (await shopper.checkout()).status_code == 202
    mixed = gateway.shopper()
    await mixed.put_in_cart({product_id: 1, other: 1})
    answer = await mixed.checkout()
    assert answer.json()["type"] == "out-of-stock"
    assert [product["product_id"] for product in answer.json()["products"]] == [other]


async def test_an_order_takes_one_product_that_is_in_a_sale(gateway: Gateway) -> None:
    products = sorted(gateway.shelf.put() for _ in range(2))
    for product_id in products:
        gateway.shelf.sales.put(product_id)
    shopper = gateway.shopper()
    await shopper.put_in_cart(dict.fromkeys(products, 1))
    answer = await shopper.checkout()
    assert (answer.status_code, answer.json()["type"]) == (409, "one-sale-at-a-time")
    assert answer.json()["product_ids"] == products


async def test_the_keeper_sets_the_gate_right(
    serve: Serve, order_events: OrderEvents, database: Database, resources: Resources
) -> None:
    async with serve(sale_keeper_seconds=3600) as gateway:
        product_id = gateway.shelf.put()
        sale = gateway.shelf.sales.put(product_id, units=5, waiting_places=5)
        shoppers = [gateway.shopper() for _ in range(4)]
        ids = []
        for shopper in shoppers:
            await shopper.put_in_cart({product_id: 1})
            ids.append((await shopper.checkout()).json()["order_id"])
        await written_by_the_saga(
            database, *[(await order_events.created(shopper.user_id))[0] for shopper in shoppers[:3]]
        )
        gate, redis = SaleGate(gateway.redis), gateway.redis
        keeper = SaleKeeper(replace(resources, redis=redis), gateway.shelf.sales, StillLog())
        async with database.write() as session:
            await session.execute(
                text("UPDATE orders.orders SET status = 'cancelled', cancel_reason = 'sold_out' WHERE id = :id"),
                {"id": ids[0]},
            )
            await session.execute(text("UPDATE orders.orders SET status = 'confirmed' WHERE id = :id"), {"id": ids[1]})
        await gate.settle([(sale.sale_id, ids[2], Standing.GONE)])
        abandoned = Claim(new_id(), new_id(), 1, Standing.CLAIMED, dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2))
        await gate.restore(sale.sale_id, sale.ends_at, [abandoned])

        before = await redis.hgetall(redis_keys.sale(sale.sale_id))
        await keeper.round()
        assert await redis.hgetall(redis_keys.sale(sale.sale_id)) == before, "what one round sees may be on its way"
        await keeper.round()
        standing = {order_id: claim.standing for order_id, claim in (await gate.claims(sale.sale_id)).items()}
        assert standing == {ids[1]: Standing.SOLD, ids[2]: Standing.CLAIMED, ids[3]: Standing.CLAIMED}
        assert await redis.hgetall(redis_keys.sale(sale.sale_id)) == {"claimed": "3", "sold": "1"}

        await redis.flushdb()
        await keeper.rebuild()
        standing = {order_id: claim.standing for order_id, claim in (await gate.claims(sale.sale_id)).items()}
        assert standing == {ids[1]: Standing.SOLD, ids[2]: Standing.CLAIMED}
        customers = {shoppers[1].user_id: "1", shoppers[2].user_id: "1"}
        assert await redis.hgetall(redis_keys.sale_customers(sale.sale_id)) == customers

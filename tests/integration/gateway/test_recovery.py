"""A Redis that forgot everything learns the idempotency keys again before it admits anybody."""

import asyncio

from redis.asyncio import Redis

from kit.db import Database
from oltp.gateway.admission import EPOCH, record_key
from tests.integration.gateway.conftest import OrderEvents, Serve, written_by_the_saga

QUICK = {"checkout_produce_seconds": 0.3, "checkout_recovery_wait_seconds": 0.5, "checkout_doubt_seconds": 0.0}
DOUBTFUL = {**QUICK, "checkout_doubt_seconds": 30.0, "checkout_recovery_wait_seconds": 5.0}


async def _forgets(redis: Redis) -> None:
    await redis.flushdb()


async def test_the_same_answer_after_redis_forgot(serve: Serve, order_events: OrderEvents, database: Database) -> None:
    async with serve(**QUICK) as gateway:
        shoppers = [gateway.shopper() for _ in range(3)]
        products = [gateway.shelf.put(unit_price=price) for price in (1, 1999, 250_050)]
        first = []
        for shopper in shoppers:
            await shopper.put_in_cart(dict.fromkeys(products, 3))
            first.append(await shopper.checkout("lasting"))
        assert {answer.status_code for answer in first} == {202}

        await _forgets(gateway.redis)
        await order_events.commit(behind=1)
        for shopper in shoppers:
            await shopper.put_in_cart({products[0]: 1})
        waiting = await shoppers[0].checkout("lasting")
        assert waiting.status_code == 503
        assert waiting.json()["type"] == "unavailable"
        assert waiting.headers["retry-after"] == "1"

        for shopper in shoppers:
            await written_by_the_saga(database, *await order_events.created(shopper.user_id))
        await order_events.commit()
        again = []
        for shopper in shoppers:
            answer = await shopper.checkout("lasting")
            while answer.status_code == 503:
                answer = await shopper.checkout("lasting")
            again.append(answer)

        assert [answer.content for answer in again] == [answer.content for answer in first]
        assert [a.headers["location"] for a in again] == [a.headers["location"] for a in first]
        for shopper in shoppers:
            assert len(await order_events.created(shopper.user_id)) == 1
            assert await shopper.cart() == {products[0]: "1"}
            lasts = await gateway.redis.ttl(record_key(shopper.user_id, "lasting"))
            assert 23 * 3600 < lasts <= 24 * 3600
        other = {"shipping_address": first[0].json(), "payment_method": {}}
        assert (await shoppers[0].checkout("lasting", other)).status_code == 422
        assert (await shoppers[0].checkout("fresh")).status_code == 202


async def test_checkouts_wait_for_the_recovery(serve: Serve, order_events: OrderEvents) -> None:
    await order_events.commit()
    settings = {**QUICK, "checkout_recovery_wait_seconds": 5.0}
    async with serve(remembering=False, **settings) as one, serve(remembering=False, **settings) as two:
        answers = []
        for gateway in (one, two):
            shopper = gateway.shopper()
            await shopper.put_in_cart({gateway.shelf.put(): 1})
            answers.append(asyncio.create_task(shopper.checkout()))
        assert [(await answer).status_code for answer in answers] == [202, 202]
        assert await one.redis.exists(EPOCH)
        assert not await one.redis.exists("idempotency:recovering")


async def test_forgetting_between_look_and_claim_admits_nobody(serve: Serve, order_events: OrderEvents) -> None:
    async with serve(**QUICK) as gateway:
        shopper = gateway.shopper()
        product = gateway.shelf.put()
        await shopper.put_in_cart({product: 1})
        original = gateway.shelf.get_many

        async def forgetting(product_ids: object) -> object:
            gateway.shelf.get_many = original  # type: ignore[method-assign]
            await _forgets(gateway.redis)
            await shopper.put_in_cart({product: 1})
            return await original(product_ids)  # type: ignore[arg-type]

        gateway.shelf.get_many = forgetting  # type: ignore[method-assign,assignment]
        assert (await shopper.checkout("gap")).status_code == 503
        assert await order_events.created(shopper.user_id) == []
        await order_events.commit()
        answer = await shopper.checkout("gap")
        while answer.status_code == 503:
            answer = await shopper.checkout("gap")
        assert answer.status_code == 202
        assert len(await order_events.created(shopper.user_id)) == 1


async def test_a_second_loss_during_the_recovery_starts_it_again(
    serve: Serve, order_events: OrderEvents, database: Database
) -> None:
    async with serve(checkout_produce_seconds=1.0, checkout_recovery_wait_seconds=5.0) as gateway:
        shopper = gateway.shopper()
        product = gateway.shelf.put()
        await shopper.put_in_cart({product: 1})
        first = await shopper.checkout("twice")
        await written_by_the_saga(database, *await order_events.created(shopper.user_id))
        await order_events.commit()
        await _forgets(gateway.redis)
        again = asyncio.create_task(shopper.checkout("twice"))
        await asyncio.sleep(0.5)
        await _forgets(gateway.redis)
        assert (await again).content == first.content


async def test_an_order_that_arrives_after_the_recovery_is_the_one_that_a_retry_gets(
    serve: Serve, order_events: OrderEvents, database: Database
) -> None:
    """Redis was wiped while a gateway stood still, or died, between produce and answer."""
    async with serve(**DOUBTFUL) as gateway:
        shopper = gateway.shopper()
        product = gateway.shelf.put()
        await shopper.put_in_cart({product: 2})
        first = await shopper.checkout("held-up")
        late = await order_events.created(shopper.user_id)
        await _forgets(gateway.redis)
        await order_events.commit()
        await shopper.put_in_cart({product: 2})

        retry = asyncio.create_task(shopper.checkout("held-up"))
        while len(await order_events.created(shopper.user_id)) < 2:
            assert not retry.done(), (await retry).text
            await asyncio.sleep(0.02)
        await written_by_the_saga(database, *late)

        answer = await retry
        assert (answer.status_code, answer.content) == (202, first.content)
        assert (await shopper.checkout("held-up")).content == first.content
        assert await shopper.cart() == {}


async def test_in_doubt_an_answer_waits_until_the_saga_has_the_order(
    serve: Serve, order_events: OrderEvents, database: Database
) -> None:
    async with serve(**DOUBTFUL, checkout_wait_seconds=0.3) as gateway:
        shopper = gateway.shopper()
        await shopper.put_in_cart({gateway.shelf.put(): 1})
        await shopper.checkout("before")
        await written_by_the_saga(database, *await order_events.created(shopper.user_id))
        await _forgets(gateway.redis)
        await order_events.commit()
        await shopper.put_in_cart({gateway.shelf.put(): 1})

        refused = await shopper.checkout("in-doubt")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        new = {
            payload.idempotency_key: (e, payload, p, o)
            for e, payload, p, o in await order_events.created(shopper.user_id)
        }["in-doubt"]
        await written_by_the_saga(database, new)
        accepted = await shopper.checkout("in-doubt")

        assert accepted.status_code == 202
        assert accepted.json()["order_id"] == new[1].order_id
        assert await shopper.cart() == {}

"""An idempotency key outlives Redis."""

import asyncio
import uuid

from redis.asyncio import Redis

from tests.rig import Rig, clean_audit
from tests.shop import Account

CUSTOMERS = 50


async def test_a_key_gets_the_same_order_after_redis_forgot_everything(rig: Rig) -> None:
    shop = rig.shop
    keys = {str(uuid.uuid4()): shop.issue() for _ in range(CUSTOMERS)}
    product_id = rig.shelf[0].product_id

    async def place(key: str, customer: Account) -> bytes:
        await customer.fill_cart({product_id: 1})
        answer = await customer.checkout(key)
        assert answer.status_code == 202, answer.text
        return answer.content

    first = await asyncio.gather(*(place(key, customer) for key, customer in keys.items()))

    redis = Redis.from_url(shop.settings.redis_url.get_secret_value())
    await redis.flushall()
    await redis.aclose()

    async def again(key: str, customer: Account) -> bytes:
        for _ in range(40):
            answer = await customer.checkout(key)
            if answer.status_code == 202:
                return answer.content
            assert answer.status_code in (409, 503), answer.text
            await asyncio.sleep(0.5)
        raise AssertionError(answer.text)

    second = await asyncio.gather(*(again(key, customer) for key, customer in keys.items()))
    assert second == first
    report = await clean_audit()
    assert report.finding("orders.keys").count == 0

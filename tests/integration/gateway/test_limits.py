"""The checkout's limits: the customer's window to the millisecond, an address, all together, and the saga's lag."""

import asyncio
import datetime as dt
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from redis.asyncio import Redis

from contracts.events import OrderCreated
from contracts.orders import Address, OrderLine, PaymentMethod, PaymentMethodType
from kit.ids import new_id
from kit.shared_redis import Script, SharedRedis
from oltp.gateway import admission
from oltp.gateway.admission import EPOCH, Admission, Claimed, Limited, running_key
from tests.integration.gateway.conftest import OrderEvents, Serve

NOW = "test:now"
WINDOW_MS = 60_000


def _order(user_id: str) -> OrderCreated:
    line = OrderLine(product_id="tea", sku="S", name="Tea", category="tea", quantity=1, unit_price=1)
    return OrderCreated(
        order_id=new_id(),
        user_id=user_id,
        idempotency_key=new_id(),
        request_hash="",
        currency="USD",
        total_amount=1,
        lines=[line],
        shipping_address=Address(name="A", line1="1", city="C", postal_code="1", country="NO"),
        payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="t"),
        queue_position=0,
        created_at=dt.datetime.now(dt.UTC),
    )


@pytest.fixture
async def attempt(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[int], Awaitable[object]]]:
    """One customer's checkout at a given millisecond; the script's clock is a key of Redis."""
    told = f"local now = tonumber(redis.call('GET', '{NOW}'))\n"
    assert admission._NOW in admission._CLAIM.text
    monkeypatch.setattr(admission, "_CLAIM", Script(admission._CLAIM.text.replace(admission._NOW, told)))
    redis: Redis = serve.redis
    shared = SharedRedis(serve.settings)
    claims = Admission(shared, serve.settings)
    await redis.set(EPOCH, "test")
    await redis.hset("cart:ada", mapping={"tea": 1})

    async def at(milliseconds: int) -> object:
        await redis.set(NOW, milliseconds)
        await redis.delete(running_key("ada"))
        return await claims.claim(_order("ada"))

    yield at
    shared.close()


async def test_the_customers_window_is_exact_at_its_edge(attempt: Callable[[int], Awaitable[object]]) -> None:
    start = 1_700_000_000_000
    for moment in (0, 10, 20):
        assert isinstance(await attempt(start + moment), Claimed)
    refused = await attempt(start + WINDOW_MS - 1)
    assert isinstance(refused, Limited)
    assert (refused.rate.remaining, refused.rate.reset_seconds) == (0, 1)
    assert isinstance(await attempt(start + WINDOW_MS), Claimed)
    assert isinstance(await attempt(start + WINDOW_MS + 9), Limited)
    assert isinstance(await attempt(start + WINDOW_MS + 10), Claimed)


async def test_no_window_of_a_minute_ever_holds_more_than_three(attempt: Callable[[int], Awaitable[object]]) -> None:
    rng, now, admitted = random.Random(4), 1_700_000_000_000, list[int]()
    for _ in range(300):
        now += rng.choice([1, 500, 7_000, 19_999, 20_000, 20_001, 59_999, 60_000])
        free = sum(moment > now - WINDOW_MS for moment in admitted) < 3
        verdict = await attempt(now)
        assert isinstance(verdict, Claimed) is free
        if free:
            admitted.append(now)


async def _early_in_a_minute() -> None:
    if time.time() % 60 > 50:
        await asyncio.sleep(61 - time.time() % 60)


@pytest.mark.parametrize(
    ("changed", "policy"),
    [
        ({"checkout_address_limit_per_minute": 2, "limit_loopback": True}, "checkout-address"),
        ({"checkout_limit_of_all_per_minute": 2}, "checkout-all"),
    ],
)
async def test_checkouts_are_limited_by_address_and_altogether(
    serve: Serve, changed: dict[str, int], policy: str
) -> None:
    await _early_in_a_minute()
    async with serve(**changed) as gateway:
        product = gateway.shelf.put()
        for left in (1, 0):
            shopper = gateway.shopper()
            await shopper.put_in_cart({product: 1})
            answer = await shopper.checkout()
            assert answer.status_code == 202
            assert f'"{policy}";q=2;w=60' in answer.headers["ratelimit-policy"]
            assert f'"{policy}";r={left};' in answer.headers["ratelimit"]
        shopper = gateway.shopper()
        await shopper.put_in_cart({product: 1})
        refused = await shopper.checkout()
        assert (refused.status_code, refused.json()["type"]) == (429, "rate-limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert f'"{policy}";r=0;' in refused.headers["ratelimit"]
        assert await shopper.cart() == {product: "1"}
        assert (await gateway.http.get("/api/warehouses", headers=shopper.headers)).status_code == 200


async def test_a_saga_too_far_behind_turns_checkouts_away_and_answers_repeats(
    serve: Serve, order_events: OrderEvents
) -> None:
    async with serve(checkout_most_waiting=1, checkout_limit_per_minute=0) as gateway:
        shopper, product = gateway.shopper(), gateway.shelf.put()
        keys = itertools.count()

        async def buys_until(status: int, same: str | None = None) -> tuple[str, httpx.Response]:
            """The first answer with a status, and its key: the log is looked at five times a second."""
            for number in keys:
                key = same or str(number)
                await shopper.put_in_cart({product: 1})
                answer = await shopper.checkout(key)
                if answer.status_code == status:
                    return key, answer
                assert answer.status_code in (202, 503), answer.text
                await asyncio.sleep(0.1)
            raise AssertionError

        await order_events.commit()
        first, accepted = await buys_until(202)
        await order_events.commit(behind=1)
        late, refused = await buys_until(503)
        assert refused.json()["type"] == "overloaded"
        assert refused.headers["retry-after"] == "5"
        assert (await shopper.checkout(first)).content == accepted.content
        await order_events.commit()
        assert (await buys_until(202, late))[0] == late, "the key that was refused is still good"

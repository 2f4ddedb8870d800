"""What surrounds the routes: limits, documentation, readiness, the order log."""

import asyncio
import time

import pytest
from pydantic import SecretStr
from redis.exceptions import ConnectionError as RedisConnectionError

from kit.auth import Role
from kit.kafka import Placement
from kit.settings import Settings
from kit.shared_redis import SharedRedis
from oltp.gateway.limits import Windows
from oltp.gateway.order_log import OrderLog, partition_of
from tests.integration.gateway.conftest import BODY, OrderEvents, Serve


async def test_signed_in_users_are_limited_by_user(serve: Serve) -> None:
    async with serve(user_requests_per_minute=3) as gateway:
        shopper = gateway.shopper()
        for left in (2, 1, 0):
            answer = await gateway.http.get("/api/nothing", headers=shopper.headers)
            assert answer.status_code == 404
            assert answer.headers["ratelimit-policy"] == '"user";q=3;w=60'
            assert answer.headers["ratelimit"].startswith(f'"user";r={left};t=')
        refused = await gateway.http.get("/api/nothing", headers=shopper.headers)
        assert refused.status_code == 429
        assert refused.json()["type"] == "rate-limited"
        assert refused.headers["content-type"] == "application/problem+json"
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-request-id"]
        other = gateway.shopper()
        assert (await gateway.http.get("/api/nothing", headers=other.headers)).status_code == 404
        assert (await gateway.http.get("/healthz")).status_code == 200


async def test_anonymous_callers_are_limited_by_address(serve: Serve) -> None:
    async with serve(address_requests_per_minute=2, limit_loopback=True) as gateway:
        forged = {"Authorization": "Bearer not.a.token"}
        for headers in ({}, forged):
            answer = await gateway.http.get("/api/nothing", headers=headers)
            assert answer.headers["ratelimit-policy"] == '"address";q=2;w=60'
            assert answer.status_code == 404
        assert (await gateway.http.get("/api/nothing", headers=forged)).status_code == 429


async def test_payment_providers_are_not_limited(serve: Serve) -> None:
    async with serve(address_requests_per_minute=1, limit_loopback=True) as gateway:
        for _ in range(3):
            answer = await gateway.http.post("/api/payments/webhooks/nobody", content=b"{}")
            assert answer.status_code == 404
            assert "ratelimit" not in answer.headers


async def test_this_machine_itself_is_not_limited(serve: Serve) -> None:
    async with serve(address_requests_per_minute=1) as gateway:
        for _ in range(3):
            answer = await gateway.http.get("/api/nothing")
            assert answer.status_code == 404
            assert "ratelimit" not in answer.headers


async def test_gateways_add_their_counts_up(serve: Serve) -> None:
    shared = SharedRedis(serve.settings)
    one, two = Windows(shared), Windows(shared)
    if time.time() % 60 > 58:
        await asyncio.sleep(2.5)
    assert [one.hit("user:x") for _ in range(5)][-1] == 5
    assert two.hit("user:x") == 1
    await one.exchange()
    await two.exchange()
    assert two.hit("user:x") == 7
    await one.exchange()
    assert one.hit("user:x") == 6
    await one.exchange()
    assert one.hit("user:x") == 8
    shared.close()


async def test_of_thousands_of_callers_each_has_a_count_that_ends(serve: Serve) -> None:
    shared = SharedRedis(serve.settings)
    windows = Windows(shared)
    if time.time() % 60 > 58:
        await asyncio.sleep(2.5)
    for number in range(1_201):
        windows.hit(f"user:{number}")
    await windows.exchange()
    await windows.exchange()
    keys = [key async for key in serve.redis.scan_iter("requests:*", count=1_000)]
    assert len(keys) == 1_201
    assert {await serve.redis.get(key) for key in keys[:20]} == {"1"}
    assert all([60 < await serve.redis.ttl(key) <= 120 for key in keys[:20]])
    shared.close()


async def test_counting_goes_on_without_redis(settings: Settings) -> None:
    away = settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    windows = Windows(SharedRedis(away))
    windows.hit("user:y")
    with pytest.raises(RedisConnectionError):
        await windows.exchange()
    assert windows.hit("user:y") == 2


async def test_the_documentation_needs_no_internet(serve: Serve) -> None:
    async with serve() as gateway:
        for page, script in (("/docs", "swagger-ui-bundle.js"), ("/redoc", "redoc.standalone.js")):
            html = await gateway.http.get(page)
            assert html.status_code == 200
            assert f"/docs/assets/{script}" in html.text
            assert "https://" not in html.text.replace("https://fastapi.tiangolo.com", "")
            assert (await gateway.http.get(f"/docs/assets/{script}")).status_code == 200
        document = (await gateway.http.get("/openapi.json")).json()
        assert document["openapi"].startswith("3.1")
        assert "/api/orders/checkout" in document["paths"]


async def test_unknown_query_parameters_are_refused(serve: Serve) -> None:
    async with serve() as gateway:
        shopper = gateway.shopper(role=Role.ADMIN)
        for method, path in (("GET", "/api/admin/shipments"), ("POST", "/api/orders/checkout")):
            headers = {**shopper.headers, "Idempotency-Key": "k"}
            answer = await gateway.http.request(method, f"{path}?limit=5&bogus=1", headers=headers, json=BODY)
            assert answer.status_code == 422, answer.text
            fields = {error["field"] for error in answer.json()["errors"]}
            assert fields == ({"query.bogus"} if method == "GET" else {"query.bogus", "query.limit"})


async def test_ready_needs_redis_and_kafka(serve: Serve) -> None:
    async with serve() as gateway:
        assert (await gateway.http.get("/readyz")).json() == {"status": "ok", "away": {}}
    async with serve(kafka_bootstrap="127.0.0.1:1") as gateway:
        answer = await gateway.http.get("/readyz")
        assert answer.status_code == 503
        assert set(answer.json()["away"]) == {"broker_answers"}


async def test_the_queue_is_the_log_behind_the_saga(serve: Serve, order_events: OrderEvents) -> None:
    order_log = OrderLog(serve.settings)
    assert order_log.position(0, 7) is None
    assert order_log.backlog("anything") == 0
    await order_events.commit()
    ends, committed = await order_log.refresh()
    while ends != committed:
        ends, committed = await order_log.refresh()
    order_id = next(str(n) for n in range(1000) if partition_of(str(n), 6) == 4)
    assert order_log.backlog(order_id) == 0
    order_log.produced(Placement(4, ends[4] + 9))
    assert order_log.backlog(order_id) == 10
    assert order_log.position(4, ends[4] + 9) == 9
    assert order_log.position(4, ends[4] - 1) == 0
    await order_log.close()


async def test_the_backlog_shows_in_the_answer(serve: Serve, order_events: OrderEvents) -> None:
    await order_events.commit(behind=1)
    async with serve(checkout_limit_per_minute=0) as gateway:
        shopper = gateway.shopper()
        product = gateway.shelf.put()
        positions = []
        for _ in range(12):
            await shopper.put_in_cart({product: 1})
            answer = await shopper.checkout()
            assert '"checkout";' not in answer.headers["ratelimit"]
            positions.append(answer.json()["queue_position"])
            await asyncio.sleep(0.05)
        assert max(positions) >= 2

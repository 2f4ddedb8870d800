"""Live metrics on real Kafka and Redis: redelivery, late events, two readers, a wipe."""

import datetime as dt
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
import redis as sync_redis
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from redis.asyncio import Redis
from starlette.types import Receive, Scope, Send

from contracts import topics
from contracts.envelope import Envelope, seal
from contracts.events import OrderCancelled, OrderConfirmed
from contracts.orders import OrderStatus
from contracts.storefront import StorefrontEvent, StorefrontKind
from contracts.storefront import encode as encode_visit
from kit import telemetry
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.bookmarks import OffsetsMoved
from kit.clock import SystemClock
from kit.ids import new_id
from kit.kafka import Outgoing, partition_of
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import running
from oltp.metrics.consumer import GROUP, LiveConsumer
from oltp.metrics.domain import RETENTION_SECONDS, Fact, Tidings, Window, counted
from oltp.metrics.endpoints import router
from oltp.metrics.errors import ErrorReport
from oltp.metrics.lag import LagWatch
from oltp.metrics.reader import LiveReader, read
from oltp.metrics.sampler import Sampler
from oltp.metrics.store import OFFSETS, LiveStore, window_key
from tests.shop import eventually

_REDIS_DATABASE = 13


def _url(settings: Settings) -> str:
    parts = urlsplit(settings.redis_url.get_secret_value())
    return urlunsplit(parts._replace(path=f"/{_REDIS_DATABASE}"))


@pytest.fixture
async def own_redis(settings: Settings) -> AsyncIterator[Redis]:
    """A Redis database that only these tests use, empty."""
    client = Redis.from_url(_url(settings), decode_responses=True)
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
def store(own_redis: Redis) -> LiveStore:
    return LiveStore(own_redis)


@pytest.fixture
def quiet_second() -> int:
    """A second some hours back that no other test's events lie in."""
    return int(time.time()) - random.randrange(3 * 3600, 20 * 3600)


def transition(kind: type, second: int, **fields: Any) -> Envelope:
    """An order's event of that second."""
    order_id = new_id()
    payload = kind(
        order_id=order_id,
        user_id=new_id(),
        sequence=3,
        previous_status=OrderStatus.PENDING,
        status=OrderStatus.CONFIRMED,
        total_amount=1000,
        currency="USD",
        occurred_at=dt.datetime.fromtimestamp(second + 0.5, dt.UTC),
        **fields,
    )
    return seal(payload, id=new_id(), source="test", subject=order_id, time=dt.datetime.now(dt.UTC))


def visit(kind: StorefrontKind, second: int) -> Outgoing:
    at = dt.datetime.fromtimestamp(second, dt.UTC)
    event = StorefrontEvent(event_id=new_id(), kind=kind, session_id=new_id(), occurred_at=at)
    return Outgoing(topics.STOREFRONT_EVENTS, event.session_id, encode_visit(event))


class Process:
    """A live-metrics process of the tests, of whose group Kafka knows nothing yet."""

    def __init__(self, resources: Resources, store: LiveStore) -> None:
        settings = resources.settings.model_copy(update={"process": "live-test"})
        self.consumer = LiveConsumer(settings, store=store, clock=SystemClock())
        self.consumer.read_in(f"{GROUP}-{new_id()}")


async def shown(redis: Redis, second: int) -> dict[str, dict[str, int]]:
    """The windows that a second lies in."""
    found = {}
    for window in Window:
        stored = await redis.hgetall(window_key(window, window.start(second)))
        found[window.label] = {name: int(value) for name, value in stored.items()}
    return found


def whole(**fields: int) -> dict[str, dict[str, int]]:
    return {window.label: fields for window in Window}


async def shows(redis: Redis, second: int, expected: dict[str, dict[str, int]], within: float = 90) -> None:
    async def check() -> None:
        assert await shown(redis, second) == expected

    await eventually(check, within=within)


async def test_late_and_repeated_events_and_a_wipe(
    resources: Resources, own_redis: Redis, store: LiveStore, quiet_second: int
) -> None:
    producer = resources.producer
    told: Sequence[Envelope] = [
        *(transition(OrderConfirmed, quiet_second) for _ in range(20)),
        transition(OrderCancelled, quiet_second, reason="payment_failed"),
    ]
    views = [visit(StorefrontKind.PRODUCT_VIEW, quiet_second) for _ in range(9)]
    once = {"confirmed": 20, "paid": 20_000, "cancelled": 1, "cancelled:payment_failed": 1, "views": 9}
    process = Process(resources, store)
    async with running([process.consumer]):
        await producer.send(told)
        await producer.send_encoded(views)
        await shows(own_redis, quiet_second, whole(**once))

        # the same messages again: their senders had not heard that they were stored
        await producer.send(told)
        await producer.send_encoded(views)
        more = transition(OrderConfirmed, quiet_second)
        await producer.send([more])
        expected = whole(**{**once, "confirmed": 21, "paid": 21_000})
        await shows(own_redis, quiet_second, expected)

        # Redis loses everything under a running consumer
        await own_redis.flushdb()
        await shows(own_redis, quiet_second, expected)
        live = await LiveReader(own_redis).read(Window.SECOND, 1, quiet_second)
        assert live.points[0].payment_success_rate == pytest.approx(21 / 22)
        assert live.progress.repeated >= 30
        assert live.progress.late >= 31
    ttl = await own_redis.ttl(window_key(Window.MINUTE, Window.MINUTE.start(quiet_second)))
    assert 0 < ttl <= RETENTION_SECONDS


async def test_a_new_process_goes_on_where_the_counts_are_whatever_kafka_says(
    resources: Resources, own_redis: Redis, store: LiveStore, quiet_second: int
) -> None:
    first = Process(resources, store)
    async with running([first.consumer]):
        await resources.producer.send([transition(OrderConfirmed, quiet_second) for _ in range(5)])
        await shows(own_redis, quiet_second, whole(confirmed=5, paid=5000))

    # as if it had been killed before it ever told Kafka where it was
    async with running([Process(resources, store).consumer]):
        await resources.producer.send([transition(OrderConfirmed, quiet_second)])
        await shows(own_redis, quiet_second, whole(confirmed=6, paid=6000))


async def test_any_order_repetition_and_cut_gives_the_same_windows(own_redis: Redis, store: LiveStore) -> None:
    now = int(time.time())
    for seed in range(12):
        chance = random.Random(seed)
        await own_redis.flushdb()
        names = ["orders", "confirmed", "cancelled:sold_out", "views", "errors:dead_letters"]
        facts = [
            Fact(os.urandom(8), now - chance.randrange(900), chance.choice(names), chance.randrange(10**9))
            for _ in range(300)
        ]
        told = facts + chance.sample(facts, 100)
        chance.shuffle(told)
        left: int | None = None
        start = 0
        while start < len(told):
            end = min(len(told), start + chance.randrange(1, 120))
            await store.apply(Tidings(facts=told[start:end]), {"t:0": (left, end)}, now)
            with pytest.raises(OffsetsMoved):  # the same batch again, from where it was left before
                await store.apply(Tidings(facts=told[start:end]), {"t:0": (left, end)}, now)
            start = left = end
        for window in Window:
            for begin, fields in counted(facts, window).items():
                stored = await own_redis.hgetall(window_key(window, begin))
                assert {name: int(value) for name, value in stored.items()} == fields
        assert await own_redis.hget(OFFSETS, "t:0") == str(len(told))


async def test_carts_and_checkouts_in_any_order(own_redis: Redis, store: LiveStore) -> None:
    now = int(time.time()) * 1000
    kind = StorefrontKind
    story = [
        (kind.CART_ADD, "bought", now - 9000, 1),
        (kind.CHECKOUT_START, "bought", now - 8000, None),
        (kind.ORDER_PLACED, "bought", now - 7000, None),
        (kind.CART_ADD, "waiting", now - 9000, 1),
        (kind.CHECKOUT_START, "waiting", now - 8000, None),
        (kind.CART_ADD, "again", now - 9000, 1),
        (kind.ORDER_PLACED, "again", now - 8000, None),
        (kind.CART_ADD, "again", now - 7000, 1),
        (kind.CART_ADD, "old", now - 3_600_000, 1),
        (kind.CART_ADD, "emptied", now - 9000, 1),
        (kind.CART_REMOVE, "emptied", now - 8000, 0),
    ]
    for seed in range(10):
        await own_redis.flushdb()
        told = [*story, *story[:4]]
        random.Random(seed).shuffle(told)
        left = None
        for end, (what, session, at, lines) in enumerate(told, 1):
            tidings = Tidings()
            tidings.visit(what, session, None, at, lines)
            await store.apply(tidings, {"t:0": (left, end)}, now // 1000)
            left = end
        assert await store.open_now(now) == (2, 1)


async def test_samples_and_errors_show_for_admins(
    resources: Resources, own_redis: Redis, store: LiveStore, settings: Settings
) -> None:
    clock = SystemClock()
    lag = LagWatch(settings)
    try:
        await Sampler(store, lag, clock).look()
    finally:
        await lag.close()
    report = ErrorReport(store, clock)
    telemetry.HTTP_FAILURES.inc(3)
    await report.tell()
    await report.tell()

    app = create_app(settings, title="Live", routers=[router])
    held = replace(resources, settings=settings, redis=own_redis, clock=clock)

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"resources": held}}, receive, send)

    def signed_in(role: Role) -> dict[str, str]:
        return {"Authorization": f"Bearer {issue_access_token(settings, Principal(new_id(), role), clock.now())}"}

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=with_state), base_url="http://t") as http:
        assert (await http.get("/api/admin/live", headers=signed_in(Role.CUSTOMER))).status_code == 403
        wrong = await http.get("/api/admin/live?points=100000", headers=signed_in(Role.ADMIN))
        assert wrong.status_code == 422
        answer = await http.get("/api/admin/live?window=1m&points=2", headers=signed_in(Role.ADMIN))
    assert answer.status_code == 200, answer.text
    document = answer.json()
    points = document["points"]
    assert (len(points), document["window"], document["currency"]) == (2, "1m", settings.currency)
    assert sum(point["errors"] for point in points) == 3
    assert sum(point["errors_by_kind"].get("http", 0) for point in points) == 3
    sampled = [point for point in points if point["active_carts"] is not None]
    assert sampled
    assert sampled[-1]["active_carts"] == 0
    assert document["progress"]["sampled_at"] is not None

    with sync_redis.Redis.from_url(_url(settings), decode_responses=True) as client:
        same = read(client, Window.MINUTE, 2, int(time.time()))
    assert sum(point.errors for point in same.points) == 3


async def test_lag_is_what_a_group_has_not_committed(resources: Resources) -> None:
    group = f"lag-{new_id()}"
    partition = TopicPartition(topics.STOREFRONT_EVENTS, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=resources.settings.kafka_bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([partition])
        session = next(s for s in (new_id() for _ in range(1000)) if partition_of(s, 6) == 0)
        events = [visit(StorefrontKind.SEARCH, int(time.time()))._replace(key=session) for _ in range(4)]
        [first, *_] = await resources.producer.send_encoded(events)
        await consumer.commit({partition: OffsetAndMetadata(first.offset + 1, "")})
        lag = LagWatch(resources.settings)
        try:
            assert (await lag.read())[group] == 3
        finally:
            await lag.close()
    finally:
        await consumer.stop()

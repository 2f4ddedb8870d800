"""A gateway of our own: real HTTP, Redis, Kafka and Postgres, with its own Redis database and a made-up shelf."""

import asyncio
import contextlib
import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
import uvicorn
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy.exc import IntegrityError

from contracts import redis_keys
from contracts.envelope import Envelope, decode, registry
from contracts.events import OrderCreated
from contracts.orders import Address
from contracts.products import ProductCard
from contracts.topics import ORDER_EVENTS
from kit import redis as kit_redis
from kit.app import Lifespan
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.db import Database
from kit.ids import new_id
from kit.resources import Resources
from kit.settings import Settings
from oltp.gateway.app import create
from oltp.gateway.settings import GatewaySettings
from sagas import store
from sagas.batch import Batch, Snapshot
from sagas.order import order_saga
from tests.sale_board import HandMadeBoard, NobodyWaits

REDIS_DATABASE: Final = 5
BODY: Final[dict[str, Any]] = {
    "shipping_address": {
        "name": "Ada Lovelace",
        "line1": "12 St James's Square",
        "city": "London",
        "postal_code": "SW1Y 4JH",
        "country": "GB",
    },
    "payment_method": {"type": "card", "token": "tok_visa"},
}


@dataclass
class Shelf:
    """A product directory whose products are put there by hand."""

    cards: dict[str, ProductCard] = field(default_factory=dict)
    sales: HandMadeBoard = field(default_factory=HandMadeBoard)

    def put(self, *, unit_price: int = 1250, active: bool = True, currency: str = "USD", name: str = "Tea") -> str:
        """A new product's id."""
        product_id = new_id()
        self.cards[product_id] = ProductCard(
            product_id=product_id,
            sku=f"SKU-{product_id[-6:]}",
            name=name,
            category="tea",
            unit_price=unit_price,
            currency=currency,
            active=active,
        )
        return product_id

    async def get_many(self, product_ids: Iterable[str]) -> dict[str, ProductCard]:
        """The cards of those that are there."""
        return {product_id: self.cards[product_id] for product_id in product_ids if product_id in self.cards}

    def lifespan(self) -> Lifespan:
        """Puts the shelf into the request state."""

        @asynccontextmanager
        async def opened(_: Resources) -> AsyncIterator[dict[str, Any]]:
            yield {"products": self, "sales": self.sales, "sale_books": NobodyWaits()}

        return opened


@dataclass
class Shopper:
    """A customer at the gateway."""

    http: httpx.AsyncClient
    redis: Redis
    user_id: str
    headers: dict[str, str]

    async def put_in_cart(self, quantities: dict[str, int]) -> None:
        """Fills the cart as the cart service does."""
        await self.redis.hset(redis_keys.cart(self.user_id), mapping=quantities)  # type: ignore[arg-type]

    async def cart(self) -> dict[str, str]:
        """What is in the cart."""
        return dict(await self.redis.hgetall(redis_keys.cart(self.user_id)))

    async def checkout(self, key: str | None = None, body: dict[str, Any] = BODY, **headers: str) -> httpx.Response:
        """Buys the cart."""
        own = {**self.headers, "Idempotency-Key": key or str(uuid.uuid4()), **headers}
        return await self.http.post("/api/orders/checkout", headers=own, json=body)


@dataclass
class Gateway:
    """A gateway that serves."""

    settings: GatewaySettings
    http: httpx.AsyncClient
    redis: Redis
    shelf: Shelf

    def shopper(self, user_id: str | None = None, role: Role = Role.CUSTOMER) -> Shopper:
        """Somebody with a valid token."""
        user_id = user_id or new_id()
        token = issue_access_token(self.settings, Principal(user_id, role), SystemClock().now())
        return Shopper(self.http, self.redis, user_id, {"Authorization": f"Bearer {token}"})


@dataclass
class Book:
    """An address directory whose addresses are put there by hand."""

    addresses: dict[tuple[str, str], Address] = field(default_factory=dict)

    async def get(self, user_id: str, address_id: str) -> Address | None:
        """The customer's address, if it is there."""
        return self.addresses.get((user_id, address_id))

    def lifespan(self) -> Lifespan:
        """Puts the book into the request state."""

        @asynccontextmanager
        async def opened(_: Resources) -> AsyncIterator[dict[str, Any]]:
            yield {"addresses": self}

        return opened


class Serve:
    """Starts gateways that share a shelf, a Redis database and a saga group."""

    def __init__(self, settings: GatewaySettings, shelf: Shelf, redis: Redis) -> None:
        self.settings = settings
        self.shelf = shelf
        self.book = Book()
        self.redis = redis

    @asynccontextmanager
    async def __call__(self, *, remembering: bool = True, **changed: Any) -> AsyncIterator[Gateway]:
        """A gateway with changed settings; ``remembering``: Redis vouches for its idempotency records already."""
        settings = self.settings.model_copy(update=changed)
        if remembering:
            await self.redis.set("idempotency:epoch", "test")
        app = create(settings, lifespans=[self.shelf.lifespan(), self.book.lifespan()])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", access_log=False, lifespan="on")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        try:
            while not server.started:
                assert not task.done(), "the gateway did not start"
                await asyncio.sleep(0.01)
            port = server.servers[0].sockets[0].getsockname()[1]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                yield Gateway(settings, http, self.redis, self.shelf)
        finally:
            server.should_exit = True
            await task


@pytest.fixture(scope="session")
async def gate_redis(settings: Settings) -> AsyncIterator[Redis]:
    """A Redis database that only these tests use."""
    client = kit_redis.connect(_settings(settings))
    yield client
    await client.aclose()


def _settings(settings: Settings) -> GatewaySettings:
    url = urlsplit(settings.redis_url.get_secret_value())
    return GatewaySettings(
        **{
            **settings.model_dump(),
            "process": "gateway-test",
            "redis_url": SecretStr(urlunsplit(url._replace(path=f"/{REDIS_DATABASE}"))),
            "saga_group": f"order-saga-{uuid.uuid4()}",
        }
    )


@pytest.fixture
async def serve(settings: Settings, gate_redis: Redis) -> Serve:
    """Starts gateways, on an empty Redis database."""
    await gate_redis.flushdb()
    return Serve(_settings(settings), Shelf(), gate_redis)


@pytest.fixture
async def gateway(serve: Serve) -> AsyncIterator[Gateway]:
    """A gateway with the default settings."""
    async with serve() as started:
        yield started


class OrderEvents:
    """Reads the order log, and plays the saga's part as far as its offsets go."""

    def __init__(self, settings: GatewaySettings, consumer: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._settings = settings
        self._consumer = consumer
        self._partitions = partitions
        self._following: asyncio.Task[None] | None = None

    async def created(self, user_id: str) -> list[tuple[Envelope, OrderCreated, int, int]]:
        """Every ``order.created`` of a customer since the test began, with partition and offset."""
        found = []
        ends = await self._consumer.end_offsets(self._partitions)
        for partition in self._partitions:
            self._consumer.seek(partition, self._starts[partition])
        while any([await self._consumer.position(p) < ends[p] for p in self._partitions]):
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                for record in records:
                    envelope = decode(record.value)
                    if envelope.type == "order.created" and json.loads(record.value)["data"]["user_id"] == user_id:
                        payload = registry.decode(envelope)
                        assert isinstance(payload, OrderCreated)
                        found.append((envelope, payload, record.partition, record.offset))
        return found

    async def begin(self) -> None:
        """Remembers where the log ends now."""
        self._starts = await self._consumer.end_offsets(self._partitions)

    async def commit(self, behind: int = 0) -> None:
        """Commits for the saga's group from now on: everything, or all but the last ``behind`` messages of now."""
        await self.stop()
        limits = await self._consumer.end_offsets(self._partitions) if behind else None
        saga = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            group_id=self._settings.saga_group,
            enable_auto_commit=False,
        )
        await saga.start()
        saga.assign(self._partitions)

        async def follow() -> None:
            try:
                while True:
                    ends = limits or await saga.end_offsets(self._partitions)
                    done = {p: OffsetAndMetadata(max(0, ends[p] - behind), "") for p in self._partitions}
                    await saga.commit(done)
                    committed.set()
                    await asyncio.sleep(0.1)
            finally:
                await saga.stop()

        committed = asyncio.Event()
        self._following = asyncio.create_task(follow())
        await committed.wait()

    async def stop(self) -> None:
        """Commits no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
            self._following = None


@pytest.fixture
async def order_events(serve: Serve) -> AsyncIterator[OrderEvents]:
    """The order log from the beginning of the test on."""
    # a broker that is asked at the end of the log answers after so long, and only then can be asked from the start
    consumer = AIOKafkaConsumer(
        bootstrap_servers=serve.settings.kafka_bootstrap, enable_auto_commit=False, fetch_max_wait_ms=20
    )
    await consumer.start()
    try:
        partitions = [TopicPartition(ORDER_EVENTS, n) for n in range(6)]
        consumer.assign(partitions)
        events = OrderEvents(serve.settings, consumer, partitions)
        await events.begin()
        try:
            yield events
        finally:
            await events.stop()
    finally:
        await consumer.stop()


async def written_by_the_saga(database: Database, *born: tuple[Envelope, OrderCreated, int, int]) -> None:
    """Writes orders as the saga does, unless a running saga was faster."""
    now = dt.datetime.now(dt.UTC)
    for message in born:
        batch = Batch(order_saga(), Snapshot(), now)
        batch.take(*message)
        with contextlib.suppress(IntegrityError):
            async with database.write() as session:
                await store.save(session, batch.changes, now)

"""Orders that the saga's own handler writes, and the order API in this process on ports of its own."""

import asyncio
import datetime as dt
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import msgspec
import pytest
import uvicorn
from fastapi import FastAPI
from redis.asyncio import Redis

from contracts import events, redis_keys
from contracts.admission import AcceptedOrder, QueuePlace
from contracts.envelope import Envelope, Message, registry, seal
from contracts.orders import Address, Allocation, OrderLine, OrderStatus, PaymentMethod, PaymentMethodType
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from kit.kafka import EventProducer, Placement, Received
from kit.resources import Resources
from kit.settings import Settings
from oltp.orders import endpoints, live
from oltp.orders.domain import Order
from oltp.orders.repository import OrderRepository
from sagas.handlers import OrderSagaHandler
from sagas.order import SAGA


@dataclass
class Customer:
    """Somebody with orders. ``moments`` gives each new order its time of creation."""

    resources: Resources
    user_id: str = field(default_factory=new_id)
    told: list[Envelope] = field(default_factory=list)
    """Everything that the saga said about their orders, ``order.created`` included."""
    _created_at: dict[str, dt.datetime] = field(default_factory=dict)

    def created(
        self,
        *,
        names: Sequence[str] = ("Earl Grey",),
        total: int = 2500,
        at: dt.datetime | None = None,
        order_id: str | None = None,
    ) -> Envelope:
        """An accepted checkout."""
        order_id = order_id or new_id()
        now = at or SystemClock().now()
        payload = events.OrderCreated(
            order_id=order_id,
            user_id=self.user_id,
            idempotency_key=new_id(),
            request_hash="hash",
            currency="USD",
            total_amount=total,
            lines=[
                OrderLine(
                    product_id=new_id(), sku=f"SKU-{n}", name=name, category="tea", quantity=1, unit_price=total // 2
                )
                for n, name in enumerate(names)
            ],
            shipping_address=Address(name="Ada", line1="1 Square", city="London", postal_code="SW1", country="GB"),
            payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="tok_visa"),
            queue_position=0,
            created_at=now,
        )
        return self.seal(order_id, payload)

    def seal(self, order_id: str, payload: Message) -> Envelope:
        return seal(payload, id=new_id(), source="test", subject=order_id, time=SystemClock().now())

    async def deliver(self, *envelopes: Envelope, publish: bool = True) -> list[Envelope]:
        """Has the saga take messages: committed, then published to the watchers unless that is to be lost."""
        handler = OrderSagaHandler(SAGA, self.resources.redis, SystemClock())
        batch = [Received(e, registry.decode(e), "test", 0, n) for n, e in enumerate(envelopes)]
        async with self.resources.database.write() as session:
            outcome = await handler(session, batch)
        if publish:
            for afterwards in outcome.afterwards:
                await afterwards()
        told = [m for m in outcome.messages if m.type.startswith("order.")]
        self.told += [e for e in envelopes if isinstance(registry.decode(e), events.OrderCreated)] + told
        return told

    async def place(self, **options: Any) -> str:
        """A pending order in Postgres; returns its id."""
        envelope = self.created(**options)
        await self.deliver(envelope)
        return envelope.subject

    def step(self, order_id: str, status: OrderStatus) -> Envelope:
        """The participant's answer that moves an order into a status."""
        now = SystemClock().now()
        payload: Message
        match status:
            case OrderStatus.AWAITING_PAYMENT:
                allocation = Allocation(product_id=new_id(), warehouse_id=new_id(), quantity=1)
                payload = events.InventoryReserved(order_id=order_id, allocations=[allocation], expires_at=now)
            case OrderStatus.CONFIRMED:
                payload = events.PaymentSucceeded(
                    order_id=order_id,
                    payment_id=new_id(),
                    provider="simulated",
                    amount=2500,
                    currency="USD",
                    attempts=1,
                    duration_ms=5,
                )
            case OrderStatus.PROCESSING:
                payload = events.ShipmentCreated(order_id=order_id, parcels=[])
            case OrderStatus.SHIPPED:
                payload = events.ShipmentInTransit(order_id=order_id, shipment_id=new_id(), occurred_at=now)
            case OrderStatus.DELIVERED:
                payload = events.ShipmentDelivered(order_id=order_id, occurred_at=now)
            case OrderStatus.CANCELLED:
                payload = events.InventoryFailed(order_id=order_id, reason="out_of_stock", product_ids=[])
            case _:
                raise AssertionError(status)
        return self.seal(order_id, payload)

    async def move(self, order_id: str, *statuses: OrderStatus, publish: bool = True) -> None:
        """Moves an order through statuses, one transaction each."""
        for status in statuses:
            await self.deliver(self.step(order_id, status), publish=publish)

    async def order(self, order_id: str) -> Order:
        """The order as Postgres has it."""
        async with self.resources.database.read() as session:
            stored = await OrderRepository(session).find(order_id)
        assert stored is not None
        return stored.order

    def token(self, role: Role = Role.CUSTOMER, *, settings: Settings | None = None) -> str:
        settings = settings or self.resources.settings
        return issue_access_token(settings, Principal(self.user_id, role), SystemClock().now())

    def headers(self, role: Role = Role.CUSTOMER) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(role)}"}


WHOLE_LIFE = (
    OrderStatus.AWAITING_PAYMENT,
    OrderStatus.CONFIRMED,
    OrderStatus.PROCESSING,
    OrderStatus.SHIPPED,
    OrderStatus.DELIVERED,
)


@pytest.fixture
def customer(resources: Resources) -> Customer:
    """A new customer."""
    return Customer(resources)


@pytest.fixture
def other(resources: Resources) -> Customer:
    """Another customer."""
    return Customer(resources)


class StillQueue:
    """A queue whose position is the offset."""

    def position(self, place: QueuePlace) -> int | None:
        return place.log[1] if place.log is not None else 0


class DirectProducer(EventProducer):
    """Hands commands to whoever plays the saga, instead of to Kafka."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.sent: list[Envelope] = []
        self.taker: Callable[[Envelope], Awaitable[Any]] | None = None
        self.error: Exception | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def send(self, envelopes: Iterable[Envelope]) -> list[Placement]:
        if self.error is not None:
            raise self.error
        batch = list(envelopes)
        self.sent += batch
        for envelope in batch:
            if self.taker is not None:
                task = asyncio.ensure_future(self.taker(envelope))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        return [Placement(0, 0) for _ in batch]


@dataclass
class Api:
    """The order API in this process."""

    port: int
    http: httpx.AsyncClient
    producer: DirectProducer
    live: live.Live
    app: FastAPI

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"


@asynccontextmanager
async def serving(settings: Settings, name: str) -> AsyncIterator[Api]:
    """An application of its own, with a hub of its own, on a free port."""
    settings = settings.model_copy(update={"process": name})
    producer = DirectProducer(settings)
    state: dict[str, Any] = {}

    @asynccontextmanager
    async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
        resources = replace(resources, producer=producer)
        async with live.lifespan(resources) as opened:
            state.update(opened)
            yield {"resources": resources, "queue": StillQueue(), **opened}

    app = create_app(
        settings,
        title=name,
        routers=[endpoints.router, endpoints.admin_router, live.router],
        lifespan=lifespan,
        docs=True,
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws_per_message_deflate=False, lifespan="on"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        assert not task.done(), task
        await asyncio.sleep(0.01)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
            yield Api(port, http, producer, state["live"], app)
    finally:
        server.should_exit = True
        await task


@pytest.fixture(scope="session")
async def api(settings: Settings) -> AsyncIterator[Api]:
    """One gateway."""
    async with serving(settings, "orders-test-1") as opened:
        yield opened


@pytest.fixture(scope="session")
async def second_api(settings: Settings) -> AsyncIterator[Api]:
    """Another gateway."""
    async with serving(settings, "orders-test-2") as opened:
        yield opened


@pytest.fixture(autouse=True)
def quiet_producer(request: pytest.FixtureRequest) -> Iterator[None]:
    """Each test starts with nobody taking commands."""
    yield
    for name in ("api", "second_api"):
        if name in request.fixturenames:
            producer = request.getfixturevalue(name).producer
            producer.sent, producer.taker, producer.error = [], None, None


async def accept(redis: Redis, envelope: Envelope, *, offset: int = 0) -> None:
    """What the gateway leaves in Redis when it accepts a checkout."""
    created = registry.decode(envelope)
    assert isinstance(created, events.OrderCreated)
    fields = {name: getattr(created, name) for name in created.__struct_fields__}
    record = AcceptedOrder(**fields, log_partition=0, log_offset=offset)
    await redis.set(redis_keys.accepted_order(created.order_id), msgspec.json.encode(record), ex=60)
    await redis.zadd(redis_keys.recent_orders(created.user_id), {created.order_id: created.created_at.timestamp()})

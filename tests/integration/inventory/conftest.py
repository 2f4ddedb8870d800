"""A warehouse floor: products with stock of their own, a keeper and a gate in a Redis database that may be wiped."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.envelope import Envelope, Message, registry, seal
from contracts.events import OrderConfirmed
from contracts.orders import Address, OrderStatus, SaleTerms, StockLine
from kit import outbox
from kit.clock import FixedClock, SystemClock
from kit.db import Database, WriteSession
from kit.ids import new_id
from kit.kafka import Received
from kit.resources import Resources
from kit.settings import Settings
from oltp.inventory.domain import Level
from oltp.inventory.gate import Gate
from oltp.inventory.handlers import StockKeeper
from oltp.inventory.reconciler import Reconciler
from oltp.inventory.redis_gate import TOUCHED, RedisGate
from oltp.inventory.repository import DatabaseBooks, InventoryReads, InventoryRepository, LedgerEntry
from tests.integration.inventory import books

REDIS_DATABASE = 11
QUIET_MS = 600_000
"""Nothing becomes quiet by itself: tests say when (:meth:`Floor.quieten`)."""
BERLIN = "00000000-0000-7000-8000-0000000000b1"
DALLAS = "00000000-0000-7000-8000-0000000000d1"
_WAREHOUSES = {BERLIN: ("T-BER", "DE", 52.52, 13.405, 1), DALLAS: ("T-DAL", "US", 32.7767, -96.797, 2)}


def received(payload: Message, *, key: str, id: str = "") -> Received:
    """A message as a consumer gets it."""
    envelope = seal(payload, id=id or new_id(), source="test", subject=key, time=dt.datetime.now(dt.UTC))
    return Received(envelope, payload, registry.topic_of(type(payload)), 0, 0)


@dataclass
class Floor:
    """What a test does with stock. Whatever it made is gone from the books when it ends."""

    database: Database
    redis: Redis
    gate: RedisGate
    keeper: StockKeeper
    reconciler: Reconciler
    clock: FixedClock | SystemClock
    products: list[str] = field(default_factory=list)
    orders: set[str] = field(default_factory=set)

    def with_gate(self, gate: Gate, clock: FixedClock | None = None) -> StockKeeper:
        """Another keeper of the same books."""
        return StockKeeper(self.database, gate, clock or self.clock)

    async def product(self, berlin: int = 0, dallas: int = 0) -> str:
        """A new product with so many units in each warehouse."""
        product_id, now = new_id(), self.clock.now()
        self.products.append(product_id)
        async with self.database.write() as session:
            for warehouse_id, units in ((BERLIN, berlin), (DALLAS, dallas)):
                await session.execute(
                    text("INSERT INTO inventory.inventory (product_id, warehouse_id, quantity) VALUES (:p, :w, :n)"),
                    {"p": product_id, "w": warehouse_id, "n": units},
                )
                entry = LedgerEntry(product_id, warehouse_id, "initial", units, units, now)
                await InventoryRepository(session).append_ledger([entry])
        return product_id

    def reserve(self, order_id: str | None = None, *, country: str = "DE", **_: object) -> "_Reserve":
        """A reserve command in the making."""
        return _Reserve(self, order_id or new_id(), country)

    def release(self, order_id: str) -> Received:
        """A release command."""
        self.orders.add(order_id)
        return received(ReleaseInventory(order_id=order_id, reason="customer_request"), key=order_id)

    def fulfil(self, order_id: str) -> Received:
        """A fulfil command."""
        return received(FulfilInventory(order_id=order_id), key=order_id)

    def confirmed(self, order_id: str) -> Received:
        """The event that an order is paid."""
        payload = OrderConfirmed(
            order_id=order_id,
            user_id=new_id(),
            sequence=3,
            previous_status=OrderStatus.AWAITING_PAYMENT,
            status=OrderStatus.CONFIRMED,
            total_amount=100,
            currency="USD",
            occurred_at=self.clock.now(),
        )
        return received(payload, key=order_id)

    async def told(self, *batch: Received) -> list[Message]:
        """The replies to a batch."""
        return opened((await self.keeper.obey(batch)).messages)

    async def level(self, product_id: str, warehouse_id: str = BERLIN) -> Level:
        """A level in the books."""
        async with self.database.read() as session:
            rows = await InventoryReads(session).levels(product_id)
        return next(row.level for row in rows if row.warehouse_id == warehouse_id)

    async def counter(self, product_id: str) -> int | None:
        """What Redis says."""
        return (await self.gate.counters([product_id]))[product_id]

    async def quieten(self) -> None:
        """Lets the time pass after which nothing that moved can be under way any more."""
        for product_id in await self.redis.zrange(TOUCHED, 0, -1):
            await self.redis.zadd(TOUCHED, {product_id: 0})

    async def quiet_rounds(self, rounds: int = 3) -> None:
        """Lets the reconciler work until everything has settled."""
        for _ in range(rounds):
            await self.quieten()
            await self.reconciler.round()

    async def audit_books(self) -> None:
        """Asserts every equation of the books for this test's products."""
        async with self.database.read() as session:
            found = await books.breaks(session)
        assert [(product_id, what) for product_id, what in found if product_id in self.products] == []

    async def audit(self) -> None:
        """Asserts them, and that Redis agrees wherever it knows the product."""
        await self.audit_books()
        async with self.database.read() as session:
            available = await InventoryReads(session).available(self.products)
        counters = await self.gate.counters(self.products)
        known = {product_id for product_id, counter in counters.items() if counter is not None}
        assert {p: counters[p] for p in known} == {p: available[p] for p in known}

    async def clean(self) -> None:
        """Takes everything that the test made out of the books."""
        async with self.database.write() as session:
            products, orders = {"ids": self.products}, {"ids": list(self.orders)}
            mine = text("SELECT sale_id FROM inventory.sales WHERE product_id = ANY(CAST(:ids AS uuid[]))")
            sales = {"ids": list((await session.execute(mine, products)).scalars())}
            for table in ("sale_claims", "sale_customers"):
                await session.execute(text(f"DELETE FROM inventory.{table} WHERE sale_id = ANY(:ids)"), sales)
            await session.execute(text("DELETE FROM inventory.sales WHERE sale_id = ANY(:ids)"), sales)
            for table in ("reservation_lines", "reservations", "stock_ledger"):
                await session.execute(
                    text(f"DELETE FROM inventory.{table} WHERE order_id = ANY(CAST(:ids AS uuid[]))"), orders
                )
            for table in ("stock_ledger", "inventory"):
                await session.execute(
                    text(f"DELETE FROM inventory.{table} WHERE product_id = ANY(CAST(:ids AS uuid[]))"), products
                )


@dataclass
class _Reserve:
    floor: Floor
    order_id: str
    country: str

    def of(self, units: dict[str, int], sale: SaleTerms | None = None, customer_id: str | None = None) -> Received:
        """The command for so many units of each product."""
        self.floor.orders.add(self.order_id)
        address = Address(name="A", line1="1", city="C", postal_code="1", country=self.country)
        lines = [StockLine(product_id=product_id, quantity=n) for product_id, n in units.items()]
        payload = ReserveInventory(
            order_id=self.order_id, lines=lines, destination=address, customer_id=customer_id or new_id(), sale=sale
        )
        return received(payload, key=self.order_id)


def opened(envelopes: Sequence[Envelope]) -> list[Message]:
    """The payloads of messages."""
    return [registry.decode(envelope) for envelope in envelopes]


@pytest.fixture
async def stock_redis(settings: Settings) -> AsyncIterator[Redis]:
    """A Redis database that nobody else uses."""
    server = settings.redis_url.get_secret_value().rsplit("/", 1)[0]
    async with Redis.from_url(f"{server}/{REDIS_DATABASE}", decode_responses=True) as redis:
        await redis.flushdb()
        yield redis
        await redis.flushdb()


@pytest.fixture
async def floor(resources: Resources, stock_redis: Redis) -> AsyncIterator[Floor]:
    """A floor with two warehouses, one in Berlin and one in Dallas."""
    async with resources.database.write() as session:
        for id_, (code, country, latitude, longitude, priority) in _WAREHOUSES.items():
            await session.execute(
                text(
                    "INSERT INTO inventory.warehouses (id, code, name, country, latitude, longitude, priority) "
                    "VALUES (:id, :code, :code, :country, :latitude, :longitude, :priority) ON CONFLICT DO NOTHING"
                ),
                {
                    "id": id_,
                    "code": code,
                    "country": country,
                    "latitude": latitude,
                    "longitude": longitude,
                    "priority": priority,
                },
            )
    levels = DatabaseBooks(resources.database)
    gate = RedisGate(stock_redis, levels, quiet_ms=QUIET_MS)
    clock = SystemClock()
    floor = Floor(
        database=resources.database,
        redis=stock_redis,
        gate=gate,
        keeper=StockKeeper(resources.database, gate, clock),
        reconciler=Reconciler(gate, levels),
        clock=clock,
    )
    yield floor
    await floor.clean()
    async with resources.database.write() as session:
        await session.execute(
            text(
                "DELETE FROM inventory.warehouses AS w WHERE id = ANY(CAST(:ids AS uuid[])) "
                "AND NOT EXISTS (SELECT FROM inventory.inventory WHERE warehouse_id = w.id)"
            ),
            {"ids": list(_WAREHOUSES)},
        )


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[Envelope]:
    """What went through the outbox."""
    sent: list[Envelope] = []
    publish = outbox.publish

    async def recorded(session: WriteSession, envelopes: list[Envelope]) -> None:
        sent.extend(envelopes)
        await publish(session, envelopes)

    monkeypatch.setattr(outbox, "publish", recorded)
    return sent

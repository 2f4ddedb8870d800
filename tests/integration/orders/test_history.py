"""Order history in a real document store: every fact once, whoever writes it, however often, in whatever order."""

import asyncio
import datetime as dt
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from prometheus_client import REGISTRY
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from contracts import events
from contracts.envelope import Envelope, encode, registry
from contracts.orders import OrderStatus
from kit.bookmarks import OffsetsMoved
from kit.clock import SystemClock
from kit.ids import new_id
from kit.kafka import EventProducer, Received
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import running
from oltp.orders import history
from oltp.orders.domain import Facts, Filter, first_step, month_of
from oltp.orders.history import Entry, HistoryStore
from oltp.orders.projector import HistoryConsumer, Projection
from oltp.orders.repository import OrderRepository
from oltp.orders.service import OrderHistory
from tests.integration.orders.conftest import WHOLE_LIFE, Customer
from tests.shop import eventually

S = OrderStatus
Database = AsyncDatabase[dict[str, Any]]


@pytest.fixture
async def documents(settings: Settings) -> AsyncIterator[Database]:
    """An empty database of the document store."""
    client: AsyncMongoClient[dict[str, Any]] = history.connect(settings)
    name = f"test_{new_id().replace('-', '')}"
    try:
        yield client[name]
    finally:
        await client.drop_database(name)
        await client.close()


@pytest.fixture
def store(documents: Database) -> HistoryStore:
    return HistoryStore(documents)


@pytest.fixture
async def orders(resources: Resources, store: HistoryStore) -> AsyncIterator[OrderHistory]:
    """The lists as a gateway serves them."""
    opened = OrderHistory(resources.database, resources.redis, store, SystemClock())
    yield opened
    await opened.close()


def received(envelopes: Sequence[Envelope]) -> list[Received]:
    return [Received(e, registry.decode(e), "test", 0, n) for n, e in enumerate(envelopes)]


async def listed(orders: OrderHistory, customer: Customer) -> list[Any]:
    page = await orders.page(customer.user_id, Filter(), after=None, limit=100)
    return page.orders


async def lives(customer: Customer, count: int = 4) -> list[str]:
    """Orders in several months, some of them with their whole life behind them."""
    now = dt.datetime.now(dt.UTC)
    placed = [await customer.place(at=now - dt.timedelta(days=20 * n), total=1000 + n) for n in range(count)]
    await customer.move(placed[0], *WHOLE_LIFE)
    await customer.move(placed[1], S.CANCELLED)
    await customer.move(placed[2], S.AWAITING_PAYMENT)
    return placed


async def dump(documents: Database) -> dict[str, Any]:
    """Everything in the history."""
    return {row["_id"]: row async for row in documents[history.HISTORY].find()}


class TestProjection:
    async def test_events_make_the_same_history_in_any_order(
        self, documents: Database, store: HistoryStore, resources: Resources, customer: Customer, orders: OrderHistory
    ) -> None:
        placed = await lives(customer)
        chance = random.Random(17)
        told = [*customer.told, *customer.told]
        for seed in range(3):
            await documents.client.drop_database(documents.name)
            projection = Projection(store, resources.database)
            chance.shuffle(told)
            for start in range(0, len(told), seed + 2):
                await projection(received(told[start : start + seed + 2]))
            await store.complete(customer.user_id, "2000-01")

            assert await listed(orders, customer) == [await customer.order(order_id) for order_id in placed]

    async def test_a_build_from_postgres_and_the_events_write_the_same(
        self, documents: Database, store: HistoryStore, resources: Resources, customer: Customer, orders: OrderHistory
    ) -> None:
        await lives(customer)
        await Projection(store, resources.database)(received(customer.told))
        projected = await dump(documents)
        await documents.client.drop_database(documents.name)

        await listed(orders, customer)
        built = await dump(documents)

        del built[customer.user_id]
        assert built == projected

    async def test_a_transition_alone_brings_its_whole_order(
        self, store: HistoryStore, resources: Resources, customer: Customer
    ) -> None:
        created = dt.datetime.now(dt.UTC) - dt.timedelta(days=100)
        order_id = await customer.place(at=created)
        await customer.move(order_id, S.AWAITING_PAYMENT, S.CONFIRMED)

        await Projection(store, resources.database)(received(customer.told[-1:]))

        month = month_of(created)
        found = await store.read(customer.user_id, [month])
        async with resources.database.read() as session:
            (stored,) = await OrderRepository(session).many([order_id])
        assert found[month][order_id] == stored.facts

    async def test_a_transition_that_nobody_knows_waits_for_its_order(
        self, store: HistoryStore, resources: Resources, customer: Customer, orders: OrderHistory
    ) -> None:
        envelope = customer.created()
        moved = events.OrderCancelled(
            order_id=envelope.subject,
            user_id=customer.user_id,
            sequence=2,
            previous_status=S.PENDING,
            status=S.CANCELLED,
            total_amount=2500,
            currency="USD",
            occurred_at=dt.datetime.now(dt.UTC),
            reason="out_of_stock",
        )
        await store.complete(customer.user_id, "2000-01")

        await Projection(store, resources.database)(received([customer.seal(envelope.subject, moved)]))
        before = await listed(orders, customer)
        await Projection(store, resources.database)(received([envelope]))
        (after,) = await listed(orders, customer)

        assert before == []
        assert (after.status, after.cancel_reason) == (S.CANCELLED, "out_of_stock")


class TestStore:
    def entry(self, user_id: str, sequence: int = 1) -> Entry:
        step = first_step(dt.datetime(2026, 1, 5, tzinfo=dt.UTC))
        return Entry(user_id, "2026-01", Facts(new_id(), None, {sequence: step}))

    async def test_many_writers_may_create_one_bucket(self, store: HistoryStore) -> None:
        user_id = new_id()

        await asyncio.gather(*(store.write([self.entry(user_id), self.entry(user_id)]) for _ in range(20)))

        assert len((await store.read(user_id, ["2026-01"]))["2026-01"]) == 40

    async def test_offsets_move_only_from_where_they_were_left(self, store: HistoryStore) -> None:
        await store.advance({"t:0": (None, 5), "t:1": (None, 7)})
        await store.advance({"t:0": (5, 9)})
        for wrong in ((5, 10), (None, 10)):
            with pytest.raises(OffsetsMoved):
                await store.advance({"t:0": wrong})

        assert await store.offsets(["t:0", "t:1", "t:2"]) == {"t:0": 9, "t:1": 7}

    async def test_an_oversized_history_is_served_by_postgres(
        self, documents: Database, store: HistoryStore, customer: Customer, orders: OrderHistory
    ) -> None:
        order_id = await customer.place()
        await listed(orders, customer)
        await documents[history.HISTORY].update_one({"_id": customer.user_id}, {"$set": {"oversize": True}})
        newer = await customer.place()

        assert [order.order_id for order in await listed(orders, customer)] == [newer, order_id]


class TestFirstRead:
    async def test_builds_the_history_once(self, store: HistoryStore, customer: Customer, orders: OrderHistory) -> None:
        placed = await lives(customer)

        pages = await asyncio.gather(*(listed(orders, customer) for _ in range(5)))
        unseen = await customer.place()

        assert all([order.order_id for order in page] == placed for page in pages)
        assert (await store.mark(customer.user_id)).since is not None
        assert unseen not in [order.order_id for order in await listed(orders, customer)], "no event told of it"

    async def test_does_not_lose_what_the_projector_writes_meanwhile(
        self, store: HistoryStore, resources: Resources, customer: Customer, orders: OrderHistory
    ) -> None:
        projection = Projection(store, resources.database)
        for _ in range(10):
            order_id = await customer.place()
            told = len(customer.told)
            await asyncio.gather(listed(orders, customer), customer.move(order_id, S.AWAITING_PAYMENT))
            await projection(received(customer.told[told - 1 :]))

            newest = (await listed(orders, customer))[0]

            assert newest == await customer.order(order_id)
            await store.forget_marks([customer.user_id])

    async def test_a_store_that_is_away_leaves_the_lists_to_postgres(
        self, resources: Resources, settings: Settings, customer: Customer
    ) -> None:
        nowhere: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            "mongodb://127.0.0.1:1", serverSelectionTimeoutMS=100
        )
        orders = OrderHistory(resources.database, resources.redis, history.store_of(nowhere), SystemClock())
        placed = await lives(customer)
        before = REGISTRY.get_sample_value("surge_order_lists_total", {"store": "postgres"}) or 0

        pages = [await listed(orders, customer) for _ in range(3)]

        await nowhere.close()
        assert all([order.order_id for order in page] == placed for page in pages)
        assert REGISTRY.get_sample_value("surge_order_lists_total", {"store": "postgres"}) == before + 3


@asynccontextmanager
async def a_topic(settings: Settings, partitions: int) -> AsyncIterator[str]:
    """A topic of its own: on the real one the real saga would have its say."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    name = f"test-{new_id()}"
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
        yield name
    finally:
        await admin.delete_topics([name])
        await admin.close()


class OwnTopic(HistoryConsumer):
    """The projector's consumer on another topic."""

    def __init__(self, resources: Resources, store: HistoryStore, topic: str, process: str) -> None:
        settings = resources.settings.model_copy(update={"process": process})
        projection = Projection(store, resources.database)
        super().__init__(settings, projection=projection, store=store, resources=resources)
        self._group = f"group-{topic}"
        self._topics = [topic]


async def tell(producer: EventProducer, topic: str, envelopes: Sequence[Envelope]) -> None:
    for envelope in envelopes:
        await producer.send_raw(topic, encode(envelope), envelope.subject.encode())


class TestConsumer:
    async def projected(self, documents: Database, customer: Customer, placed: Sequence[str]) -> None:
        """Waits until the history holds the orders as Postgres has them."""

        async def check() -> None:
            found: dict[str, Facts] = {}
            store = HistoryStore(documents)
            async for row in documents[history.HISTORY].find():
                if ":" in row["_id"]:
                    user_id, _, month = row["_id"].partition(":")
                    found |= (await store.read(user_id, [month]))[month]
            async with customer.resources.database.read() as session:
                stored = await OrderRepository(session).many(placed)
            assert found == {order.order_id: order.facts for order in stored}

        await eventually(check, within=20)

    async def test_two_processes_share_the_partitions(
        self, documents: Database, store: HistoryStore, resources: Resources, customer: Customer
    ) -> None:
        async with a_topic(resources.settings, 4) as topic:
            workers = [OwnTopic(resources, store, topic, f"projector-{n}") for n in (1, 2)]
            async with running(workers[:1]):
                placed = await lives(customer, 8)
                await tell(resources.producer, topic, customer.told)
                await self.projected(documents, customer, placed)
                async with running(workers[1:]):
                    told = len(customer.told)
                    more = await lives(customer, 8)
                    await tell(resources.producer, topic, customer.told[told:])
                    await self.projected(documents, customer, [*placed, *more])
                told = len(customer.told)
                await customer.move(more[2], S.CONFIRMED)
                await tell(resources.producer, topic, customer.told[told:])
                await self.projected(documents, customer, [*placed, *more])

    async def test_a_store_that_lost_everything_is_filled_again(
        self, documents: Database, store: HistoryStore, resources: Resources, customer: Customer
    ) -> None:
        async with a_topic(resources.settings, 2) as topic, running([OwnTopic(resources, store, topic, "p")]):
            placed = await lives(customer)
            await tell(resources.producer, topic, customer.told)
            await self.projected(documents, customer, placed)

            await documents.client.drop_database(documents.name)

            await self.projected(documents, customer, placed)

    async def test_a_store_that_went_back_in_time_takes_its_reader_with_it(
        self, documents: Database, store: HistoryStore, resources: Resources, customer: Customer
    ) -> None:
        async with a_topic(resources.settings, 2) as topic, running([OwnTopic(resources, store, topic, "p")]):
            placed = await lives(customer)
            await tell(resources.producer, topic, customer.told)
            await self.projected(documents, customer, placed)
            past = {name: [row async for row in documents[name].find()] for name in (history.HISTORY, history.OFFSETS)}
            told = len(customer.told)
            placed.append(await customer.place())
            await customer.move(placed[2], S.CONFIRMED)
            await tell(resources.producer, topic, customer.told[told:])
            await self.projected(documents, customer, placed)

            for name, rows in past.items():
                await documents[name].delete_many({})
                await documents[name].insert_many(rows)

            await self.projected(documents, customer, placed)
            told = len(customer.told)
            await customer.move(placed[-1], S.AWAITING_PAYMENT)
            await tell(resources.producer, topic, customer.told[told:])
            await self.projected(documents, customer, placed)

    async def test_a_restart_goes_on_where_the_store_is(
        self, documents: Database, store: HistoryStore, resources: Resources, customer: Customer
    ) -> None:
        async with a_topic(resources.settings, 2) as topic:
            placed = await lives(customer)
            async with running([OwnTopic(resources, store, topic, "p")]):
                await tell(resources.producer, topic, customer.told)
                await self.projected(documents, customer, placed)
            offsets = await store.offsets([f"{topic}:0", f"{topic}:1"])
            told = len(customer.told)
            await customer.move(placed[2], S.CONFIRMED)
            await tell(resources.producer, topic, [customer.told[0], *customer.told[told:]])

            async with running([OwnTopic(resources, store, topic, "p")]):
                await self.projected(documents, customer, placed)

        assert sum(offsets.values()) == told

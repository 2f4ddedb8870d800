"""``python -m oltp.orders.projector``: keeps the order history in the document store after the order events.

It also passes on to those who watch an order where its parcels are.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import orjson
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import events, redis_keys, topics
from contracts.envelope import Message, registry
from kit.app import Check, broker_answers, serve
from kit.db import Database
from kit.kafka import Consumer, Outcome, Received
from kit.redis import publish_to_both
from kit.resources import Resources
from kit.settings import Settings
from kit.worker import Task, create_worker
from oltp.orders import history
from oltp.orders.domain import (
    CANCELLATION_REFUSED,
    EVENT_OF_STATUS,
    facts_of_creation,
    facts_of_transition,
    moment_of_id,
    month_of,
)
from oltp.orders.history import Entry, HistoryStore, OffsetsMoved
from oltp.orders.repository import OrderRepository
from oltp.orders.service import entry_of

log = structlog.get_logger()

GROUP: Final = "projector"
PARCELS_GROUP: Final = "live-parcels"
HANDLES: Final = tuple(registry.resolve(name) for name in {*EVENT_OF_STATUS.values(), CANCELLATION_REFUSED})

BREATH: Final = 3.0
"""In a rush an order takes its four steps within three seconds: gathered, they are one write to its bucket."""

REMEMBERED: Final = 100_000
CHECK_SECONDS: Final = 2.0


class Projection:
    """Turns order events into facts of the order history.

    A transition does not say when its order was created, hence not which bucket it belongs to. That is remembered from
    ``order.created``; an order that is not remembered (after a restart, or older than the log) is read from Postgres
    as a whole. One that Postgres does not know either goes by the time in its id, and waits there for its creation.
    """

    def __init__(self, store: HistoryStore, database: Database) -> None:
        self._store = store
        self._database = database
        self._months: OrderedDict[str, str] = OrderedDict()

    def forget(self) -> None:
        """The store may not hold what was written to it: nothing that is remembered can be relied on."""
        self._months.clear()

    async def __call__(self, batch: Sequence[Received]) -> Outcome:
        """Writes what a batch of events tells; writing it again changes nothing."""
        entries: list[Entry] = []
        months: dict[str, str] = {}
        unplaced: list[tuple[str, events.OrderTransition]] = []
        for message in batch:
            payload = message.payload
            if isinstance(payload, events.OrderCreated):
                month = months[payload.order_id] = month_of(payload.created_at)
                entries.append(Entry(payload.user_id, month, facts_of_creation(payload)))
            else:
                assert isinstance(payload, events.OrderTransition)
                unplaced.append((message.envelope.type, payload))
        missing = {moved.order_id for _, moved in unplaced} - months.keys() - self._months.keys()
        for entry in await self._whole(missing):
            months[entry.facts.order_id] = entry.month
            entries.append(entry)
        for name, moved in unplaced:
            month = months.get(moved.order_id) or self._months.get(moved.order_id) or _guess(moved)
            entries.append(Entry(moved.user_id, month, facts_of_transition(name, moved)))
        await self._store.write(entries)
        self._remember(months)
        return Outcome()

    async def _whole(self, order_ids: Iterable[str]) -> list[Entry]:
        ids = sorted(order_ids)
        if not ids:
            return []
        async with self._database.read() as session:
            return [entry_of(stored) for stored in await OrderRepository(session).many(ids)]

    def _remember(self, months: Mapping[str, str]) -> None:
        for order_id, month in months.items():
            self._months[order_id] = month
            self._months.move_to_end(order_id)
        while len(self._months) > REMEMBERED:
            self._months.popitem(last=False)


def _guess(moved: events.OrderTransition) -> str:
    log.warning("projector.unknown_order", order_id=moved.order_id, sequence=moved.sequence)
    return month_of(moment_of_id(moved.order_id) or moved.occurred_at)


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}:{partition.partition}"


class StoredOffsetsConsumer(Consumer):
    """A consumer whose place in the log is kept in the store that it writes to.

    It reads from where the store says, whatever Kafka remembers (Kafka is told too, so that the lag shows). It moves
    the stored offsets only from where it left them, and looks at them every two seconds: a store that was restored, or
    lost its last writes in a crash, or was emptied, is filled again from where it is.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        subscribe: Sequence[str],
        handles: Sequence[type[Message]],
        projection: Projection,
        store: HistoryStore,
        resources: Resources,
    ) -> None:
        super().__init__(
            settings,
            group=group,
            subscribe=subscribe,
            handles=handles,
            process=projection,
            producer=resources.producer,
            breath=BREATH,
        )
        self._projection = projection
        self._store = store
        self._left: dict[TopicPartition, int | None] = {}

    async def run(self) -> None:
        """Consumes until cancelled. Raises when the store or the broker is away; the caller starts it again."""
        self._left.clear()
        self._projection.forget()
        async with self._connected(_Reassigned(self._left)) as consumer:
            await self._consume(consumer)

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while True:
            await self._place(consumer)
            self.ready = True
            fetched = await consumer.getmany(timeout_ms=500, max_records=self.most_records)
            await self._take({tp: records for tp, records in fetched.items() if records and tp in self._left}, consumer)
            await self._breathe(consumer, sum(map(len, fetched.values())))
            if loop.time() - checked >= CHECK_SECONDS:
                await self._check()
                checked = loop.time()

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        unplaced = {tp for tp in consumer.assignment() if tp not in self._left}
        if not unplaced:
            return
        stored = await self._store.offsets(_name(tp) for tp in unplaced)
        for tp in unplaced & consumer.assignment():
            offset = stored.get(_name(tp))
            if offset is None:
                await consumer.seek_to_beginning(tp)
            else:
                consumer.seek(tp, offset)
            self._left[tp] = offset
        log.info("projector.placed", offsets={_name(tp): self._left.get(tp) for tp in sorted(unplaced)})

    async def _take(
        self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]], consumer: AIOKafkaConsumer
    ) -> None:
        if not fetched:
            return
        await self._apply([record for records in fetched.values() for record in records])
        following = {tp: records[-1].offset + 1 for tp, records in fetched.items()}
        moves = {_name(tp): (self._left[tp], offset) for tp, offset in following.items() if tp in self._left}
        try:
            await self._store.advance(moves)
        except OffsetsMoved as error:
            self._go_back(error)
            return
        self._left.update({tp: offset for tp, offset in following.items() if tp in self._left})
        await self._commit(consumer, following)

    async def _check(self) -> None:
        stored = await self._store.offsets(_name(tp) for tp in self._left)
        if any(stored.get(_name(tp)) != offset for tp, offset in self._left.items()):
            self._go_back(OffsetsMoved("the stored offsets are not what they were left at"))

    def _go_back(self, error: OffsetsMoved) -> None:
        log.warning("projector.offsets_moved", error=str(error))
        self._left.clear()
        self._projection.forget()


class _Reassigned(ConsumerRebalanceListener):  # type: ignore[misc]
    """Whatever is given or taken has to be placed anew before it is read."""

    def __init__(self, left: dict[TopicPartition, int | None]) -> None:
        self._left = left

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        for tp in revoked:
            self._left.pop(tp, None)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for tp in assigned:
            self._left.pop(tp, None)


def parcels_forwarder(redis: Redis) -> Callable[[Sequence[Received]], Awaitable[Outcome]]:
    """Publishes parcels' movements to those who watch the order or its customer."""

    async def forward(batch: Sequence[Received]) -> Outcome:
        news: list[tuple[str, str, str]] = []
        for message in batch:
            moved = message.payload
            assert isinstance(moved, events.ShipmentMoved)
            text = orjson.dumps(
                {
                    "type": message.envelope.type,
                    "order_id": moved.order_id,
                    "user_id": moved.user_id,
                    "occurred_at": moved.occurred_at,
                    "parcel": {
                        "shipment_id": moved.shipment_id,
                        "status": moved.status,
                        "latitude": moved.latitude,
                        "longitude": moved.longitude,
                        "estimated_delivery": moved.estimated_delivery,
                    },
                }
            ).decode()
            news.append((redis_keys.order_channel(moved.order_id), redis_keys.user_channel(moved.user_id), text))
        try:
            await publish_to_both(redis, news)
        except RedisError as error:
            log.warning("projector.parcels_unpublished", error=repr(error))
        return Outcome()

    return forward


def create(settings: Settings) -> FastAPI:
    """The worker's application."""
    client = history.connect(settings)
    store = history.store_of(client)

    async def document_store_answers(_: Resources) -> None:
        await store.ping()

    async def tasks(resources: Resources, stack: AsyncExitStack) -> Sequence[Task]:
        stack.push_async_callback(client.close)
        projector = StoredOffsetsConsumer(
            settings,
            group=GROUP,
            subscribe=[topics.ORDER_EVENTS],
            handles=HANDLES,
            projection=Projection(store, resources.database),
            store=store,
            resources=resources,
        )
        parcels = Consumer(
            settings,
            group=PARCELS_GROUP,
            subscribe=[topics.SHIPPING_EVENTS],
            handles=[events.ShipmentMoved],
            process=parcels_forwarder(resources.redis),
            producer=resources.producer,
        )
        return [projector, parcels]

    ready: list[Check] = [broker_answers, document_store_answers]
    return create_worker(settings, title="Order history projector", tasks=tasks, ready=ready)


if __name__ == "__main__":
    settings = Settings()
    serve(create(settings), settings)

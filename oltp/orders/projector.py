"""``python -m oltp.orders.projector``: keeps the order history in the document store after the order events.

It also passes on to those who watch an order where its parcels are.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Final

import orjson
import structlog
from aiokafka import ConsumerRecord
from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import events, redis_keys, topics
from contracts.envelope import registry
from kit.app import Check, broker_answers, serve
from kit.bookmarks import BookmarkedConsumer, Move
from kit.db import Database
from kit.kafka import Consumer, Outcome, Received
from kit.redis import publish_to_both
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import Task
from kit.worker import create_worker
from oltp.orders import history
from oltp.orders.domain import (
    CANCELLATION_REFUSED,
    EVENT_OF_STATUS,
    facts_of_creation,
    facts_of_transition,
    moment_of_id,
    month_of,
)
from oltp.orders.history import Entry, HistoryStore
from oltp.orders.repository import OrderRepository
from oltp.orders.service import entry_of

log = structlog.get_logger()

GROUP: Final = "projector"
PARCELS_GROUP: Final = "live-parcels"
HANDLES: Final = tuple(registry.resolve(name) for name in {*EVENT_OF_STATUS.values(), CANCELLATION_REFUSED})

BREATH: Final = 3.0
"""In a rush an order takes its four steps within three seconds: gathered, they are one write to its bucket."""

RUSH: Final = 300
"""Messages that come in a breath where that pays: a hundred a second. A shop that sells less has its history sooner."""

REMEMBERED: Final = 100_000


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


class HistoryConsumer(BookmarkedConsumer):
    """Keeps the order history; its place in the log lies in the store that it writes to.

    A store that was restored, or lost its last writes in a crash, or was emptied, is filled again from where it is.
    """

    def __init__(
        self, settings: Settings, *, projection: Projection, store: HistoryStore, resources: Resources
    ) -> None:
        super().__init__(settings, group=GROUP, subscribe=[topics.ORDER_EVENTS], breath=BREATH, rush=RUSH)
        self._writing = Consumer(
            settings,
            group=GROUP,
            subscribe=[topics.ORDER_EVENTS],
            handles=HANDLES,
            process=projection,
            producer=resources.producer,
        )
        self._projection = projection
        self._store = store

    async def bookmarks(self, names: Iterable[str]) -> Mapping[str, int]:
        """The stored offsets of partitions."""
        return await self._store.offsets(names)

    async def take(self, records: Sequence[ConsumerRecord], moves: Mapping[str, Move]) -> None:
        """Writes the events, then moves the offsets: events that come again change nothing."""
        await self._writing.apply(records)
        await self._store.advance(moves)

    def forget(self) -> None:
        """What the projection remembers of the store can't be relied on."""
        self._projection.forget()


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
        projector = HistoryConsumer(
            settings, projection=Projection(store, resources.database), store=store, resources=resources
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

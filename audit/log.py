"""What the broker holds: how far the consumers are, and every order that was accepted."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts import topics
from contracts.envelope import decode, registry
from contracts.events import OrderCreated
from kit.settings import Settings

SAGA_GROUP: Final = "order-saga"
GROUPS: Final = (
    SAGA_GROUP,
    "inventory",
    "inventory-observer",
    "notifications",
    "payments",
    "projector",
    "shipping",
)
"""The consumer groups that have to be at the end of their topics before the shop counts as quiet."""

_CREATED: Final = b'"type":"order.created"'


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a consumer group is behind, and what it has committed in the order log."""

    lag: Mapping[str, int]
    saga_offsets: Mapping[int, int]
    dead_letters: int

    @property
    def behind(self) -> dict[str, int]:
        """The groups that have messages to read."""
        return {group: lag for group, lag in self.lag.items() if lag}


@dataclass(slots=True)
class AcceptedOrders:
    """Every ``order.created`` in the log.

    ``places`` are where each order's messages lie, ``keys`` the orders of each (customer, idempotency key).
    """

    places: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    keys: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    read_to: dict[int, int] = field(default_factory=dict)

    def take(self, partition: int, offset: int, value: bytes) -> None:
        """Takes one message of the log into account."""
        if _CREATED not in value[:1024]:
            return
        envelope = decode(value)
        payload = registry.decode(envelope)
        if isinstance(payload, OrderCreated):
            self.places.setdefault(payload.order_id, []).append((partition, offset))
            self.keys.setdefault((payload.user_id, payload.idempotency_key), set()).add(payload.order_id)

    def due(self, committed: Mapping[int, int]) -> set[str]:
        """The orders that a consumer which has committed so far must know."""
        return {
            order_id
            for order_id, places in self.places.items()
            if any(offset < committed.get(partition, 0) for partition, offset in places)
        }


class Broker:
    """Reads the broker without joining any group. Connects when needed, and anew after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._client_id = f"{settings.instance}.audit"
        self._accepted = AcceptedOrders()
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def progress(self) -> Progress:
        """Where every consumer group is.

        Raises:
            KafkaError, OSError: if the broker is away.
        """
        async with self._connected() as (admin, consumer):
            offsets = await asyncio.gather(*(admin.list_consumer_group_offsets(group) for group in GROUPS))
            committed = dict(zip(GROUPS, offsets, strict=True))
            dead = TopicPartition(topics.DEAD_LETTERS, 0)
            partitions = {partition for group in committed.values() for partition in group}
            ends = await consumer.end_offsets([*partitions, dead])
            begins = await consumer.beginning_offsets([dead])
        lag: Counter[str] = Counter()
        for group, entries in committed.items():
            for partition, meta in entries.items():
                lag[group] += max(0, ends[partition] - max(0, meta.offset))
        saga = {
            partition.partition: max(0, meta.offset)
            for partition, meta in committed[SAGA_GROUP].items()
            if partition.topic == topics.ORDER_EVENTS
        }
        return Progress(dict(lag), saga, ends[dead] - begins[dead])

    async def accepted_orders(self, *, seconds: float = 120) -> AcceptedOrders:
        """Every order in the log, up to what it holds now; what was read before is not read again.

        Raises:
            KafkaError, OSError, TimeoutError: if the broker is away or too slow.
        """
        accepted = self._accepted
        async with self._connected() as (admin, consumer):
            [described] = await admin.describe_topics([topics.ORDER_EVENTS])
            numbers = sorted(entry["partition"] for entry in described["partitions"])
            partitions = [TopicPartition(topics.ORDER_EVENTS, number) for number in numbers]
            ends = await consumer.end_offsets(partitions)
            begins = await consumer.beginning_offsets(partitions)
            read_to = {p: accepted.read_to.get(p.partition, begins[p]) for p in partitions}
            unread = [partition for partition in partitions if read_to[partition] < ends[partition]]
            if not unread:
                return accepted
            consumer.assign(unread)
            for partition in unread:
                consumer.seek(partition, read_to[partition])
            deadline = time.monotonic() + seconds
            while unread:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the order log was not read within {seconds:.0f} s")
                for partition, records in (await consumer.getmany(timeout_ms=500, max_records=20_000)).items():
                    for record in records:
                        accepted.take(partition.partition, record.offset, record.value)
                for partition in unread:
                    accepted.read_to[partition.partition] = await consumer.position(partition)
                unread = [partition for partition in unread if accepted.read_to[partition.partition] < ends[partition]]
            # nothing is fetched ahead of the next look, which begins anew
            consumer.pause(*consumer.assignment())
        return accepted

    async def close(self) -> None:
        """Disconnects."""
        admin, self._admin = self._admin, None
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()
        if admin is not None:
            await admin.close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
        try:
            if self._admin is None:
                self._admin = AIOKafkaAdminClient(bootstrap_servers=self._bootstrap, client_id=self._client_id)
                await self._admin.start()
            if self._consumer is None:
                self._consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._client_id,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                    fetch_max_wait_ms=100,
                    max_partition_fetch_bytes=8 * 1024 * 1024,
                    fetch_max_bytes=64 * 1024 * 1024,
                    # it is waited for once for each topic that the client has not heard of yet, one after the other
                    retry_backoff_ms=10,
                )
                await self._consumer.start()
            yield self._admin, self._consumer
        except BaseException:
            await self.close()
            raise

"""Kafka: one producer a process, and consumers that take batches, apply them, send what follows, then commit."""

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple, Protocol
from zlib import crc32

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, MessageSizeTooLargeError
from aiokafka.partitioner import murmur2

from contracts import topics
from contracts.envelope import Envelope, Message, decode, encode, registry, topic_for
from kit import telemetry
from kit.db import Database, WriteSession
from kit.settings import Settings
from kit.transient import is_transient

log = structlog.get_logger()

ENVELOPE_ERRORS: Final = (ValueError,)
"""What undecodable bytes raise (msgspec's errors are ValueErrors)."""


_RUSH: Final = 40
BREATH: Final = 0.1
"""Seconds that a consumer waits after a batch of :data:`_RUSH` or more messages, so that the next one can grow; after a
smaller one accordingly less. A batch has costs of its own: in a rush more messages share them."""

_SHORTEST_BREATH: Final = 0.01

_WORTH_A_BATCH: Final = 8
"""From how many messages on they are sent as record batches of their own."""


class Placement(NamedTuple):
    """Where the broker put a message."""

    partition: int
    offset: int


class Outgoing(NamedTuple):
    """A message's bytes, where they go, and under which key."""

    topic: str
    key: str
    value: bytes


class EventProducer:
    """An idempotent producer with ``acks=all`` that replaces itself after a failure.

    After a broker's restart an idempotent producer may refuse every further message (its sequence is lost), so one
    that failed is thrown away; what follows has the same ids, and consumers drop what they know.
    """

    def __init__(self, settings: Settings, *, timeout: float = 10.0) -> None:
        self._settings = settings
        self._timeout = timeout
        self._producer: AIOKafkaProducer | None = None
        self._lock = asyncio.Lock()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            async with self._lock:
                if self._producer is None:
                    producer = AIOKafkaProducer(
                        bootstrap_servers=self._settings.kafka_bootstrap,
                        client_id=f"{self._settings.instance}.{self._settings.process}",
                        acks="all",
                        enable_idempotence=True,
                        linger_ms=self._settings.kafka_linger_ms,
                        max_batch_size=262_144,
                        compression_type="snappy",
                        request_timeout_ms=int(self._timeout * 1000),
                        metadata_max_age_ms=60_000,
                    )
                    try:
                        async with asyncio.timeout(self._timeout):
                            await producer.start()
                    except BaseException:
                        await _close(producer)
                        raise
                    self._producer = producer
        return self._producer

    async def start(self) -> None:
        """Connects now instead of at the first message.

        Raises:
            KafkaError, TimeoutError: if no broker answers.
        """
        await self._started()

    async def send(self, envelopes: Iterable[Envelope]) -> list[Placement]:
        """Sends all and waits until the broker has them all, in the order given for each key.

        Raises:
            KafkaError, TimeoutError: if any is not known to be stored; any of them may be stored nevertheless.
        """
        return await self.send_encoded([Outgoing(topic_for(e), e.key, encode(e)) for e in envelopes])

    async def send_encoded(
        self, batch: Sequence[Outgoing], *, choose: Callable[[str, int], int] | None = None
    ) -> list[Placement]:
        """Sends all and waits until the broker has them all, in the order given for each key.

        ``choose`` gives a key's partition of so many; without it, it is Kafka's own choice.

        Raises:
            KafkaError, TimeoutError: if any is not known to be stored; any of them may be stored nevertheless.
        """
        if not batch:
            return []
        producer = await self._started()
        try:
            async with asyncio.timeout(self._timeout):
                if len(batch) < _WORTH_A_BATCH and choose is None:
                    pending = [await producer.send(topic, value, key=key.encode()) for topic, key, value in batch]
                    stored = await asyncio.gather(*pending)
                    return [Placement(record.partition, record.offset) for record in stored]
                return await _send_batches(producer, batch, choose or partition_of)
        except (KafkaError, TimeoutError, OSError):
            await self._discard(producer)
            raise

    async def send_raw(
        self, topic: str, value: bytes, key: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Sends bytes as they are (dead letters and their replay).

        Raises:
            KafkaError, TimeoutError: if it is not known to be stored.
        """
        producer = await self._started()
        try:
            async with asyncio.timeout(self._timeout):
                await producer.send_and_wait(topic, value, key=key, headers=list(headers))
        except (KafkaError, TimeoutError, OSError):
            await self._discard(producer)
            raise

    async def _discard(self, producer: AIOKafkaProducer) -> None:
        if self._producer is producer:
            self._producer = None
        await _close(producer)

    async def stop(self) -> None:
        """Sends what is pending and disconnects."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            await _close(producer)


async def _send_batches(
    producer: AIOKafkaProducer, batch: Sequence[Outgoing], choose: Callable[[str, int], int]
) -> list[Placement]:
    """Sends many messages as one record batch a partition, without a future and a round of the partitioner for each."""
    by_partition: dict[tuple[str, int], list[int]] = {}
    partitions: dict[str, int] = {}
    for place, (topic, key, _) in enumerate(batch):
        count = partitions.get(topic)
        if count is None:
            count = partitions[topic] = len(await producer.partitions_for(topic))
        by_partition.setdefault((topic, choose(key, count)), []).append(place)
    sent: list[tuple[list[int], int, asyncio.Future[Any]]] = []
    for (topic, partition), places in by_partition.items():
        remaining = places
        while remaining:
            builder = producer.create_batch()
            taken = 0
            for place in remaining:
                if builder.append(timestamp=None, key=batch[place].key.encode(), value=batch[place].value) is None:
                    break
                taken += 1
            builder.close()
            if not taken:
                raise MessageSizeTooLargeError(f"a message of {batch[remaining[0]].key} to {topic}")
            sent.append((remaining[:taken], partition, await producer.send_batch(builder, topic, partition=partition)))
            remaining = remaining[taken:]
    placements: list[Placement] = [Placement(0, 0)] * len(batch)
    for (places, partition, _), record in zip(
        sent, await asyncio.gather(*(future for *_, future in sent)), strict=True
    ):
        for index, place in enumerate(places):
            placements[place] = Placement(partition, record.offset + index)
    return placements


@lru_cache(maxsize=65_536)
def _hash(key: str) -> int:
    return int(murmur2(key.encode())) & 0x7FFFFFFF


def partition_of(key: str, partitions: int) -> int:
    """The partition that a key goes to: Kafka's own choice, so that Debezium's messages of a key join ours.

    A key comes again and again (an order has ten messages): the pure-Python hash is remembered.
    """
    return _hash(key) % partitions


def spread(key: str, partitions: int) -> int:
    """A partition by a checksum that costs next to nothing, for keys that nobody else's messages have to join."""
    return crc32(key.encode()) % partitions


async def _close(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    try:
        async with asyncio.timeout(3):
            await client.stop()
    except (KafkaError, TimeoutError, OSError) as error:
        log.warning("kafka.close_failed", client=type(client).__name__, error=repr(error))


@dataclass(frozen=True, slots=True)
class Received:
    """One message as it came: its envelope, its typed payload, and where it lay."""

    envelope: Envelope
    payload: Message
    topic: str
    partition: int
    offset: int


@dataclass(slots=True)
class Outcome:
    """What a batch led to: messages to send, and things to do once they are sent (caches, pub/sub)."""

    messages: list[Envelope] = field(default_factory=list)
    afterwards: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


Process = Callable[[Sequence[Received]], Awaitable[Outcome]]


class BatchHandler(Protocol):
    """Applies a batch inside one transaction that its caller commits."""

    async def __call__(self, session: WriteSession, batch: Sequence[Received]) -> Outcome:
        """Applies the batch and returns what follows from it."""
        ...


def in_transaction(database: Database, handler: BatchHandler) -> Process:
    """Runs a handler in one transaction for the whole batch, committed before anything is sent."""

    async def process(batch: Sequence[Received]) -> Outcome:
        async with database.write() as session:
            return await handler(session, batch)

    return process


class Reader:
    """What every consumer has: its connection as a member of a group, and the breath between two batches."""

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        subscribe: Sequence[str],
        breath: float,
        rush: int = _RUSH,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``breath`` is what follows a batch of ``rush`` messages or more; what follows a smaller one is shorter."""
        self.name = f"consumer:{group}"
        self._settings = settings
        self._group = group
        self._topics = list(subscribe)
        self._breath = breath
        self._rush = rush
        self.most_records = max(settings.batch_size, int(settings.batch_size * breath / BREATH))
        self._sleep = sleep
        self.ready = False

    @asynccontextmanager
    async def _connected(self, listener: ConsumerRebalanceListener | None = None) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap,
            client_id=f"{self._settings.instance}.{self._settings.process}",
            group_id=self._group,
            # a static member that was killed takes its partitions up again at once instead of after its session
            group_instance_id=f"{self._settings.instance}.{self._settings.process}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
            max_poll_interval_ms=900_000,
            fetch_max_wait_ms=500,
            max_partition_fetch_bytes=4 * 1024 * 1024,
            metadata_max_age_ms=60_000,
        )
        consumer.subscribe(self._topics, listener=listener)
        try:
            await consumer.start()
            log.info("consumer.started", group=self._group, topics=self._topics)
            yield consumer
        finally:
            self.ready = False
            await _close(consumer)

    async def _breathe(self, consumer: AIOKafkaConsumer, records: int) -> None:
        """Lets the next batch grow: the partitions are paused, since what is fetched meanwhile would stay small."""
        seconds = self._breath * min(1.0, records / self._rush)
        if seconds < _SHORTEST_BREATH:
            return
        paused = consumer.assignment()
        consumer.pause(*paused)
        try:
            await self._sleep(seconds)
        finally:
            consumer.resume(*(paused & consumer.assignment()))

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("consumer.rebalanced", group=self._group, error=repr(error))


class Consumer(Reader):
    """Takes batches of the types it handles; at-least-once.

    Commit policy: offsets are committed by hand after the batch was applied, its messages acknowledged by the broker
    and its ``afterwards`` done; anything earlier would lose work in a crash. A transient failure repeats the batch with
    bounded back-off, for ever. Any other failure isolates the message that causes it, tries it ``consumer_attempts``
    times, and sets it aside in the dead-letter topic with the error in its headers.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        group: str,
        subscribe: Sequence[str],
        handles: Sequence[type[Message]],
        process: Process,
        producer: EventProducer,
        breath: float = BREATH,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """A consumer of ``group``.

        Args:
            settings: the process's.
            group: its consumer group.
            subscribe: the topics that it reads.
            handles: the message types that it applies; others are passed over.
            process: applies a batch.
            producer: sends what follows, and what is set aside.
            breath: seconds that it waits after a large batch. Where nobody waits for the effect, a second or more makes
                tens of times fewer fetches and writes of a busy log.
            sleep: waits; tests replace it.

        Raises:
            ValueError: if there is nothing to read, or a type is handled whose topic is not read.
        """
        if not handles or not subscribe:
            raise ValueError(f"consumer {group!r} has nothing to read")
        missing = {registry.topic_of(cls) for cls in handles} - set(subscribe)
        if missing:
            raise ValueError(f"consumer {group!r} handles messages of {sorted(missing)} without reading them")
        super().__init__(settings, group=group, subscribe=subscribe, breath=breath, sleep=sleep)
        self._types = {registry.name_of(cls) for cls in handles}
        self._process = process
        self._producer = producer

    async def run(self) -> None:
        """Consumes until cancelled. Raises what it cannot handle; the caller starts it again."""
        async with self._connected() as consumer:
            self.ready = True
            while True:
                fetched = await consumer.getmany(timeout_ms=1000, max_records=self.most_records)
                records = [record for partition in fetched.values() for record in partition]
                if not records:
                    continue
                await self.apply(records)
                await self._commit(consumer, _next_offsets(fetched))
                await self._breathe(consumer, len(records))

    async def apply(self, records: Sequence[ConsumerRecord]) -> None:
        """Applies records: returns once all are, or are set aside."""
        started = time.perf_counter()
        batch: list[Received] = []
        for record in records:
            try:
                envelope = decode(record.value)
                if envelope.type not in self._types:
                    continue
                payload = registry.decode(envelope)
            except ENVELOPE_ERRORS as error:
                await self._set_aside(record, error)
                continue
            batch.append(Received(envelope, payload, record.topic, record.partition, record.offset))
        if not batch:
            return
        try:
            await self._finish(batch)
        except Exception as error:
            if is_transient(error):
                raise
            log.warning("consumer.isolating", group=self._group, messages=len(batch), exc_info=error)
            by_place = {(r.topic, r.partition, r.offset): r for r in records}
            for message in batch:
                await self._alone(message, by_place[message.topic, message.partition, message.offset])
        else:
            for message in batch:
                telemetry.MESSAGES.labels(self._group, message.envelope.type, "done").inc()
        telemetry.BATCH_SECONDS.labels(self._group).observe(time.perf_counter() - started)
        telemetry.BATCH_MESSAGES.labels(self._group).observe(len(batch))

    async def _finish(self, batch: Sequence[Received]) -> None:
        delay = 0.05
        while True:
            try:
                outcome = await self._process(batch)
                await self._producer.send(outcome.messages)
                for afterwards in outcome.afterwards:
                    await afterwards()
                return
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("consumer.waiting", group=self._group, seconds=delay, error=repr(error))
                await self._sleep(delay)
                delay = min(delay * 2, 2.0)

    async def _alone(self, message: Received, record: ConsumerRecord) -> None:
        for attempt in range(1, self._settings.consumer_attempts + 1):
            try:
                with telemetry.trace(message.envelope.correlationid, message.envelope.traceparent):
                    await self._finish([message])
            except Exception as error:
                if is_transient(error):
                    raise
                if attempt == self._settings.consumer_attempts:
                    await self._set_aside(record, error)
                    telemetry.MESSAGES.labels(self._group, message.envelope.type, "dead_letter").inc()
                    return
                await self._sleep(0.05 * 2**attempt)
            else:
                telemetry.MESSAGES.labels(self._group, message.envelope.type, "done").inc()
                return

    async def _set_aside(self, record: ConsumerRecord, error: Exception) -> None:
        log.error(
            "consumer.dead_letter",
            group=self._group,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            exc_info=error,
        )
        headers = [
            ("original_topic", record.topic.encode()),
            ("original_partition", str(record.partition).encode()),
            ("original_offset", str(record.offset).encode()),
            ("group", self._group.encode()),
            ("error", f"{type(error).__name__}: {error}"[:2000].encode()),
            ("failed_at", dt.datetime.now(dt.UTC).isoformat().encode()),
        ]
        await self._producer.send_raw(topics.DEAD_LETTERS, record.value or b"", record.key, headers)


def _next_offsets(fetched: dict[TopicPartition, list[ConsumerRecord]]) -> dict[TopicPartition, int]:
    return {partition: records[-1].offset + 1 for partition, records in fetched.items() if records}


async def wait_for_broker(bootstrap: str, *, seconds: float = 30.0) -> None:
    """Returns once a broker answers.

    Raises:
        TimeoutError: if none does in time.
    """
    host, _, port = bootstrap.rpartition(":")
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port))
                writer.close()
                return
            await asyncio.sleep(0.1)

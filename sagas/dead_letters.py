"""Messages that a consumer gave up on: list them, look at one, send it again to where it came from."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from contracts import topics
from kit.kafka import EventProducer
from kit.settings import Settings

_REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message set aside: where it lay, which group gave up on it, why, and its bytes. ``offset`` is its number."""

    offset: int
    topic: str
    partition: int
    original_offset: int
    group: str
    error: str
    failed_at: dt.datetime
    key: bytes | None
    value: bytes
    replayed: bool


def _parse(record: ConsumerRecord, replayed: set[int]) -> DeadLetter:
    headers = {name: value.decode() for name, value in record.headers}
    return DeadLetter(
        offset=record.offset,
        topic=headers["original_topic"],
        partition=int(headers["original_partition"]),
        original_offset=int(headers["original_offset"]),
        group=headers["group"],
        error=headers["error"],
        failed_at=dt.datetime.fromisoformat(headers["failed_at"]),
        key=record.key,
        value=record.value or b"",
        replayed=record.offset in replayed,
    )


@asynccontextmanager
async def _reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=settings.kafka_bootstrap, enable_auto_commit=False, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read_all(settings: Settings) -> list[DeadLetter]:
    """Every dead letter, oldest first; a replayed one is marked, not removed.

    Raises:
        KafkaError: if no broker answers.
    """
    partition = TopicPartition(topics.DEAD_LETTERS, 0)
    records: list[ConsumerRecord] = []
    async with _reader(settings) as consumer:
        consumer.assign([partition])
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for batch in (await consumer.getmany(timeout_ms=1000)).values():
                records += batch
    marks = {int(record.value) for record in records if _is_mark(record)}
    return [_parse(record, marks) for record in records if not _is_mark(record)]


def _is_mark(record: ConsumerRecord) -> bool:
    return any(name == _REPLAYED for name, _ in record.headers)


async def replay(producer: EventProducer, letter: DeadLetter) -> None:
    """Sends a dead letter to its own topic again, and notes that it was.

    Raises:
        KafkaError, TimeoutError: if the broker does not take it.
    """
    await producer.send_raw(letter.topic, letter.value, letter.key)
    await producer.send_raw(topics.DEAD_LETTERS, str(letter.offset).encode(), None, [(_REPLAYED, b"1")])

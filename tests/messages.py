"""What a run left in the broker, and ways to deliver it again."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from contracts import topics

TOPICS: Final = {topic.name: topic.partitions for topic in topics.TOPICS if topic.name != topics.DEAD_LETTERS}
PARTITIONS: Final = [TopicPartition(name, number) for name, count in TOPICS.items() for number in range(count)]
_AGAIN: Final = [("redelivered", b"1")]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as it lies in a topic."""

    topic: str
    key: bytes
    value: bytes


@asynccontextmanager
async def consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of everything, in no group."""
    client = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=4_194_304
    )
    await client.start()
    try:
        client.assign(PARTITIONS)
        yield client
    finally:
        await client.stop()


async def ends(bootstrap: str) -> dict[TopicPartition, int]:
    """Where each partition ends now."""
    async with consumer(bootstrap) as client:
        found: dict[TopicPartition, int] = await client.end_offsets(PARTITIONS)
        return found


async def between(
    bootstrap: str, first: dict[TopicPartition, int], last: dict[TopicPartition, int], keys: Iterable[str]
) -> list[Stored]:
    """The messages with these keys that were stored meanwhile."""
    wanted = {key.encode() for key in keys}
    stored: list[Stored] = []
    async with consumer(bootstrap) as client:
        for partition in PARTITIONS:
            client.seek(partition, first[partition])
        open_ = {partition for partition in PARTITIONS if first[partition] < last[partition]}
        while open_:
            for records in (await client.getmany(timeout_ms=500)).values():
                stored += [Stored(record.topic, record.key, record.value) for record in records if record.key in wanted]
            open_ = {partition for partition in open_ if await client.position(partition) < last[partition]}
    return stored


async def deliver(bootstrap: str, messages: Sequence[Stored], chance: random.Random) -> None:
    """Stores messages in the order given, each in whatever partition comes up."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_batch_size=262_144)
    await producer.start()
    try:
        for first in range(0, len(messages), 1_000):
            pending = [
                await producer.send(
                    message.topic,
                    message.value,
                    key=message.key,
                    partition=chance.randrange(TOPICS[message.topic]),
                    headers=_AGAIN,
                )
                for message in messages[first : first + 1_000]
            ]
            await asyncio.gather(*pending)
    finally:
        await producer.stop()


@asynccontextmanager
async def everything_again(bootstrap: str, keys: Iterable[str], chance: random.Random) -> AsyncIterator[None]:
    """While the block runs, each message with one of the keys is stored again, later, in another order and place."""
    wanted = {key.encode() for key in keys}
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_batch_size=262_144)
    await producer.start()
    late: set[asyncio.Task[None]] = set()

    async def again(message: Stored) -> None:
        await asyncio.sleep(chance.random() * 1.5)
        partition = chance.randrange(TOPICS[message.topic])
        await producer.send_and_wait(message.topic, message.value, key=message.key, partition=partition, headers=_AGAIN)

    async def relay(client: AIOKafkaConsumer) -> None:
        async for record in client:
            if record.key in wanted and not record.headers:
                task = asyncio.create_task(again(Stored(record.topic, record.key, record.value)))
                late.add(task)
                task.add_done_callback(late.discard)

    try:
        async with consumer(bootstrap) as client:
            await client.seek_to_end(*PARTITIONS)
            for partition in PARTITIONS:
                await client.position(partition)
            relaying = asyncio.create_task(relay(client))
            yield
            relaying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await relaying
            await asyncio.gather(*late)
    finally:
        await producer.stop()

"""The Kafka topics that changes pass through: buffers between source and sink, not archives."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from cdc.source import MARK_TOPIC

DEAD_LETTERS: Final = "cdc-dead-letters"

_SETTINGS: Final = {
    "cleanup.policy": "delete",
    # how long the warehouse may be away before it has to be copied anew
    "retention.ms": str(3 * 24 * 3600 * 1000),
    # the broker's clock alone: __emitted_at never runs backwards within a table
    "message.timestamp.type": "LogAppendTime",
}


class TopicError(Exception):
    """A topic could not be created."""


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administration client, closed at the end."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="surge.cdc", request_timeout_ms=10_000)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def reader(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, closed at the end."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="surge.cdc",
        enable_auto_commit=False,
        max_partition_fetch_bytes=8 * 2**20,
    )
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def ensure(bootstrap: str, names: Iterable[str], *, replication: int = 1) -> list[str]:
    """Creates the topics that are missing and returns their names.

    One partition each: the sink writes a table's changes in the order of the shop's log.

    Raises:
        TopicError: if Kafka refuses one.
    """
    wanted = [*names, MARK_TOPIC, DEAD_LETTERS]
    async with admin(bootstrap) as client:
        present = set(await client.list_topics())
        absent = [name for name in wanted if name not in present]
        if absent:
            answer = await client.create_topics(
                [NewTopic(name, 1, replication, topic_configs=_SETTINGS) for name in absent]
            )
            for name, code, *rest in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise TopicError(f"topic {name} could not be created: {for_code(code).__name__} {rest}")
    return absent


async def ends(consumer: AIOKafkaConsumer, names: Iterable[str]) -> dict[str, int]:
    """Topic → the offset that its next message will have."""
    found = await consumer.end_offsets([TopicPartition(name, 0) for name in names])
    return {partition.topic: offset for partition, offset in found.items()}


async def committed(bootstrap: str, group: str) -> dict[str, int]:
    """Topic → how far a group has committed; what it has not touched is missing."""
    async with admin(bootstrap) as client:
        offsets = await client.list_consumer_group_offsets(group)
    return {partition.topic: meta.offset for partition, meta in offsets.items() if meta.offset >= 0}

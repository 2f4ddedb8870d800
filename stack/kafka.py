"""Kafka's administration: topics as ``contracts.topics`` names them, and how far each consumer group is behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from contracts.topics import TOPICS, Topic
from stack.definitions import TOPIC_SETTINGS
from stack.errors import StackError

__all__ = ["GroupLag", "KafkaError", "admin", "ensure_topics", "group_lags"]


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """An administration client, closed at the end."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="surge.stack", request_timeout_ms=10_000)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


async def ensure_topics(bootstrap: str, *, replication: int = 1) -> str:
    """Creates the topics that are missing and adds partitions that are; never takes any away.

    Topics are created with ``replication`` copies, of which all but one must be in sync for a message to count.

    Raises:
        StackError: if a topic has more partitions than its definition: fewer would lose the order of a key's messages.
    """
    async with admin(bootstrap) as client:
        described = await client.describe_topics([topic.name for topic in TOPICS])
        present = {entry["topic"]: len(entry["partitions"]) for entry in described if not entry["error_code"]}
        absent = [topic for topic in TOPICS if topic.name not in present]
        if absent:
            settings = {**TOPIC_SETTINGS, "min.insync.replicas": str(max(1, replication - 1))}
            answer = await client.create_topics(
                [
                    NewTopic(topic.name, topic.partitions, replication, topic_configs={**settings, **_kept(topic)})
                    for topic in absent
                ]
            )
            for name, code, *rest in answer.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise StackError(f"topic {name} could not be created: {for_code(code).__name__} {rest}")
        grown = {
            topic.name: NewPartitions(topic.partitions)
            for topic in TOPICS
            if present.get(topic.name, topic.partitions) < topic.partitions
        }
        if grown:
            await client.create_partitions(grown)
        shrunk = [t.name for t in TOPICS if present.get(t.name, 0) > t.partitions]
        if shrunk:
            raise StackError(f"these topics have more partitions than contracts/topics.py says: {', '.join(shrunk)}")
    return f"{len(TOPICS)} topics" + (f", {len(absent)} created" if absent else "")


def _kept(topic: Topic) -> dict[str, str]:
    return {} if topic.days is None else {"retention.ms": str(topic.days * 86_400_000)}


@dataclass(frozen=True, slots=True)
class GroupLag:
    """How many messages a consumer group has not committed yet."""

    group: str
    lag: int
    topics: dict[str, int]


async def group_lags(bootstrap: str) -> list[GroupLag]:
    """The lag of every group that has committed offsets, without Connect's own."""
    async with admin(bootstrap) as client:
        names = sorted(group[0] for group in await client.list_consumer_groups() if group[1] in ("consumer", ""))
        committed = {name: await client.list_consumer_group_offsets(name) for name in names}
    partitions = {
        TopicPartition(partition.topic, partition.partition) for offsets in committed.values() for partition in offsets
    }
    if not partitions:
        return []
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, client_id="surge.stack", enable_auto_commit=False)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(partitions)
    finally:
        await consumer.stop()
    lags: list[GroupLag] = []
    for name, offsets in committed.items():
        topics: dict[str, int] = {}
        for partition, meta in offsets.items():
            behind = max(0, ends[TopicPartition(partition.topic, partition.partition)] - max(0, meta.offset))
            topics[partition.topic] = topics.get(partition.topic, 0) + behind
        if topics:
            lags.append(GroupLag(name, sum(topics.values()), topics))
    return lags

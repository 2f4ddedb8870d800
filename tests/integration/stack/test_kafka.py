"""Topics are as their table says, and lag is what is not committed."""

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError

from contracts.topics import TOPICS
from kit.ids import new_id
from kit.settings import Settings
from stack import kafka


async def test_every_topic_has_its_partitions(settings: Settings) -> None:
    async with kafka.admin(settings.kafka_bootstrap) as client:
        described = await client.describe_topics([topic.name for topic in TOPICS])

    assert {entry["topic"]: len(entry["partitions"]) for entry in described} == {
        topic.name: topic.partitions for topic in TOPICS
    }


async def test_creating_them_again_changes_nothing(settings: Settings) -> None:
    assert await kafka.ensure_topics(settings.kafka_bootstrap) == f"{len(TOPICS)} topics"


async def test_a_topic_is_never_made_by_accident(settings: Settings) -> None:
    name = f"mistyped-{new_id()}"
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, request_timeout_ms=2000)
    await producer.start()
    try:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait(name, b"lost")
    finally:
        await producer.stop()

    async with kafka.admin(settings.kafka_bootstrap) as client:
        assert name not in await client.list_topics()


@pytest.fixture
async def topic(settings: Settings) -> AsyncIterator[str]:
    name = f"lag-{new_id()}"
    async with kafka.admin(settings.kafka_bootstrap) as client:
        await client.create_topics([NewTopic(name, 1, 1)])
        yield name
        await client.delete_topics([name])


async def test_lag_is_what_a_group_has_not_committed(settings: Settings, topic: str) -> None:
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, group_id=topic, enable_auto_commit=False)
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await consumer.start()
    await producer.start()
    try:
        consumer.assign([partition])
        await consumer.commit({partition: 0})
        for _ in range(3):
            await producer.send_and_wait(topic, b"{}", partition=0)
        lags = {lag.group: lag for lag in await kafka.group_lags(settings.kafka_bootstrap)}
    finally:
        await producer.stop()
        await consumer.stop()

    assert lags[topic].lag == 3
    assert lags[topic].topics == {topic: 3}

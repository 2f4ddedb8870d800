"""Messages delivered again: those of the last seconds are stored a second time, where they lie."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from stack import kafka

_MARK: Final = "chaos-again"
"""The header of a message that was stored a second time, so that it is not stored a third."""


async def deliver_again(bootstrap: str, groups: Iterable[str], seconds: float) -> int:
    """Stores each message of the last seconds, in every topic that the groups read, once more in its partition.

    Raises:
        KafkaError, OSError: if the broker is away.

    Returns:
        how many messages that were.
    """
    async with kafka.admin(bootstrap) as client:
        committed = [await client.list_consumer_group_offsets(group) for group in groups]
    partitions = sorted({partition for offsets in committed for partition in offsets})
    if not partitions:
        return 0
    since = int((time.time() - seconds) * 1000)
    count = 0
    async with _consumer(bootstrap, partitions) as reader, _producer(bootstrap) as writer:
        starts = await reader.offsets_for_times(dict.fromkeys(partitions, since))
        ends = await reader.end_offsets(partitions)
        open_ = {partition: ends[partition] for partition, start in starts.items() if start is not None}
        reader.assign(list(open_))
        for partition in open_:
            reader.seek(partition, starts[partition].offset)
        while open_:
            for partition, records in (await reader.getmany(timeout_ms=500)).items():
                for record in records:
                    if record.offset < ends[partition] and not any(name == _MARK for name, _ in record.headers):
                        headers = [*record.headers, (_MARK, b"1")]
                        await writer.send(record.topic, record.value, record.key, partition.partition, headers=headers)
                        count += 1
            open_ = {p: end for p, end in open_.items() if await reader.position(p) < end}
        await writer.flush()
    return count


@asynccontextmanager
async def _consumer(bootstrap: str, partitions: list[TopicPartition]) -> AsyncIterator[AIOKafkaConsumer]:
    client = AIOKafkaConsumer(bootstrap_servers=bootstrap, client_id="surge.chaos", enable_auto_commit=False)
    await client.start()
    try:
        client.assign(partitions)
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def _producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    client = AIOKafkaProducer(bootstrap_servers=bootstrap, client_id="surge.chaos", acks="all", linger_ms=5)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()

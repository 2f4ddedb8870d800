"""How long a consumer breathes."""

from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from pydantic import SecretStr

from kit.kafka import Reader
from kit.settings import Settings

ASSIGNED = {TopicPartition("orders", 0), TopicPartition("orders", 1)}


class _Fetching:
    """A consumer's assignment, as far as a breath touches it."""

    def __init__(self) -> None:
        self.paused: set[TopicPartition] = set()

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(ASSIGNED)

    def pause(self, *partitions: TopicPartition) -> None:
        self.paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self.paused -= set(partitions)


@pytest.mark.parametrize(("records", "seconds"), [(0, []), (30, [0.3]), (300, [3.0]), (5_000, [3.0])])
async def test_a_breath_grows_with_the_batch_up_to_a_rush(records: int, seconds: list[float]) -> None:
    fetching = _Fetching()
    slept: list[float] = []

    async def sleep(delay: float) -> None:
        assert fetching.paused == ASSIGNED
        slept.append(delay)

    settings = Settings(
        database_url=SecretStr("postgresql+asyncpg://x"),
        redis_url=SecretStr("redis://x"),
        jwt_secret=SecretStr("x" * 32),
    )
    reader = Reader(settings, group="readers", subscribe=["orders"], breath=3.0, rush=300, sleep=sleep)

    await reader._breathe(cast(AIOKafkaConsumer, fetching), records)

    assert slept == pytest.approx(seconds)
    assert not fetching.paused

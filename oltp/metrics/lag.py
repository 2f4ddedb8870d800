"""How far every consumer group is behind."""

import asyncio
from typing import Final

from aiokafka import TopicPartition

from kit.offsets import ATTEMPT_SECONDS, OffsetClients
from kit.settings import Settings

_LIST_EVERY: Final = 30
"""Readings between two looks at which groups there are."""


class LagWatch:
    """Reads the lag of every group that has committed offsets, over connections that it keeps."""

    def __init__(self, settings: Settings) -> None:
        self._clients = OffsetClients(settings, "lag")
        self._coordinators: dict[str, int] = {}
        self._readings = 0

    async def read(self) -> dict[str, int]:
        """Messages that each group has not committed yet.

        Raises:
            KafkaError, TimeoutError, OSError: if Kafka is away; the next reading connects anew.
        """
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                return await self._read()
        except BaseException:
            await self.close()
            raise

    async def _read(self) -> dict[str, int]:
        consumer, admin = await self._clients.connected()
        if self._readings % _LIST_EVERY == 0:
            listed = [group for group, kind, *_ in await admin.list_consumer_groups() if kind in ("consumer", "")]
            for group in set(listed) - self._coordinators.keys():
                self._coordinators[group] = await admin.find_coordinator(group)
        self._readings += 1
        groups = list(self._coordinators)
        answers = await asyncio.gather(
            *(admin.list_consumer_group_offsets(group, self._coordinators[group]) for group in groups)
        )
        committed = dict(zip(groups, answers, strict=True))
        partitions: set[TopicPartition] = {partition for offsets in answers for partition in offsets}
        ends = await consumer.end_offsets(partitions) if partitions else {}
        return {
            group: sum(max(0, ends[partition] - max(0, meta.offset)) for partition, meta in offsets.items())
            for group, offsets in committed.items()
            if offsets
        }

    async def close(self) -> None:
        """Disconnects; whoever reads again connects again."""
        self._coordinators.clear()
        self._readings = 0
        await self._clients.close()

"""How far every consumer group is behind."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from kit.settings import Settings

log = structlog.get_logger()

_ATTEMPT_SECONDS: Final = 3.0
_LIST_EVERY: Final = 30
"""Readings between two looks at which groups there are."""


class LagWatch:
    """Reads the lag of every group that has committed offsets, over connections that it keeps."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clients: AsyncExitStack | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._admin: AIOKafkaAdminClient | None = None
        self._coordinators: dict[str, int] = {}
        self._readings = 0

    async def read(self) -> dict[str, int]:
        """Messages that each group has not committed yet.

        Raises:
            KafkaError, TimeoutError, OSError: if Kafka is away; the next reading connects anew.
        """
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                return await self._read()
        except BaseException:
            await self.close()
            raise

    async def _read(self) -> dict[str, int]:
        consumer, admin = await self._connected()
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

    async def _connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        if self._consumer is None or self._admin is None:
            client_id = f"{self._settings.instance}.{self._settings.process}.lag"
            async with AsyncExitStack() as stack:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._settings.kafka_bootstrap,
                    client_id=client_id,
                    enable_auto_commit=False,
                    metadata_max_age_ms=60_000,
                )
                stack.push_async_callback(consumer.stop)
                await consumer.start()
                admin = AIOKafkaAdminClient(
                    bootstrap_servers=self._settings.kafka_bootstrap,
                    client_id=client_id,
                    request_timeout_ms=int(_ATTEMPT_SECONDS * 1000),
                )
                stack.push_async_callback(admin.close)
                await admin.start()
                self._clients = stack.pop_all()
            self._consumer, self._admin = consumer, admin
        return self._consumer, self._admin

    async def close(self) -> None:
        """Disconnects; whoever reads again connects again."""
        clients, self._clients = self._clients, None
        self._consumer = self._admin = None
        self._coordinators.clear()
        self._readings = 0
        if clients is not None:
            try:
                async with asyncio.timeout(_ATTEMPT_SECONDS):
                    await clients.aclose()
            except (KafkaError, TimeoutError, OSError) as error:
                log.warning("lag.close_failed", error=repr(error))

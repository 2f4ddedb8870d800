"""The two clients that it takes to hold the log's ends against what consumer groups have committed."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from kit.settings import Settings

log = structlog.get_logger()

ATTEMPT_SECONDS: Final = 3.0
"""How long one look may take, connecting included."""


class OffsetClients:
    """A consumer of no group and an admin client, kept from look to look; ``purpose`` names them to the broker."""

    def __init__(self, settings: Settings, purpose: str) -> None:
        self._bootstrap = settings.kafka_bootstrap
        self._client_id = f"{settings.instance}.{settings.process}.{purpose}"
        self._open: AsyncExitStack | None = None
        self._clients: tuple[AIOKafkaConsumer, AIOKafkaAdminClient] | None = None

    async def connected(self) -> tuple[AIOKafkaConsumer, AIOKafkaAdminClient]:
        """Both clients, connected now if they were not.

        Raises:
            KafkaError, OSError: if Kafka is away.
        """
        if self._clients is None:
            async with AsyncExitStack() as stack:
                consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._client_id,
                    enable_auto_commit=False,
                    metadata_max_age_ms=60_000,
                )
                stack.push_async_callback(consumer.stop)
                await consumer.start()
                admin = AIOKafkaAdminClient(
                    bootstrap_servers=self._bootstrap,
                    client_id=self._client_id,
                    request_timeout_ms=int(ATTEMPT_SECONDS * 1000),
                )
                stack.push_async_callback(admin.close)
                await admin.start()
                self._open = stack.pop_all()
            self._clients = consumer, admin
        return self._clients

    async def close(self) -> None:
        """Disconnects; whoever asks for them again connects again."""
        opened, self._open, self._clients = self._open, None, None
        if opened is not None:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    await opened.aclose()
            except (KafkaError, TimeoutError, OSError) as error:
                log.warning("offsets.close_failed", client=self._client_id, error=repr(error))

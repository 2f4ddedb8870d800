"""The order log as a queue: how many messages the saga still has before an order's own."""

import asyncio
import contextlib
from typing import Final

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, for_code
from aiokafka.partitioner import murmur2

from contracts.topics import ORDER_EVENTS
from kit.kafka import Placement
from kit.offsets import ATTEMPT_SECONDS, OffsetClients
from oltp.gateway.settings import GatewaySettings

log = structlog.get_logger()

_BUSY_SECONDS: Final = 0.2
_IDLE_SECONDS: Final = 2.0


def partition_of(key: str, partitions: int) -> int:
    """The partition that the producer's default partitioner gives a key."""
    return int(murmur2(key.encode()) & 0x7FFFFFFF) % partitions


class OrderLog:
    """Follows the log's ends and the saga's committed offsets, every 200 ms while somebody asks.

    What it says is an estimate of up to that age.
    """

    name = "order-log"

    def __init__(self, settings: GatewaySettings) -> None:
        self.ready = True
        self._settings = settings
        self._ends: list[int] = []
        self._committed: list[int] = []
        self._fresh = False
        self._asked = asyncio.Event()
        self._clients = OffsetClients(settings, "order-log")
        self._coordinator: int | None = None
        self._partitions = 0
        self._lock = asyncio.Lock()

    def backlog(self, key: str) -> int:
        """How many messages are ahead of one that is produced now under a key; 0 as long as nothing is known."""
        self._asked.set()
        if not self._ends:
            return 0
        partition = partition_of(key, len(self._ends))
        return max(0, self._ends[partition] - self._committed[partition])

    def lag(self) -> int | None:
        """How many messages the saga has before it altogether; None if that is not known."""
        self._asked.set()
        if not self._fresh:
            return None
        return sum(max(0, end - done) for end, done in zip(self._ends, self._committed, strict=True))

    def produced(self, place: Placement) -> None:
        """Tells of an own message, so that the next one queues up behind it."""
        if place.partition < len(self._ends):
            self._ends[place.partition] = max(self._ends[place.partition], place.offset + 1)

    def position(self, partition: int, offset: int) -> int | None:
        """How many messages the saga still has before the one at ``offset``; None if that is not known."""
        self._asked.set()
        if not self._fresh or partition >= len(self._committed):
            return None
        return max(0, offset - self._committed[partition])

    async def run(self) -> None:
        """Keeps the figures fresh until cancelled."""
        try:
            while True:
                try:
                    await self.refresh()
                except (KafkaError, TimeoutError, OSError) as error:
                    if self._fresh:
                        log.warning("order_log.away", error=repr(error))
                    self._fresh = False
                await asyncio.sleep(_BUSY_SECONDS)
                if not self._asked.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._asked.wait(), _IDLE_SECONDS)
                self._asked.clear()
        finally:
            await self.close()

    async def refresh(self) -> tuple[list[int], list[int]]:
        """Reads the partitions' end offsets and the saga's committed ones, as they stand now.

        Raises:
            KafkaError, TimeoutError, OSError: if Kafka is away.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(ATTEMPT_SECONDS):
                    ends, committed = await self._read()
            except BaseException:
                await self.close()
                raise
        self._ends, self._committed = list(ends), list(committed)
        self._fresh = True
        return ends, committed

    async def _read(self) -> tuple[list[int], list[int]]:
        consumer, admin = await self._clients.connected()
        if self._coordinator is None:
            [topic] = await admin.describe_topics([ORDER_EVENTS])
            if topic["error_code"]:
                raise for_code(topic["error_code"])(f"topic {ORDER_EVENTS}")
            self._partitions = len(topic["partitions"])
            self._coordinator = await admin.find_coordinator(self._settings.saga_group)
        partitions = [TopicPartition(ORDER_EVENTS, n) for n in range(self._partitions)]
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(self._settings.saga_group, self._coordinator, partitions)
        return [ends[p] for p in partitions], [max(0, committed[p].offset) for p in partitions]

    async def close(self) -> None:
        """Disconnects; whoever asks again connects again."""
        self._coordinator = None
        await self._clients.close()

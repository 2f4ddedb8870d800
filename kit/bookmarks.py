"""Consumers whose place in the log is kept in the store that they write to."""

import asyncio
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition

from kit.kafka import Reader

log = structlog.get_logger()

CHECK_SECONDS: Final = 2.0

Move = tuple[int | None, int]
"""A partition's stored offset as it was left (None: there was none), and the next one."""


class OffsetsMoved(RuntimeError):
    """The store's offsets are not what its consumer left them at: somebody else writes, or it went back in time."""


class BookmarkedConsumer(Reader):
    """A consumer that reads from where its store says, whatever Kafka remembers (which is told too: the lag shows).

    It moves the stored offsets only from where it left them, and looks at them every two seconds: a store that was
    restored, or lost its last writes in a crash, or was emptied, is filled again from where it is.
    """

    _left: dict[TopicPartition, int | None]

    @abstractmethod
    async def bookmarks(self, names: Iterable[str]) -> Mapping[str, int]:
        """The stored offsets of those partitions (``topic:number``) that have one."""

    @abstractmethod
    async def take(self, records: Sequence[ConsumerRecord], moves: Mapping[str, Move]) -> None:
        """Applies records and moves the stored offsets.

        Raises:
            OffsetsMoved: if they are not what they were left at; they, at least, were not moved.
        """

    def forget(self) -> None:
        """The store may not hold what was written to it: nothing that is remembered of it can be relied on."""

    async def first_offsets(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Where to begin without a stored offset: where the log does."""
        return dict(await consumer.beginning_offsets(partitions))

    async def run(self) -> None:
        """Consumes until cancelled. Raises when the store or the broker is away; the caller starts it again."""
        self._left = {}
        self.forget()
        async with self._connected(_Reassigned(self._left)) as consumer:
            await self._consume(consumer)

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        loop = asyncio.get_running_loop()
        checked = loop.time()
        while True:
            await self._place(consumer)
            self.ready = True
            fetched = await consumer.getmany(timeout_ms=500, max_records=self.most_records)
            await self._take({tp: records for tp, records in fetched.items() if records and tp in self._left}, consumer)
            await self._breathe(consumer, sum(map(len, fetched.values())))
            if loop.time() - checked >= CHECK_SECONDS:
                await self._check()
                checked = loop.time()

    async def _place(self, consumer: AIOKafkaConsumer) -> None:
        unplaced = sorted(tp for tp in consumer.assignment() if tp not in self._left)
        if not unplaced:
            return
        stored = await self.bookmarks([_name(tp) for tp in unplaced])
        unknown = [tp for tp in unplaced if _name(tp) not in stored]
        first = await self.first_offsets(consumer, unknown) if unknown else {}
        for tp in set(unplaced) & consumer.assignment():
            offset = stored.get(_name(tp))
            consumer.seek(tp, first[tp] if offset is None else offset)
            self._left[tp] = offset
        log.info("consumer.placed", group=self._group, offsets={_name(tp): self._left.get(tp) for tp in unplaced})

    async def _take(
        self, fetched: Mapping[TopicPartition, Sequence[ConsumerRecord]], consumer: AIOKafkaConsumer
    ) -> None:
        if not fetched:
            return
        following = {tp: records[-1].offset + 1 for tp, records in fetched.items()}
        moves = {_name(tp): (self._left[tp], offset) for tp, offset in following.items()}
        try:
            await self.take([record for records in fetched.values() for record in records], moves)
        except OffsetsMoved as error:
            self._go_back(error)
            return
        self._left.update({tp: offset for tp, offset in following.items() if tp in self._left})
        await self._commit(consumer, following)

    async def _check(self) -> None:
        stored = await self.bookmarks([_name(tp) for tp in self._left])
        if any(stored.get(_name(tp)) != offset for tp, offset in self._left.items()):
            self._go_back(OffsetsMoved("the stored offsets are not what they were left at"))

    def _go_back(self, error: OffsetsMoved) -> None:
        log.warning("consumer.offsets_moved", group=self._group, error=str(error))
        self._left.clear()
        self.forget()


def _name(partition: TopicPartition) -> str:
    return f"{partition.topic}:{partition.partition}"


class _Reassigned(ConsumerRebalanceListener):  # type: ignore[misc]
    """Whatever is given or taken has to be placed anew before it is read."""

    def __init__(self, left: dict[TopicPartition, int | None]) -> None:
        self._left = left

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        for tp in revoked:
            self._left.pop(tp, None)

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        for tp in assigned:
            self._left.pop(tp, None)

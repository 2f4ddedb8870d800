"""Reads the log into the windows."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from prometheus_client import Counter

from contracts import topics
from contracts.storefront import StorefrontKind
from kit.bookmarks import BookmarkedConsumer, Move
from kit.clock import Clock
from kit.kafka import BREATH
from kit.settings import Settings
from oltp.metrics.domain import DEAD_LETTERS, OF_ORDER, OF_VISIT, RETENTION_SECONDS, Fact, Tidings, identity, place
from oltp.metrics.store import LiveStore

log = structlog.get_logger()

GROUP: Final = "live-metrics"
READS: Final = (topics.ORDER_EVENTS, topics.STOREFRONT_EVENTS, topics.DEAD_LETTERS)

MOST_RECORDS: Final = 10_000
AT_ONCE: Final = 500
"""Records that one script takes: about a millisecond in which Redis serves nobody else."""

UNREADABLE = Counter("surge_live_unreadable_total", "Messages that the live metrics could not read.", ["topic"])


class _Envelope(msgspec.Struct):
    """What is needed of an envelope."""

    id: str
    type: str
    data: msgspec.Raw


class _Created(msgspec.Struct):
    total_amount: int
    created_at: dt.datetime


class _Moved(msgspec.Struct):
    total_amount: int
    occurred_at: dt.datetime
    reason: str = ""


class _Visited(msgspec.Struct):
    event_id: str
    kind: StorefrontKind
    session_id: str
    occurred_at: dt.datetime
    user_id: str | None = None
    results: int | None = None


_envelope: Final = msgspec.json.Decoder(_Envelope)
_created: Final = msgspec.json.Decoder(_Created)
_moved: Final = msgspec.json.Decoder(_Moved)
_visited: Final = msgspec.json.Decoder(_Visited)
_CREATED: Final = "order.created"


def _order(record: ConsumerRecord, tidings: Tidings, now: int) -> None:
    envelope = _envelope.decode(record.value)
    name = OF_ORDER.get(envelope.type)
    if name is None:
        return
    if envelope.type == _CREATED:
        created = _created.decode(envelope.data)
        at, amount = created.created_at, created.total_amount
    else:
        moved = _moved.decode(envelope.data)
        at, amount = moved.occurred_at, moved.total_amount
        if moved.reason and envelope.type == "order.cancelled":
            name = f"{name}:{moved.reason}"
    tidings.add(Fact(identity(envelope.id), int(at.timestamp()), name, amount), now)


def _visit(record: ConsumerRecord, tidings: Tidings, now: int) -> None:
    visited = _visited.decode(record.value)
    at = visited.occurred_at.timestamp()
    tidings.add(Fact(identity(visited.event_id), int(at), OF_VISIT[visited.kind]), now)
    tidings.visit(visited.kind, visited.session_id, visited.user_id, int(at * 1000), visited.results)


def _dead_letter(record: ConsumerRecord, tidings: Tidings, now: int) -> None:
    tidings.add(Fact(place(record.partition, record.offset), record.timestamp // 1000, DEAD_LETTERS), now)


_TAKE: Final[Mapping[str, Callable[[ConsumerRecord, Tidings, int], None]]] = {
    topics.ORDER_EVENTS: _order,
    topics.STOREFRONT_EVENTS: _visit,
    topics.DEAD_LETTERS: _dead_letter,
}


def tidings_of(records: Iterable[ConsumerRecord], now: int) -> Tidings:
    """What records say. One that can't be read is counted and passed over: a metric is not worth a stop."""
    tidings = Tidings()
    for record in records:
        try:
            _TAKE[record.topic](record, tidings, now)
        except ValueError as error:
            UNREADABLE.labels(record.topic).inc()
            log.warning("live.unreadable", topic=record.topic, offset=record.offset, error=str(error))
    return tidings


class LiveConsumer(BookmarkedConsumer):
    """Counts what the log says. Its place in the log lies with the counts, so nothing is counted twice.

    Without a stored place it begins a day back, which is all that is kept: an empty Redis is filled again.
    """

    def __init__(self, settings: Settings, *, store: LiveStore, clock: Clock) -> None:
        super().__init__(settings, group=GROUP, subscribe=READS, breath=BREATH)
        self.most_records = MOST_RECORDS
        self._store = store
        self._clock = clock

    def read_in(self, group: str) -> None:
        """Reads in another group: one of which Kafka knows nothing, for a second set of windows."""
        self._group = group

    async def bookmarks(self, names: Iterable[str]) -> Mapping[str, int]:
        """The stored offsets of partitions."""
        return await self._store.bookmarks(names)

    async def first_offsets(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        """Where the log was when the oldest window began that is kept."""
        since = int((self._clock.now().timestamp() - RETENTION_SECONDS) * 1000)
        # the ends first: what an empty partition is given between the two looks must lie behind them
        ends = await consumer.end_offsets(partitions)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, since))
        log.info("live.filling", partitions=len(partitions))
        return {tp: found[tp].offset if found.get(tp) is not None else ends[tp] for tp in partitions}

    async def take(self, records: Sequence[ConsumerRecord], moves: Mapping[str, Move]) -> None:
        """Adds the records to the windows, some hundreds at a time, each time with its place in the log."""
        left = {name: before for name, (before, _) in moves.items()}
        for start in range(0, len(records), AT_ONCE):
            some = records[start : start + AT_ONCE]
            now = int(self._clock.now().timestamp())
            ends = {f"{record.topic}:{record.partition}": record.offset + 1 for record in some}
            began = time.perf_counter()
            await self._store.apply(tidings_of(some, now), {name: (left[name], ends[name]) for name in ends}, now)
            left.update(ends)
            if start + AT_ONCE < len(records):
                # with much to catch up on, Redis and this core belong to the orders half of the time
                await asyncio.sleep(time.perf_counter() - began)

"""What a process holds open, from its start to its end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from redis.asyncio import Redis

from kit import db
from kit import redis as kit_redis
from kit.clock import Clock, SkewedClock, SystemClock
from kit.db import Database
from kit.kafka import EventProducer
from kit.settings import Settings
from kit.shared_redis import SharedRedis


@dataclass(frozen=True, slots=True)
class Resources:
    """Connections and the clock; all connect on first use, so a server that is away delays nothing but itself.

    ``shared_redis`` is for what every request asks, ``redis`` for everything else.
    """

    settings: Settings
    database: Database
    redis: Redis
    shared_redis: SharedRedis
    producer: EventProducer
    clock: Clock


@asynccontextmanager
async def open_resources(settings: Settings, *, producer_timeout: float = 10.0) -> AsyncIterator[Resources]:
    """Opens a process's resources and closes them afterwards."""
    resources = Resources(
        settings=settings,
        database=db.from_settings(settings),
        redis=kit_redis.connect(settings),
        shared_redis=SharedRedis(settings),
        producer=EventProducer(settings, timeout=producer_timeout),
        clock=SkewedClock(settings.clock_offset_file) if settings.clock_offset_file else SystemClock(),
    )
    try:
        yield resources
    finally:
        await resources.producer.stop()
        resources.shared_redis.close()
        await resources.redis.aclose()
        await resources.database.close()

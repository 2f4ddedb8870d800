"""Reads live metrics: for the API, ``surge live`` and the real-time monitor. Writes nothing.

``LiveReader`` is for asyncio. A program without it, such as a Streamlit page, uses :func:`read` with a synchronous
client of Redis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis as sync_redis
from redis.asyncio import Redis

from oltp.metrics.domain import Point, Window, point
from oltp.metrics.store import PROGRESS, window_key

MOST_POINTS: Final = 1440


@dataclass(frozen=True, slots=True)
class Progress:
    """How the counting goes: since Redis was last empty, what was counted, and what was not.

    ``repeated``: events that had been counted before; ``late``: counted more than two seconds after their second;
    ``out_of_range``: older than what is kept, or of the future. ``counted_at`` is Unix time, 0: never.
    """

    counted: int = 0
    repeated: int = 0
    late: int = 0
    out_of_range: int = 0
    counted_at: int = 0
    sampled_at: int = 0

    @classmethod
    def of(cls, stored: Mapping[str, str]) -> "Progress":
        """As Redis holds it."""
        return cls(**{name: int(stored.get(name, 0)) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class Live:
    """Consecutive windows, the oldest first; the last one is the window that ``at`` (Unix time) lies in."""

    at: int
    window: Window
    points: tuple[Point, ...]
    progress: Progress


def _plan(window: Window, count: int, now: int) -> list[int]:
    if not 1 <= count <= MOST_POINTS:
        raise ValueError(f"1 to {MOST_POINTS} windows can be read at once, not {count}")
    last = window.start(now)
    return [last - int(window) * n for n in range(count - 1, -1, -1)]


def _live(window: Window, starts: Sequence[int], now: int, found: Sequence[Any]) -> Live:
    *windows, progress = found
    points = (point(start, window, stored) for start, stored in zip(starts, windows, strict=True))
    return Live(now, window, tuple(points), Progress.of(progress))


class LiveReader:
    """Reads the windows."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def read(self, window: Window, count: int, now: int) -> Live:
        """The last ``count`` windows up to the one that ``now`` (Unix time) lies in.

        Raises:
            ValueError: if there are more than :data:`MOST_POINTS`.
            redis.exceptions.RedisError: if Redis is away.
        """
        starts = _plan(window, count, now)
        async with self._redis.pipeline(transaction=False) as pipeline:
            for start in starts:
                pipeline.hgetall(window_key(window, start))
            pipeline.hgetall(PROGRESS)
            return _live(window, starts, now, await pipeline.execute())


def read(redis: "sync_redis.Redis", window: Window, count: int, now: int) -> Live:
    """The same without asyncio; the client has to decode its answers (``decode_responses=True``)."""
    starts = _plan(window, count, now)
    with redis.pipeline(transaction=False) as pipeline:
        for start in starts:
            pipeline.hgetall(window_key(window, start))
        pipeline.hgetall(PROGRESS)
        return _live(window, starts, now, pipeline.execute())

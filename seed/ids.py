"""Deterministic UUIDv7s in bulk."""

import uuid
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from asyncpg.pgproto import pgproto

_UUID: Final[Callable[[bytes], uuid.UUID]] = pgproto.UUID
"""asyncpg's own subclass, which it sends five times as fast."""


def uuid7s(moments_ms: npt.NDArray[np.int64], generator: np.random.Generator) -> list[uuid.UUID]:
    """UUIDv7s (RFC 9562) of moments in Unix milliseconds, their random bits drawn from a generator."""
    count = len(moments_ms)
    high = moments_ms.astype(np.uint64) << np.uint64(16)
    high |= np.uint64(0x7000) | generator.integers(0, 1 << 12, count, dtype=np.uint64)
    low = generator.integers(0, 1 << 62, count, dtype=np.uint64) | np.uint64(1 << 63)
    words = np.empty((count, 2), dtype=">u8")
    words[:, 0], words[:, 1] = high, low
    data = words.tobytes()
    return [_UUID(data[at : at + 16]) for at in range(0, 16 * count, 16)]


def item_ids(parent: uuid.UUID, count: int) -> list[uuid.UUID]:
    """UUIDv7s of a thing's parts: the parent's time and random bits, counted on at the end."""
    return [part_id(parent, part) for part in range(1, count + 1)]


def part_id(parent: uuid.UUID, part: int) -> uuid.UUID:
    """The id of one of a thing's parts; ``part`` counts from 1."""
    return _UUID((parent.int ^ part).to_bytes(16))

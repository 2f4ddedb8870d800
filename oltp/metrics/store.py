"""The windows in Redis: every command on them is here.

The layout, which readers may rely on (``docs/live-metrics.md``):

* ``live:{seconds}:{start}``: HASH, one window; fields as :class:`oltp.metrics.domain.Point` names them, parts of one
  after a colon (``cancelled:payment_failed``). Kept for a day after the window's end.
* ``live:offsets``: HASH partition → next offset; moved in the script that adds what was read, or not at all.
* ``live:progress``: HASH of what was counted, repeated, late and out of range since Redis was last empty.
* ``live:seen:{o or v}:{minute}``: SET of the ids that were counted, by the minute of their event.
* ``live:carts``, ``live:checkouts`` and ``…:closed``: ZSET of who has one open, and when it was last closed (ms).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, Final

import msgspec
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from kit.bookmarks import Move, OffsetsMoved
from oltp.metrics.domain import (
    AMOUNTS,
    CART_IDLE_SECONDS,
    CHECKOUT_IDLE_SECONDS,
    LATE_SECONDS,
    RETENTION_SECONDS,
    VISIT_FIELDS,
    Fact,
    Tidings,
    Touch,
    Window,
)

PREFIX: Final = "live:"
OFFSETS: Final = f"{PREFIX}offsets"
PROGRESS: Final = f"{PREFIX}progress"
CARTS: Final = f"{PREFIX}carts"
CHECKOUTS: Final = f"{PREFIX}checkouts"

VISIT_IDS_SECONDS: Final = 900
"""For how long visitors' events are known again. An order's are for a day: its saga may send them again after hours."""


def window_key(window: Window, start: int) -> str:
    """The key of a window."""
    return f"{PREFIX}{int(window)}:{start}"


class _Script:
    """A Lua script of this package, sent by its hash."""

    def __init__(self, name: str) -> None:
        self._source = resources.files("oltp.metrics").joinpath("lua", f"{name}.lua").read_text()
        self._sha = hashlib.sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, redis: Redis, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        try:
            return await redis.evalsha(self._sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await redis.eval(self._source, len(keys), *keys, *arguments)


_APPLY: Final = _Script("apply")
_SAMPLE: Final = _Script("sample")
_COUNT: Final = _Script("count")


class LiveStore:
    """Keeps the windows."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def bookmarks(self, names: Iterable[str]) -> dict[str, int]:
        """The stored offsets of those partitions that have one."""
        wanted = list(names)
        if not wanted:
            return {}
        stored = await self._redis.hmget(OFFSETS, wanted)
        return {name: int(value) for name, value in zip(wanted, stored, strict=True) if value is not None}

    async def apply(self, tidings: Tidings, moves: Mapping[str, Move], now: int) -> None:
        """Adds what a batch says and moves the offsets, in one step.

        Raises:
            OffsetsMoved: if the offsets are not what they were left at; nothing was added.
        """
        groups, ids = _groups(tidings.facts)
        told = {
            "moves": [
                [name, "" if left is None else str(left), str(following)] for name, (left, following) in moves.items()
            ],
            "now": now,
            "groups": groups,
            "carts": _touches(tidings.carts),
            "checkouts": _touches(tidings.checkouts),
            "out_of_range": tidings.out_of_range,
        }
        keys = [OFFSETS, PROGRESS, CARTS, f"{CARTS}:closed", CHECKOUTS, f"{CHECKOUTS}:closed"]
        arguments = [ids, PREFIX, RETENTION_SECONDS, LATE_SECONDS, VISIT_IDS_SECONDS, msgspec.msgpack.encode(told)]
        if not await _APPLY(self._redis, keys, arguments):
            raise OffsetsMoved(f"offsets of {sorted(moves)} are not what they were left at")

    async def sample(self, gauges: Mapping[str, int], second: int) -> None:
        """Puts what was just looked at into the windows of a second."""
        if gauges:
            pairs = [part for gauge in gauges.items() for part in gauge]
            await _SAMPLE(self._redis, [PROGRESS], [PREFIX, RETENTION_SECONDS, second, *pairs])

    async def count(self, increments: Mapping[str, int], second: int) -> None:
        """Adds to the windows of a second what no message tells of, such as answers with an error."""
        if increments:
            pairs = [part for increment in increments.items() for part in increment]
            await _COUNT(self._redis, [], [PREFIX, RETENTION_SECONDS, second, *pairs])

    async def open_now(self, now_ms: int) -> tuple[int, int]:
        """How many carts and checkouts are open; those without a sign for too long are forgotten."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key, idle in ((CARTS, CART_IDLE_SECONDS), (CHECKOUTS, CHECKOUT_IDLE_SECONDS)):
                given_up = now_ms - idle * 1000
                pipeline.zremrangebyscore(key, "-inf", given_up)
                # what was opened before a closing that is forgotten is given up itself
                pipeline.zremrangebyscore(f"{key}:closed", "-inf", given_up)
                pipeline.zcount(key, given_up, "+inf")
            _, _, carts, _, _, checkouts = await pipeline.execute()
        return carts, checkouts


def _groups(facts: Iterable[Fact]) -> tuple[list[list[Any]], bytes]:
    by_field: dict[tuple[int, str], tuple[list[bytes], list[int]]] = {}
    for fact in facts:
        ids, amounts = by_field.setdefault((fact.second, fact.name), ([], []))
        ids.append(fact.id)
        amounts.append(fact.amount)
    groups: list[list[Any]] = []
    all_ids: list[bytes] = []
    for (second, name), (ids, amounts) in by_field.items():
        whole = name.partition(":")[0]
        worth = AMOUNTS.get(whole, "")
        kept = "v" if whole in VISIT_FIELDS else "o"
        groups.append([kept, second, name, whole, worth, len(ids), amounts if worth else []])
        all_ids += ids
    return groups, b"".join(all_ids)


def _touches(touches: Mapping[str, Touch]) -> list[list[Any]]:
    return [[who, touch.opened, touch.closed] for who, touch in touches.items()]

"""Limits on logins and registrations: a sliding window in Redis, approximated by two counters a key."""

import hashlib
import math
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

_ADMIT: Final = """
local now = redis.call('TIME')
local span = tonumber(ARGV[2]) * 1000
local limit = tonumber(ARGV[1])
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local window = math.floor(ms / span)
local into = (ms % span) / span
local state = redis.call('HMGET', KEYS[1], 'window', 'count', 'previous')
local last, count, previous = tonumber(state[1]), tonumber(state[2]) or 0, tonumber(state[3]) or 0
if last == window - 1 then
    previous, count = count, 0
elseif last ~= window then
    previous, count = 0, 0
end
if previous * (1 - into) + count + 1 > limit then
    local wait
    if count + 1 > limit then
        wait = (1 - into) + math.max(0, 1 - (limit - 1) / count)
    else
        wait = (1 - (limit - 1 - count) / previous) - into
    end
    return math.max(1, math.ceil(wait * span))
end
redis.call('HSET', KEYS[1], 'window', string.format('%d', window), 'count', count + 1, 'previous', previous)
redis.call('PEXPIRE', KEYS[1], span * 2)
return 0
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``most`` in any ``seconds``, counted under ``name``."""

    name: str
    most: int
    seconds: int


class Limiter:
    """Counts attempts. An attempt counts when it is admitted, before its outcome is known: parallel ones count too."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._admit = redis.register_script(_ADMIT)

    async def admit(self, limit: Limit, subject: str) -> int:
        """Counts one attempt of ``subject``: 0 if it may go on, else the seconds after which one may again."""
        wait = int(await self._admit(keys=[_key(limit, subject)], args=[limit.most, limit.seconds]))
        return math.ceil(wait / 1000)

    async def forgive(self, limit: Limit, subject: str) -> None:
        """Forgets the attempts of ``subject``."""
        await self._redis.delete(_key(limit, subject))


def _key(limit: Limit, subject: str) -> str:
    return f"limit:{limit.name}:{hashlib.sha256(subject.encode()).hexdigest()[:32]}"

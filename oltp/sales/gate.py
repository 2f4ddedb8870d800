"""A flash sale's gate in Redis: who was let through, as :mod:`contracts.redis_keys` has it.

The gateway's claim script lets orders through; here they are settled, and what Redis forgot or missed is set right.
Every call may be repeated. The gate never decides who gets a unit: it only turns away early.
"""

import datetime as dt
import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from redis.asyncio import Redis

from contracts import redis_keys

KEPT: Final = dt.timedelta(days=1)
"""How long after a sale its keys last."""

# KEYS: sale, claims, customers; ARGV: order id, 'sold' or 'gone'
_SETTLE: Final = """
local claim = redis.call('HGET', KEYS[2], ARGV[1])
if not claim then return 0 end
local customer, units, state, since = string.match(claim, '^(.+):(%d+):(%a+):(%d+)$')
if ARGV[2] == 'gone' then
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'claimed', -units)
  if state == 'sold' then redis.call('HINCRBY', KEYS[1], 'sold', -units) end
  if redis.call('HINCRBY', KEYS[3], customer, -units) <= 0 then redis.call('HDEL', KEYS[3], customer) end
elseif state == 'claimed' then
  redis.call('HSET', KEYS[2], ARGV[1], string.format('%s:%d:sold:%s', customer, units, since))
  redis.call('HINCRBY', KEYS[1], 'sold', units)
else
  return 0
end
return 1
"""

# KEYS: sale, claims, customers; ARGV: order id, customer, units, 'claimed' or 'sold', since, when to forget it
_RESTORE: Final = """
local claim = string.format('%s:%d:%s:%s', ARGV[2], ARGV[3], ARGV[4], ARGV[5])
if redis.call('HSETNX', KEYS[2], ARGV[1], claim) == 0 then return 0 end
redis.call('HINCRBY', KEYS[1], 'claimed', ARGV[3])
if ARGV[4] == 'sold' then redis.call('HINCRBY', KEYS[1], 'sold', ARGV[3]) end
redis.call('HINCRBY', KEYS[3], ARGV[2], ARGV[3])
for _, key in ipairs(KEYS) do redis.call('PEXPIREAT', key, ARGV[6]) end
return 1
"""


class Standing(enum.StrEnum):
    """What became of an order that was let through."""

    CLAIMED = "claimed"
    """It has a unit or waits for one, and is not paid."""
    SOLD = "sold"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Claim:
    """An order in a sale, claimed or sold, with the moment it came."""

    order_id: str
    customer_id: str
    units: int
    standing: Standing
    since: dt.datetime


def keys(sale_id: str) -> list[str]:
    """The keys of a sale, as the scripts take them."""
    return [redis_keys.sale(sale_id), redis_keys.sale_claims(sale_id), redis_keys.sale_customers(sale_id)]


def forget_at(ends_at: dt.datetime) -> int:
    """When the keys of a sale expire, milliseconds of the Unix epoch."""
    return int((ends_at + KEPT).timestamp() * 1000)


class SaleGate:
    """The gate of every sale."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._settle = redis.register_script(_SETTLE)
        self._restore = redis.register_script(_RESTORE)

    async def settle(self, outcomes: Iterable[tuple[str, str, Standing]]) -> None:
        """Tells of orders (sale id, order id) that were paid, or ended without keeping a unit."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for sale_id, order_id, standing in outcomes:
                await self._settle(keys=keys(sale_id), args=[order_id, standing], client=pipeline)
            await pipeline.execute()

    async def restore(self, sale_id: str, ends_at: dt.datetime, claims: Sequence[Claim]) -> None:
        """Lets orders count that Redis does not know."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for claim in claims:
                since = int(claim.since.timestamp() * 1000)
                await self._restore(
                    keys=keys(sale_id),
                    args=[claim.order_id, claim.customer_id, claim.units, claim.standing, since, forget_at(ends_at)],
                    client=pipeline,
                )
            await pipeline.execute()

    async def claims(self, sale_id: str) -> Mapping[str, Claim]:
        """The orders that count, by id."""
        stored = await self._redis.hgetall(redis_keys.sale_claims(sale_id))
        return {str(order_id): _claim(str(order_id), str(value)) for order_id, value in stored.items()}


def _claim(order_id: str, value: str) -> Claim:
    customer_id, units, standing, since = value.rsplit(":", 3)
    moment = dt.datetime.fromtimestamp(int(since) / 1000, dt.UTC)
    return Claim(order_id, customer_id, int(units), Standing(standing), moment)

"""Stored addresses for the checkout: in Redis for an hour, in Postgres for certain.

A checkout to a stored address reads Redis alone, as it does for everything else; Postgres is asked on a miss. Every
list of addresses that a customer is shown fills Redis, so that who could choose one can buy, even if Postgres has gone
away meanwhile.

What lies in Redis is never older than the last change that a customer was told of:

- a change first drops the customer's copies and leaves its mark, and only then begins its transaction; as long as a
  mark is there, nobody keeps what they read from Postgres;
- every change moves the customer's generation, before and after its transaction; who read Postgres keeps what was read
  only if the generation is still the one before the reading.

So a writer that dies in between leaves a mark that ends by itself, and no copy. A change whose mark can't be left
because Redis is away is refused.
"""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import structlog
from redis.asyncio import Redis

from contracts.orders import Address
from kit.db import Database
from kit.errors import Unavailable
from kit.ids import is_uuid
from kit.transient import is_transient
from oltp.accounts.repository import Addresses, AddressRow

log = structlog.get_logger()

KEPT_SECONDS: Final = 3600
MARK_SECONDS: Final = 120
"""Longer than a transaction may take (a statement's 60 s, an idle one's 60 s)."""

_GENERATION_SECONDS: Final = 86_400

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Address)

# KEYS: copies, marks, generation
_LOOK: Final = "return {redis.call('GET', KEYS[3]) or '0', redis.call('HGET', KEYS[1], ARGV[1])}"

# ARGV: generation, life, then id and copy of each address
_KEEP: Final = """
if redis.call('EXISTS', KEYS[2]) == 1 or (redis.call('GET', KEYS[3]) or '0') ~= ARGV[1] then return 0 end
for n = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[n], ARGV[n + 1]) end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""

# ARGV: mark, its life, the generation's life
_BEGIN: Final = """
redis.call('SADD', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[2])
redis.call('INCR', KEYS[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1])
"""
_END: Final = """
redis.call('SREM', KEYS[2], ARGV[1])
redis.call('INCR', KEYS[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[1])
"""


def _keys(user_id: str) -> list[str]:
    return [f"addresses:{user_id}", f"addresses_changing:{user_id}", f"addresses_generation:{user_id}"]


def _card(row: AddressRow) -> Address:
    return Address(**{name: getattr(row, name) for name in Address.__struct_fields__})


class Directory:
    """Implements :class:`contracts.addresses.AddressDirectory`."""

    def __init__(self, redis: Redis, database: Database) -> None:
        self._database = database
        self._look = redis.register_script(_LOOK)
        self._keep = redis.register_script(_KEEP)
        self._begin = redis.register_script(_BEGIN)
        self._end = redis.register_script(_END)

    async def get(self, user_id: str, address_id: str) -> Address | None:
        """The customer's address as it stands; None if the customer has none with this id.

        Raises:
            RedisError: if Redis is away.
            Unavailable: if it is not in Redis, and Postgres is away.
        """
        generation, copy = await self._look(keys=_keys(user_id), args=[address_id])
        if copy is not None:
            return _decoder.decode(copy)
        if not is_uuid(user_id) or not is_uuid(address_id):
            return None
        try:
            async with self._database.read() as session:
                row = await Addresses(session, user_id).get(address_id)
        except Exception as error:
            if not is_transient(error):
                raise
            raise Unavailable("Your addresses can't be read for a moment; try again, or send one with it.") from error
        if row is None:
            return None
        await self.keep(user_id, generation, [row])
        return _card(row)

    async def generation(self, user_id: str) -> str:
        """Asked before addresses are read that may be kept."""
        generation, _ = await self._look(keys=_keys(user_id), args=[""])
        return str(generation)

    async def keep(self, user_id: str, generation: str, rows: Sequence[AddressRow]) -> None:
        """Remembers addresses that were read in that generation, unless they may have changed since."""
        if rows:
            copies = [part for row in rows for part in (row.id, _encoder.encode(_card(row)))]
            await self._keep(keys=_keys(user_id), args=[generation, KEPT_SECONDS, *copies])

    @asynccontextmanager
    async def changing(self, user_id: str) -> AsyncIterator[None]:
        """Lies around the whole transaction that changes a customer's addresses.

        Raises:
            RedisError: if Redis is away at the beginning; nothing may be changed then.
        """
        args: list[str | int] = [uuid.uuid4().hex, MARK_SECONDS, _GENERATION_SECONDS]
        await self._begin(keys=_keys(user_id), args=args)
        try:
            yield
        finally:
            try:
                await self._end(keys=_keys(user_id), args=args)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("addresses.mark_left", user_id=user_id, error=repr(error))

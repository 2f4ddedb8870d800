"""Product cards for checkout and cart: in the process for a moment, in Redis for good, in Postgres for certain.

A lookup asks the process's own cache (at most ``catalog_cache_seconds`` old), then Redis, then Postgres, and leaves
what Postgres said in Redis. Cards in Redis do not expire: with Postgres away every product that was ever looked up, or
loaded by :func:`warm`, can still be bought; and while Postgres is away, no card can become outdated.

That a card in Redis is the present one, three things see to:

- who changes a product writes its card after the commit, before answering (:meth:`Directory.publish`);
- a card carries its product's version, and an older one never replaces a newer one, however late it comes: neither a
  refill that read before a change and writes after it, nor two changes whose writers overtake each other;
- every process looks for changed rows each ``catalog_poll_seconds`` (:meth:`Directory.refresh`), so a writer that dies
  between commit and Redis, a change made by hand in SQL, or a Redis that lost its last second is made up for at once.

Which rows have changed is asked by transaction id, not by time: a row's ``changed_xid`` is the transaction that made
it, and the mark in Redis is the oldest transaction that was still running when all that was visible had been copied.
What becomes visible later has an id from the mark on, so nothing is missed, whatever the order of commits, clocks, or
the length of a transaction. The mark lies in the store that it describes: a Redis that went back in time brings back
its mark with its cards, and one that is empty has none and is filled anew. (Only a Postgres that went back in time is
not made up for, because versions went back with it: start it with an empty Redis.)

So a lookup is at most ``catalog_poll_seconds + catalog_cache_seconds`` plus one query behind: within the second that
:class:`contracts.products.ProductDirectory` promises.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from contracts import redis_keys
from contracts.products import ProductCard
from kit.db import Database
from kit.errors import Unavailable
from kit.ids import is_uuid
from kit.shared_redis import Script, SharedRedis
from kit.transient import is_transient
from oltp.catalog.repository import Cards, VersionedCard
from oltp.catalog.settings import CatalogSettings

log = structlog.get_logger()

_MARK: Final = "catalog:refreshed_xid"
_FIRST: Final = "00000000-0000-0000-0000-000000000000"
_BATCH: Final = 1000
_PAUSE_SECONDS: Final = 0.5
"""How long nobody asks Postgres for unknown products after it failed to answer."""

_PUT: Final = Script("""
local written = 0
for i, key in ipairs(KEYS) do
    local newer = false
    local present = redis.call('GET', key)
    if present then
        local decoded, card = pcall(cjson.decode, present)
        local version = decoded and type(card) == 'table' and tonumber(card['version'])
        newer = version and version > tonumber(ARGV[2 * i - 1])
    end
    if not newer then
        redis.call('SET', key, ARGV[2 * i])
        written = written + 1
    end
end
return written
""")


class _Stored(ProductCard, frozen=True, kw_only=True):
    version: int


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(ProductCard)


def _encode(versioned: VersionedCard) -> bytes:
    return _encoder.encode(_Stored(**msgspec.structs.asdict(versioned.card), version=versioned.version))


@dataclass(slots=True)
class _Entry:
    card: ProductCard | None
    until: float


class Directory:
    """Implements :class:`contracts.products.ProductDirectory`; one a process."""

    def __init__(
        self,
        redis: SharedRedis,
        database: Database,
        settings: CatalogSettings,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._database = database
        self._settings = settings
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        self._loading = asyncio.Lock()
        self._paused_until = 0.0
        self._refreshed: dict[str, int] = {}

    async def get_many(self, product_ids: Iterable[str]) -> dict[str, ProductCard]:
        """The cards of those of the products that exist, current to within a second.

        Raises:
            Unavailable, TimeoutError, DBAPIError: if a product is not in Redis and Postgres is away.
        """
        found: dict[str, ProductCard] = {}
        wanted = self._from_process(set(product_ids), found)
        if wanted:
            wanted = await self._from_redis(wanted, found)
        if wanted:
            await self._from_postgres(wanted, found)
        return found

    async def publish(self, cards: Iterable[VersionedCard]) -> None:
        """Makes changed cards known, after the transaction that changed them has committed.

        If Redis is away the change still stands, and :meth:`refresh` makes it known when Redis is back.
        """
        changed = list(cards)
        for versioned in changed:
            self._entries.pop(versioned.card.product_id, None)
        try:
            await self._write(changed)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("catalog.card_not_written", cards=len(changed), error=repr(error))

    async def refresh(self) -> None:
        """Copies to Redis what has changed since the last time anybody did; everything, if nobody ever did.

        Raises:
            RedisError, DBAPIError, OSError: if Redis or Postgres is away; the next time makes up for it.
        """
        stored = await self._redis.call("GET", _MARK)
        async with self._database.read() as session:
            cards = Cards(session)
            snapshot = await cards.snapshot()
            mark = int(stored) if stored is not None and stored.isdigit() else None
            if mark is not None and mark <= snapshot.xmax:
                changed = await cards.changed_since(mark, until=snapshot.xmax)
            else:
                changed = None
        if changed is None:
            log.info("catalog.cards_loading", mark=stored)
            await warm(self._redis, self._database)
            self._entries.clear()
            return
        fresh = [card for card in changed if self._refreshed.get(card.card.product_id) != card.version]
        for start in range(0, len(fresh), _BATCH):
            await self._write(fresh[start : start + _BATCH])
        for versioned in fresh:
            self._entries.pop(versioned.card.product_id, None)
        self._refreshed = {card.card.product_id: card.version for card in changed}
        if mark != snapshot.xmin:
            await self._redis.call("SET", _MARK, snapshot.xmin)

    def _from_process(self, wanted: set[str], found: dict[str, ProductCard]) -> set[str]:
        now, missing = self._monotonic(), set[str]()
        for product_id in wanted:
            entry = self._entries.get(product_id)
            if entry is None or entry.until <= now:
                missing.add(product_id)
            elif entry.card is not None:
                found[product_id] = entry.card
        return missing

    async def _from_redis(self, wanted: set[str], found: dict[str, ProductCard]) -> set[str]:
        ids, since = list(wanted), self._monotonic()
        try:
            stored = await self._redis.call("MGET", *map(redis_keys.product, ids))
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("catalog.redis_away", error=repr(error))
            return wanted
        for product_id, value in zip(ids, stored, strict=True):
            if value is None:
                continue
            try:
                card = _decoder.decode(value)
            except msgspec.DecodeError as error:
                log.error("catalog.card_unreadable", product_id=product_id, error=str(error))
                continue
            found[product_id] = card
            self._remember(product_id, card, since)
        return wanted - found.keys()

    async def _from_postgres(self, wanted: set[str], found: dict[str, ProductCard]) -> None:
        candidates = {product_id for product_id in wanted if is_uuid(product_id)}
        if not candidates:
            return
        if self._monotonic() < self._paused_until:
            raise Unavailable("The catalog is away for a moment; please try again.")
        try:
            async with asyncio.timeout(self._settings.catalog_load_seconds), self._loading:
                still = self._from_process(candidates, found)
                if not still:
                    return
                since = self._monotonic()
                async with self._database.read() as session:
                    loaded = await Cards(session).get(sorted(still))
        except Exception as error:
            if is_transient(error):
                self._paused_until = self._monotonic() + _PAUSE_SECONDS
            raise
        for product_id in still:
            self._remember(product_id, None, since)
        for versioned in loaded:
            found[versioned.card.product_id] = versioned.card
            self._remember(versioned.card.product_id, versioned.card, since)
        try:
            await self._write(loaded)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("catalog.card_not_written", cards=len(loaded), error=repr(error))

    def _remember(self, product_id: str, card: ProductCard | None, since: float) -> None:
        """Trusts a card for a while from the moment at which it was asked for."""
        self._entries.pop(product_id, None)
        while len(self._entries) >= self._settings.catalog_cache_products:
            del self._entries[next(iter(self._entries))]
        self._entries[product_id] = _Entry(card, since + self._settings.catalog_cache_seconds)

    async def _write(self, cards: Sequence[VersionedCard]) -> None:
        await _write(self._redis, cards)


async def warm(redis: SharedRedis, database: Database, *, progress: Callable[[int], None] | None = None) -> int:
    """Writes the card of every product to Redis and returns how many there are.

    For ``surge up``, after the seed. Running shops may go on meanwhile: cards that are newer stay.
    ``progress`` is told how many are done.
    """
    done, last = 0, _FIRST
    async with database.read() as session:
        snapshot = await Cards(session).snapshot()
    while True:
        async with database.read() as session:
            batch = await Cards(session).after(last, limit=_BATCH)
        if not batch:
            break
        await _write(redis, batch)
        last, done = batch[-1].card.product_id, done + len(batch)
        if progress is not None:
            progress(done)
    await redis.call("SET", _MARK, snapshot.xmin)
    return done


async def _write(redis: SharedRedis, cards: Sequence[VersionedCard]) -> None:
    if cards:
        arguments = [part for card in cards for part in (card.version, _encode(card))]
        await redis.run(_PUT, [redis_keys.product(card.card.product_id) for card in cards], arguments)

"""The sales that run or will, in every process that prices or shows products: a dictionary, filled by a query.

A sale's terms never change and its window is known before it begins, so a process that has heard of it sells at the
right price to the moment, without a question on the way of a checkout. What can be news is a sale that was just opened,
or ended before its time: that is known within ``sales_poll_seconds`` and one query. A copy in Redis serves processes
that start while Postgres is away.
"""

import asyncio
import datetime as dt
from collections.abc import Collection, Iterable
from typing import Final

import msgspec
import structlog

from contracts import redis_keys
from contracts.sales import SaleCard, SaleStanding
from kit.clock import Clock
from kit.db import Database
from kit.shared_redis import SharedRedis
from kit.transient import is_transient
from oltp.sales.repository import Sales

log = structlog.get_logger()

_COPY: Final = "sales:board"
_decoder: Final = msgspec.json.Decoder(list[SaleCard])


class Board:
    """Implements :class:`contracts.sales.SaleBoard`; one a process."""

    def __init__(self, redis: SharedRedis, database: Database, clock: Clock) -> None:
        self._redis = redis
        self._database = database
        self._clock = clock
        self._known: tuple[SaleCard, ...] | None = None
        self._of: dict[str, list[SaleCard]] = {}

    def running(self, product_id: str, now: dt.datetime) -> SaleCard | None:
        """The sale that a product is in at this moment."""
        if not self._of:
            return None
        return next((sale for sale in self._of.get(product_id, ()) if sale.is_open(now)), None)

    def known(self) -> Collection[SaleCard]:
        """The sales that run or will, as of the last look."""
        return self._known or ()

    async def standing(self, sales: Collection[SaleCard]) -> dict[str, SaleStanding]:
        """By sale id; empty while Redis is away."""
        if not sales:
            return {}
        try:
            counted = await asyncio.gather(
                *(self._redis.call("HMGET", redis_keys.sale(sale.sale_id), "claimed", "sold") for sale in sales)
            )
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("sales.standing_unknown", error=repr(error))
            return {}
        standing = {}
        for sale, (claimed, sold) in zip(sales, counted, strict=True):
            claims = int(claimed or 0)
            admits = int(sold or 0) < sale.units and claims < sale.units + sale.waiting_places
            standing[sale.sale_id] = SaleStanding(left=max(0, sale.units - claims), admits=admits)
        return standing

    async def refresh(self) -> None:
        """Looks what was opened or ended.

        Raises:
            DBAPIError, OSError: if Postgres is away; what is known stays, or comes from Redis' copy at the start.
        """
        try:
            async with self._database.read() as session:
                sales = [sale.card for sale in await Sales(session).not_over(self._clock.now())]
        except Exception as error:
            if self._known is None and is_transient(error):
                await self._from_copy()
            raise
        if self._take(sales):
            await self._redis.call("SET", _COPY, msgspec.json.encode(sales))

    def _take(self, sales: Iterable[SaleCard]) -> bool:
        """Makes these the known ones; whether that is news."""
        known = tuple(sales)
        if known == self._known:
            return False
        of: dict[str, list[SaleCard]] = {}
        for sale in known:
            of.setdefault(sale.product_id, []).append(sale)
        self._known, self._of = known, of
        return True

    async def _from_copy(self) -> None:
        copy = await self._redis.call("GET", _COPY)
        if copy is not None:
            self._take(_decoder.decode(copy))
            log.warning("sales.from_copy", sales=len(self.known()))

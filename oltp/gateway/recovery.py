"""Teaches a Redis that lost its data the idempotency keys of the last hours, before it admits anybody again."""

import asyncio
import datetime as dt
from typing import Final

import structlog
from redis.asyncio import Redis

from kit.clock import Clock
from kit.db import Database
from kit.ids import new_id
from kit.resources import Resources
from kit.transient import is_transient
from oltp.gateway import repository
from oltp.gateway.admission import EPOCH, Admission
from oltp.gateway.order_log import OrderLog
from oltp.gateway.repository import Checkout
from oltp.gateway.sale_keeper import SaleKeeper
from oltp.gateway.settings import GatewaySettings

log = structlog.get_logger()

_LOCK: Final = "idempotency:recovering"
_LOCK_MS: Final = 15_000
_CHUNK: Final = 500
_POLL_SECONDS: Final = 0.05
_RETRY_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 1.0

_OPEN: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local time = redis.call('TIME')
redis.call('SET', KEYS[2], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2])
return 1
"""


class Recovery:
    """Sets the epoch's mark when it is missing, after it has restored the records that the mark vouches for.

    1. Orders whose claims are forgotten may be on their way into the log: they get the time that a produce may take.
    2. The log's ends are read, and the saga's committed offsets have to pass them: then Postgres knows those orders.
    3. The orders of the last hours become records again, with the answers they got, and those of flash sales count
       again at their gate; then the mark is set.
    4. For ``checkout_doubt_seconds`` the mark is in doubt: an order may have been held up on its way for longer than a
       produce may take (a gateway or a broker that stood still). As long as that lasts, a checkout is answered when the
       saga has written its key's order (:meth:`written`), whichever that is. Afterwards the orders of that time become
       records, too.

    A shop whose log is empty has nothing to wait for. One gateway works, under a lock in Redis; the others wait.
    """

    name = "idempotency-recovery"

    def __init__(
        self,
        resources: Resources,
        settings: GatewaySettings,
        admission: Admission,
        order_log: OrderLog,
        sales: SaleKeeper,
    ) -> None:
        self.ready = True
        self._redis: Redis = resources.redis
        self._database: Database = resources.database
        self._clock: Clock = resources.clock
        self._settings = settings
        self._admission = admission
        self._order_log = order_log
        self._sales = sales
        self._asked = asyncio.Event()
        self._look_back: tuple[float, dt.datetime] | None = None
        self._open = self._redis.register_script(_OPEN)

    async def run(self) -> None:
        """Looks after the mark until cancelled: at once when asked, otherwise every second."""
        while True:
            try:
                if not await self._redis.exists(EPOCH):
                    self.ready = False
                    await self._recover()
                self.ready = True
                await self._look_back_if_due()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("idempotency.recovery_waits", error=repr(error))
                await asyncio.sleep(_RETRY_SECONDS)
            try:
                await asyncio.wait_for(self._asked.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue
            self._asked.clear()

    async def wait(self, seconds: float) -> bool:
        """Has the mark looked after, and waits for it; false if it is still missing after that time."""
        deadline = asyncio.get_running_loop().time() + seconds
        self._asked.set()
        while not await self._redis.exists(EPOCH):
            if asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_POLL_SECONDS)
        return True

    async def written(self, user_id: str, key: str, seconds: float) -> Checkout | None:
        """The order that the saga has written under a key, waited for so long; None if there is none yet.

        Raises:
            what a database that is away raises (:func:`kit.transient.is_transient`).
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            async with self._database.read() as session:
                found = await repository.checkout_by_key(session, user_id, key)
            if found is not None or asyncio.get_running_loop().time() >= deadline:
                return found
            await asyncio.sleep(_POLL_SECONDS)

    async def _look_back_if_due(self) -> None:
        if self._look_back is None or asyncio.get_running_loop().time() < self._look_back[0]:
            return
        records = await self._restore(self._look_back[1])
        self._look_back = None
        log.info("idempotency.looked_back", records=records)

    async def _recover(self) -> None:
        token = new_id()
        if not await self._redis.set(_LOCK, token, nx=True, px=_LOCK_MS):
            await asyncio.sleep(_POLL_SECONDS)
            self._asked.set()
            return
        started = self._clock.now()
        doubt = 0.0
        try:
            ends, _ = await self._order_log.refresh()
            if any(ends):
                doubt = self._settings.checkout_doubt_seconds
                await self._hold(token, self._settings.checkout_produce_seconds)
                await self._saga_passes((await self._order_log.refresh())[0], token)
            life = dt.timedelta(hours=self._settings.idempotency_hours)
            records = await self._restore(self._clock.now() - life, token)
            await self._sales.rebuild()
            if await self._open([_LOCK, EPOCH], [token, int(doubt * 1000)]):
                if doubt:
                    due = asyncio.get_running_loop().time() + doubt + _RETRY_SECONDS
                    self._look_back = (due, started - dt.timedelta(seconds=doubt))
                seconds = (self._clock.now() - started).total_seconds()
                log.info("idempotency.recovered", records=records, seconds=seconds)
        finally:
            if await self._held(token):
                await self._redis.delete(_LOCK)

    async def _saga_passes(self, ends: list[int], token: str) -> None:
        while True:
            _, committed = await self._order_log.refresh()
            if all(done >= end for done, end in zip(committed, ends, strict=True)):
                return
            await self._hold(token, _POLL_SECONDS)

    async def _restore(self, since: dt.datetime, token: str | None = None) -> int:
        """Makes records of the orders since a moment that have none; with a token, as long as that holds the lock."""
        now = self._clock.now()
        life = dt.timedelta(hours=self._settings.idempotency_hours)
        records = 0
        async with self._database.read() as session:
            async for chunk in repository.checkouts_since(session, since, _CHUNK):
                await self._admission.remember(
                    (
                        row.user_id,
                        row.idempotency_key,
                        row.order_id,
                        row.request_hash,
                        row.answer,
                        max(1, int((row.created_at + life - now).total_seconds() * 1000)),
                    )
                    for row in chunk
                )
                records += len(chunk)
                if token is not None:
                    await self._hold(token, 0)
        return records

    async def _held(self, token: str) -> bool:
        return await self._redis.get(_LOCK) == token

    async def _hold(self, token: str, seconds: float) -> None:
        """Sleeps and keeps the lock.

        Raises:
            ConnectionError: if the lock was lost; the work starts again.
        """
        await asyncio.sleep(seconds)
        if not await self._held(token):
            raise ConnectionError("the recovery's lock is gone")
        await self._redis.pexpire(_LOCK, _LOCK_MS)

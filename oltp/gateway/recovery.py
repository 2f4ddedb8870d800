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
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


class Recovery:
    """Sets the epoch's mark when it is missing, after it has restored the records that the mark vouches for.

    1. Orders whose claims are forgotten may be on their way into the log: they get the time that a produce may take.
    2. The log's ends are read, and the saga's committed offsets have to pass them: then Postgres knows those orders.
    3. The orders of the last hours become records again, with the answers they got; then the mark is set.

    A shop whose log is empty has nothing to wait for. One gateway works, under a lock in Redis; the others wait.
    """

    name = "idempotency-recovery"

    def __init__(
        self, resources: Resources, settings: GatewaySettings, admission: Admission, order_log: OrderLog
    ) -> None:
        self.ready = True
        self._redis: Redis = resources.redis
        self._database: Database = resources.database
        self._clock: Clock = resources.clock
        self._settings = settings
        self._admission = admission
        self._order_log = order_log
        self._asked = asyncio.Event()
        self._open = self._redis.register_script(_OPEN)

    async def run(self) -> None:
        """Looks after the mark until cancelled: at once when asked, otherwise every second."""
        while True:
            try:
                if not await self._redis.exists(EPOCH):
                    self.ready = False
                    await self._recover()
                self.ready = True
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

    async def _recover(self) -> None:
        token = new_id()
        if not await self._redis.set(_LOCK, token, nx=True, px=_LOCK_MS):
            await asyncio.sleep(_POLL_SECONDS)
            self._asked.set()
            return
        started = self._clock.now()
        try:
            ends, _ = await self._order_log.refresh()
            if any(ends):
                await self._hold(token, self._settings.checkout_produce_seconds)
                await self._saga_passes((await self._order_log.refresh())[0], token)
            records = await self._restore(token)
            if await self._open([_LOCK, EPOCH], [token, started.isoformat()]):
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

    async def _restore(self, token: str) -> int:
        now = self._clock.now()
        life = dt.timedelta(hours=self._settings.idempotency_hours)
        records = 0
        async with self._database.read() as session:
            async for chunk in repository.checkouts_since(session, now - life, _CHUNK):
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

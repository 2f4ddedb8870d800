"""Looks every second at what no event tells: how many carts and checkouts are open, how far consumers are behind."""

import structlog

from kit.clock import Clock
from kit.transient import is_transient
from oltp.metrics.domain import ACTIVE_CARTS, CHECKOUT_SESSIONS, LAG
from oltp.metrics.lag import LagWatch
from oltp.metrics.store import LiveStore

log = structlog.get_logger()


class Sampler:
    """Puts gauges into the windows of the present second."""

    def __init__(self, store: LiveStore, lag: LagWatch, clock: Clock) -> None:
        self._store = store
        self._lag = lag
        self._clock = clock

    async def look(self) -> None:
        """Takes one sample. With Kafka away there is no lag in it.

        Raises:
            redis.exceptions.RedisError: if Redis is away.
        """
        behind: dict[str, int] = {}
        try:
            behind = await self._lag.read()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("live.lag_unknown", error=repr(error))
        now = self._clock.now().timestamp()
        carts, checkouts = await self._store.open_now(int(now * 1000))
        gauges = {ACTIVE_CARTS: carts, CHECKOUT_SESSIONS: checkouts}
        if behind:
            gauges[LAG] = sum(behind.values())
            gauges |= {f"{LAG}:{group}": count for group, count in behind.items()}
        await self._store.sample(gauges, int(now))

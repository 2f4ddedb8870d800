"""Tells the live metrics of requests that were answered with an error. No message does: Kafka may be what is away."""

from kit import telemetry
from kit.clock import Clock
from oltp.metrics.domain import ERRORS, HTTP_ERRORS
from oltp.metrics.store import LiveStore


class ErrorReport:
    """Adds this process's answers of 5xx since the last report to the windows of the present second."""

    def __init__(self, store: LiveStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._told = telemetry.failed_requests()

    async def tell(self) -> None:
        """Reports; if Redis is away, the next report has these too.

        Raises:
            redis.exceptions.RedisError: if Redis is away.
        """
        failed = telemetry.failed_requests()
        if more := failed - self._told:
            await self._store.count({ERRORS: more, HTTP_ERRORS: more}, int(self._clock.now().timestamp()))
            self._told = failed

"""A provider in process, for the ``wallet`` method and for tests: what it does follows from seed and key alone.

It keeps no books, so that nothing can be lost or disagree: the outcome of a key is a function, and the payment's own
row says what came of it.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Final

from oltp.payments.domain import Captured, Charge, Declined, Refund, Refunded, Refused, Unknown, Void, Voided
from oltp.payments.providers.port import INVALID_METHOD

OK: Final = "tok_ok"
TIMEOUT: Final = "tok_timeout"
UNAVAILABLE: Final = "tok_unavailable"
SLOW: Final = "tok_slow"
SLOW_SECONDS: Final = 2.0

DECLINES: Final = {
    f"tok_{reason}": reason
    for reason in (
        "card_declined",
        "insufficient_funds",
        "expired_card",
        "fraudulent",
        "lost_card",
        "stolen_card",
        "processing_error",
    )
}
"""Token → the reason that it is declined for."""


def draw(seed: int, key: str) -> tuple[float, float]:
    """Two numbers in [0, 1) that follow from seed and key."""
    digest = hashlib.blake2b(f"{seed}|{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest[:4]) / 2**32, int.from_bytes(digest[4:]) / 2**32


class SimulatedProvider:
    """Deterministic by seed; see the table in :mod:`oltp.payments.providers.port` for what tokens lead to."""

    def __init__(
        self,
        *,
        failure_rate: float = 0.0,
        failure_reasons: Sequence[str] = ("insufficient_funds",),
        latency_ms: int = 0,
        seed: int = 1,
    ) -> None:
        self._failure_rate = failure_rate
        self._failure_reasons = tuple(failure_reasons)
        self._latency = latency_ms / 1000
        self._seed = seed

    async def charge(self, charge: Charge) -> Captured | Declined | Unknown:
        """Takes the amount, once for each key."""
        await self._take_time(charge.key, SLOW_SECONDS if charge.token == SLOW else 0.0)
        if charge.token == UNAVAILABLE or (charge.token == TIMEOUT and charge.tries == 0):
            return Unknown("timeout")
        if not charge.token.startswith("tok_"):
            return Declined(INVALID_METHOD)
        reason = DECLINES.get(charge.token)
        if reason is not None and not (reason == "processing_error" and charge.attempt > 1):
            return Declined(reason)
        if charge.token not in (OK, TIMEOUT, SLOW) and reason is None:
            chance, which = draw(self._seed, charge.key)
            if chance < self._failure_rate:
                return Declined(self._failure_reasons[int(which * len(self._failure_reasons))])
        return Captured(f"sim_{charge.key}")

    async def void(self, void: Void) -> Voided | Captured | Unknown:
        """A charge whose answer was lost on purpose had landed; any other left nothing behind."""
        await self._take_time(void.key)
        return Captured(f"sim_{void.charge.key}") if void.charge.token == TIMEOUT else Voided()

    async def refund(self, refund: Refund) -> Refunded | Refused | Unknown:
        """Gives the captured amount back."""
        await self._take_time(refund.key)
        return Refunded(f"sim_{refund.key}")

    async def close(self) -> None:
        """Holds nothing."""

    async def _take_time(self, key: str, extra: float = 0.0) -> None:
        if self._latency or extra:
            await asyncio.sleep(self._latency * (0.5 + draw(self._seed, f"latency|{key}")[0]) + extra)

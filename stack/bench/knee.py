"""The knee: the highest rate that still holds."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

FIRST: Final = 200.0
GROWTH: Final = 1.5
PRECISION: Final = 0.05
HIGHEST: Final = 20_000.0


@dataclass(frozen=True, slots=True)
class Step:
    """One rate that was tried for some seconds. ``accepted`` is a share; ``lag`` the highest near its end."""

    rate: float
    accepted: float
    p99_ms: float | None
    lag: int
    kept: bool

    def __str__(self) -> str:
        p99 = "–" if self.p99_ms is None else f"{self.p99_ms:.0f} ms"
        verdict = "holds" if self.kept else "does not hold"
        return f"{self.rate:.0f}/s {verdict}: {self.accepted:.1%} accepted, p99 {p99}, lag {self.lag:,}"


async def search(
    attempt: Callable[[float], Awaitable[Step]], *, first: float = FIRST, precision: float = PRECISION
) -> float:
    """Raises the rate by half until it no longer holds, then halves the gap until it is narrow.

    Returns the highest rate that held; if not even the lowest tried one did, that one.

    Args:
        attempt: tries a rate.
        first: where to begin.
        precision: relative width of the gap at which the search ends.
    """
    good, bad, rate = 0.0, 0.0, first
    while not bad and rate <= HIGHEST:
        if (await attempt(rate)).kept:
            good, rate = rate, rate * GROWTH
        elif good:
            bad = rate
        else:
            bad, rate = rate, rate / 2
            if (await attempt(rate)).kept:
                good = rate
            else:
                return rate
    while bad and bad - good > precision * good:
        rate = round((good + bad) / 2)
        if (await attempt(rate)).kept:
            good = rate
        else:
            bad = rate
    return good

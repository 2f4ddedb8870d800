"""How busy the shop is at a moment, and when its visitors come: pure functions of time and a seed."""

import datetime as dt
import random
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final

from seed.calendar import SPIKE, hour_shares

Intensity = Callable[[dt.datetime], float]
"""How busy a moment is; 1 is the mean of an ordinary day."""

_HOURS: Final = tuple(float(share) * 24 for share in hour_shares())


def flat(_: dt.datetime) -> float:
    """The same all day."""
    return 1.0


def diurnal(moment: dt.datetime) -> float:
    """An ordinary day: the busiest hour has ten times the quietest, 30 % of the orders come from 19 to 22 h."""
    return _HOURS[moment.hour]


def black_friday(moment: dt.datetime) -> float:
    """The curve of an ordinary day, five times as high."""
    return SPIKE * diurnal(moment)


class Pattern(StrEnum):
    """The patterns by name."""

    FLAT = "flat"
    DIURNAL = "diurnal"
    BLACK_FRIDAY = "black-friday"

    @property
    def intensity(self) -> Intensity:
        """The pattern's function."""
        return {Pattern.FLAT: flat, Pattern.DIURNAL: diurnal, Pattern.BLACK_FRIDAY: black_friday}[self]

    @property
    def highest(self) -> float:
        """The most that the function ever gives."""
        return {Pattern.FLAT: 1.0, Pattern.DIURNAL: max(_HOURS), Pattern.BLACK_FRIDAY: SPIKE * max(_HOURS)}[self]


class ShopTime:
    """Moments of the shop's day: from ``start`` on, ``speed`` times as fast as the clock."""

    def __init__(self, start: dt.datetime, speed: float) -> None:
        self._start = start
        self._speed = speed

    def at(self, elapsed: float) -> dt.datetime:
        """The shop's moment ``elapsed`` seconds after the beginning."""
        return self._start + dt.timedelta(seconds=elapsed * self._speed)


def arrivals(pattern: Pattern, rate: float, time: ShopTime, chance: random.Random) -> Iterator[float]:
    """When visitors come, seconds after the beginning: a Poisson process of ``rate · intensity`` a second, endless.

    By thinning (Lewis and Shedler 1979): candidates come at the highest rate, and are taken in proportion.
    """
    highest, intensity, elapsed = pattern.highest, pattern.intensity, 0.0
    while True:
        elapsed += chance.expovariate(rate * highest)
        if chance.random() * highest < intensity(time.at(elapsed)):
            yield elapsed

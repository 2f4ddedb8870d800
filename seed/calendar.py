"""When orders come: the holiday season, Black Friday, and the hours of a day. All in UTC."""

import datetime as dt
from typing import Final

import numpy as np
import numpy.typing as npt

from seed.plan import Plan

SEASON_SHARE: Final = 0.40
"""Part of a year's orders that comes in November and December (specification)."""

SPIKE: Final = 5.0
"""Black Friday and Cyber Monday against an average day (specification)."""

PEAK_SHARE: Final = 0.30
"""Part of a day's orders that comes between 19 and 22 o'clock (specification)."""

PEAK_HOURS: Final = (19, 20, 21)
_OFF_PEAK: Final = (2.0, 1.3, 1, 1, 1, 1.2, 2, 3, 4, 4.5, 5, 5.2, 5.5, 5, 4.6, 4.6, 4.8, 5.2, 6.1, 0, 0, 0, 5, 3.5)
_WEEKDAYS: Final = (1.04, 0.98, 0.96, 0.97, 0.98, 1.02, 1.05)

HOUR_MS: Final = 3_600_000


def hour_shares() -> npt.NDArray[np.float64]:
    """What part of a day's orders comes in each hour; the busiest hour has ten times the quietest."""
    shares = np.array(_OFF_PEAK, dtype=np.float64)
    shares *= (1 - PEAK_SHARE) / shares.sum()
    shares[list(PEAK_HOURS)] = PEAK_SHARE / len(PEAK_HOURS)
    return shares


def black_friday(year: int) -> dt.date:
    """The day after the fourth Thursday of November."""
    first = dt.date(year, 11, 1)
    return first + dt.timedelta(days=(3 - first.weekday()) % 7 + 22)


def day_shares(days: list[dt.date]) -> npt.NDArray[np.float64]:
    """What part of the orders comes on each day of a year."""
    season = np.array([day.month >= 11 for day in days])
    spikes = {black_friday(year) + dt.timedelta(days=plus) for year in {day.year for day in days} for plus in (0, 3)}
    spike = np.array([day in spikes for day in days])
    shape = np.array([_WEEKDAYS[day.weekday()] for day in days])
    # gifts must leave before Christmas
    shape *= np.array([0.55 if (day.month, day.day) > (12, 21) else 1.0 for day in days])
    shares = np.zeros(len(days))
    shares[spike] = SPIKE / len(days)
    plain = season & ~spike
    shares[plain] = shape[plain] * (SEASON_SHARE - shares[spike].sum()) / shape[plain].sum()
    shares[~season] = shape[~season] * (1 - SEASON_SHARE) / shape[~season].sum()
    return shares


def moments(plan: Plan, numbers: range, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """When the orders with these numbers were placed, Unix milliseconds, ascending over all orders of the plan."""
    start, end = int(plan.start.timestamp() * 1000), int(plan.now.timestamp() * 1000)
    edges = np.unique(np.concatenate([[start, end], np.arange(-(-start // HOUR_MS) * HOUR_MS, end, HOUR_MS)]))
    begin = edges[:-1]
    first = plan.start.date()
    days = [first + dt.timedelta(days=n) for n in range((plan.now.date() - first).days + 1)]
    day = begin // 86_400_000 - start // 86_400_000
    weights = day_shares(days)[day] * hour_shares()[begin // HOUR_MS % 24] * np.diff(edges)
    # the first and the last day are no whole ones: the season keeps its share nevertheless
    season = np.array([date.month >= 11 for date in days])[day]
    if season.any() and not season.all():
        weights *= np.where(season, SEASON_SHARE / weights[season].sum(), (1 - SEASON_SHARE) / weights[~season].sum())
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    cumulative /= cumulative[-1]
    at = (np.arange(numbers.start, numbers.stop) + generator.random(len(numbers))) / plan.orders
    result: npt.NDArray[np.int64] = np.interp(at, cumulative, edges).astype(np.int64)
    return result

"""The order generator: the day's curve, the arrivals, and that nobody waits for anybody."""

import asyncio
import datetime as dt
import itertools
import random
from collections import Counter

import pytest

from stack.generate.patterns import Pattern, ShopTime, arrivals, black_friday, diurnal, flat
from stack.generate.run import Entrance

MIDNIGHT = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
HOURS = [MIDNIGHT + dt.timedelta(hours=hour) for hour in range(24)]


def test_a_day_has_the_specified_shape() -> None:
    hours = [diurnal(hour) for hour in HOURS]

    assert sum(hours) / 24 == pytest.approx(1)
    assert max(hours) / min(hours) == pytest.approx(10, rel=0.1)
    assert sum(hours[19:22]) / sum(hours) == pytest.approx(0.30)


def test_black_friday_is_five_ordinary_days() -> None:
    assert all(black_friday(hour) == pytest.approx(5 * diurnal(hour)) for hour in HOURS)
    assert {flat(hour) for hour in HOURS} == {1.0}


@pytest.mark.parametrize("pattern", Pattern)
def test_no_moment_is_busier_than_the_highest(pattern: Pattern) -> None:
    levels = [pattern.intensity(hour) for hour in HOURS]

    assert max(levels) == pytest.approx(pattern.highest)


def test_the_same_seed_brings_the_same_visitors() -> None:
    def first(seed: int) -> list[float]:
        return list(itertools.islice(arrivals(Pattern.DIURNAL, 50, ShopTime(MIDNIGHT, 60), random.Random(seed)), 500))

    assert first(3) == first(3) != first(4)
    assert first(3) == sorted(first(3))


def test_flat_arrivals_are_a_poisson_process() -> None:
    times = arrivals(Pattern.FLAT, 100, ShopTime(MIDNIGHT, 1), random.Random(5))
    until = list(itertools.takewhile(lambda time: time < 400, times))
    a_second = Counter(int(time) for time in until)
    counts = [a_second[second] for second in range(400)]
    mean = sum(counts) / 400
    variance = sum((count - mean) ** 2 for count in counts) / 399

    assert mean == pytest.approx(100, abs=2)  # 4 standard errors
    assert variance / mean == pytest.approx(1, abs=0.3)  # 4 standard errors of the index of dispersion


def test_a_day_can_pass_in_a_minute() -> None:
    times = arrivals(Pattern.DIURNAL, 1000, ShopTime(MIDNIGHT, 24 * 60), random.Random(6))
    day = list(itertools.takewhile(lambda time: time < 60, times))
    evening = sum(60 * 19 / 24 <= time < 60 * 22 / 24 for time in day)

    assert len(day) == pytest.approx(60_000, rel=0.02)
    assert evening / len(day) == pytest.approx(0.30, abs=0.01)


class Slow:
    """An activity that nobody finishes before all have come."""

    def __init__(self, visitors: int) -> None:
        self.inside = 0
        self._all = asyncio.Event()
        self._visitors = visitors

    async def perform(self, visitors: int) -> None:
        self.inside += visitors
        if self.inside == self._visitors:
            self._all.set()
        await self._all.wait()


async def test_visitors_do_not_wait_for_those_before_them() -> None:
    slow = Slow(20)
    entrance = Entrance(slow, iter([*(n / 1000 for n in range(20)), 10.0]), seconds=0.1)

    await entrance.open()

    assert entrance.offered == slow.inside == 20


async def test_who_is_inside_may_finish_after_the_door_was_shut() -> None:
    slow = Slow(2)
    entrance = Entrance(slow, itertools.chain([0.0, 0.0], itertools.repeat(1000.0)), seconds=None)
    asyncio.get_running_loop().call_later(0.05, entrance.stopped.set)

    await entrance.open()

    assert entrance.offered == 2


async def test_a_failing_activity_closes_the_entrance() -> None:
    class Broken:
        async def perform(self, visitors: int) -> None:
            raise ValueError("no such thing")

    with pytest.raises(ValueError, match="no such thing"):
        await Entrance(Broken(), itertools.chain([0.0], itertools.repeat(1000.0)), seconds=None).open()

"""The search for the highest rate that holds."""

import pytest

from stack.bench.knee import Step, search


class Shop:
    """Holds every rate up to a limit."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.tried: list[float] = []

    async def attempt(self, rate: float) -> Step:
        self.tried.append(rate)
        return Step(rate=rate, accepted=1.0, p99_ms=10.0, lag=0, kept=rate <= self.limit)


@pytest.mark.parametrize("limit", [110.0, 250.0, 777.0, 1034.0, 5000.0])
async def test_the_knee_is_found_within_the_precision(limit: float) -> None:
    shop = Shop(limit)

    found = await search(shop.attempt, precision=0.05)

    assert found <= limit
    assert found > limit / 1.06
    assert len(shop.tried) <= 14


async def test_a_shop_that_holds_nothing_gets_the_lowest_rate_that_was_tried() -> None:
    shop = Shop(0.0)

    assert await search(shop.attempt, first=200.0) == 100.0
    assert shop.tried == [200.0, 100.0]


async def test_a_shop_without_a_limit_ends_the_search() -> None:
    shop = Shop(1e9)

    assert await search(shop.attempt) <= 20_000.0

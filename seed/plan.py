"""How much data, and for which moment. Everything else follows from the seed number."""

import datetime as dt
import enum
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

HISTORY: Final = dt.timedelta(days=365)
WEEK_MS: Final = 7 * 86_400_000
DAY_MS: Final = 86_400_000
CHUNK: Final = 50_000

RECENT: Final = dt.timedelta(days=3)
"""Orders of a large shop that are younger than this have all their records (docs/decisions/0010)."""


class Scale(enum.StrEnum):
    """The sizes that `surge seed` knows."""

    DEMO = "demo"
    MILLION = "1m"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A data set: its size, its seed number, and the moment at which its history ends.

    Orders are made in chunks of ``chunk`` consecutive orders; each chunk has a generator of its own, so any chunk
    can be made alone and several at once. ``now`` is aware UTC, at whole seconds. Orders placed in the last
    ``recorded`` of the history have all the records that a live order leaves; older ones have the compact form.
    """

    customers: int
    products: int
    orders: int
    now: dt.datetime
    seed: int = 6
    chunk: int = CHUNK
    recorded: dt.timedelta = HISTORY

    def __post_init__(self) -> None:
        if min(self.customers, self.products, self.chunk) < 1 or self.orders < 0:
            raise ValueError("customers, products and chunk count from 1, orders from 0")
        if self.now.tzinfo is None:
            raise ValueError("now must be aware")

    @property
    def start(self) -> dt.datetime:
        """When the history begins."""
        return self.now - HISTORY

    @property
    def start_ms(self) -> int:
        """:attr:`start` in Unix milliseconds."""
        return int(self.start.timestamp() * 1000)

    @property
    def now_ms(self) -> int:
        """:attr:`now` in Unix milliseconds."""
        return int(self.now.timestamp() * 1000)

    @property
    def recorded_ms(self) -> int:
        """From which moment on orders have all their records, Unix milliseconds."""
        return int((self.now - self.recorded).timestamp() * 1000)

    @property
    def first_week_ms(self) -> int:
        """The midnight with which the first of the history's weeks begins, Unix milliseconds."""
        return self.start_ms // DAY_MS * DAY_MS

    @property
    def weeks(self) -> int:
        """How many weeks the history touches."""
        return (self.now_ms - self.first_week_ms) // WEEK_MS + 1

    @property
    def months(self) -> list[dt.datetime]:
        """The first moment of each calendar month that the history touches; of the first one, its own beginning."""
        found, year, month = [self.start], self.start.year, self.start.month
        while True:
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
            first = dt.datetime(year, month, 1, tzinfo=dt.UTC)
            if first > self.now:
                return found
            found.append(first)

    def generator(self, *stream: int) -> np.random.Generator:
        """The random numbers of one purpose: the same for the same seed number and stream."""
        return np.random.Generator(np.random.SFC64([self.seed, *stream]))

    def chunks(self) -> Iterator[range]:
        """The order numbers of each chunk, oldest first."""
        for first in range(0, self.orders, self.chunk):
            yield range(first, min(first + self.chunk, self.orders))


def demo(
    now: dt.datetime,
    *,
    customers: int = 1_000,
    products: int = 2_000,
    orders: int = 20_000,
    seed: int = 6,
    recorded: dt.timedelta = HISTORY,
) -> Plan:
    """What ``surge up`` seeds."""
    return Plan(
        customers=customers,
        products=products,
        orders=orders,
        now=now.replace(microsecond=0),
        seed=seed,
        recorded=recorded,
    )


def scaled(scale: Scale, now: dt.datetime, *, orders: int | None = None, seed: int = 6) -> Plan:
    """The plan of a scale, with another number of orders if one is given."""
    if scale is Scale.DEMO:
        return demo(now, orders=20_000 if orders is None else orders, seed=seed)
    customers, products, usual = {
        Scale.MILLION: (20_000, 10_000, 1_000_000),
        Scale.FULL: (100_000, 50_000, 10_000_000),
    }[scale]
    return Plan(
        customers=customers,
        products=products,
        orders=usual if orders is None else orders,
        now=now.replace(microsecond=0),
        seed=seed,
        recorded=RECENT,
    )


BASE: Final = 0
PEOPLE: Final = 1
GOODS: Final = 2
STOCK: Final = 3
ORDERS: Final = 4
EXPERIMENTS: Final = 5
VISITS: Final = 6
"""Streams of random numbers."""

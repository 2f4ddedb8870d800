"""How much data, and for which moment. Everything else follows from the seed number."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

HISTORY: Final = dt.timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A data set: its size, its seed number, and the moment at which its history ends.

    Orders are made in chunks of ``chunk`` consecutive orders; each chunk has a generator of its own, so any chunk
    can be made alone and several at once. ``now`` is aware UTC, at whole seconds.
    """

    customers: int
    products: int
    orders: int
    now: dt.datetime
    seed: int = 6
    chunk: int = 5_000

    def __post_init__(self) -> None:
        if min(self.customers, self.products, self.chunk) < 1 or self.orders < 0:
            raise ValueError("customers, products and chunk count from 1, orders from 0")
        if self.now.tzinfo is None:
            raise ValueError("now must be aware")

    @property
    def start(self) -> dt.datetime:
        """When the history begins."""
        return self.now - HISTORY

    def generator(self, *stream: int) -> np.random.Generator:
        """The random numbers of one purpose: the same for the same seed number and stream."""
        return np.random.default_rng([self.seed, *stream])

    def chunks(self) -> Iterator[range]:
        """The order numbers of each chunk, oldest first."""
        for first in range(0, self.orders, self.chunk):
            yield range(first, min(first + self.chunk, self.orders))


def demo(
    now: dt.datetime, *, customers: int = 1_000, products: int = 2_000, orders: int = 20_000, seed: int = 6
) -> Plan:
    """What ``surge up`` seeds."""
    return Plan(customers=customers, products=products, orders=orders, now=now.replace(microsecond=0), seed=seed)


BASE: Final = 0
PEOPLE: Final = 1
GOODS: Final = 2
STOCK: Final = 3
ORDERS: Final = 4
"""Streams of random numbers."""

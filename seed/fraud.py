"""Which orders are fraud, in which pattern, and which honest ones look like it. Features never read this."""

import enum
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seed.people import People
from seed.wire import joined, pieces, take

Ints = npt.NDArray[np.int64]


class Kind(enum.IntEnum):
    """What an order is. From :attr:`NEW_ACCOUNT` on it is fraud; those between are honest and hard to tell."""

    PLAIN = 0
    GIFT = 1
    TRAVELLER = 2
    SHARED_NETWORK = 3
    NEW_HOME = 4
    NEW_ACCOUNT = 10
    RING = 11
    TAKEOVER = 12
    CARD_TESTING = 13
    PATIENT = 14


MEANINGS: Final = {
    Kind.GIFT: "honest: sent to somebody else's address",
    Kind.TRAVELLER: "honest: placed from an unusual connection",
    Kind.SHARED_NETWORK: "honest: placed behind an address that many share",
    Kind.NEW_HOME: "honest: a new customer's large first order",
    Kind.NEW_ACCOUNT: "fraud: high value from a new account",
    Kind.RING: "fraud: several new accounts behind one address",
    Kind.TAKEOVER: "fraud: an old account, and a new delivery address with each order",
    Kind.CARD_TESTING: "fraud: many small orders in a row to try cards",
    Kind.PATIENT: "fraud: an account that bought honestly before",
}

FIRST_FRAUD: Final = Kind.NEW_ACCOUNT

SHARES: Final = {
    Kind.NEW_ACCOUNT: 0.005,
    Kind.RING: 0.006,
    Kind.TAKEOVER: 0.004,
    Kind.CARD_TESTING: 0.003,
    Kind.PATIENT: 0.002,
}
"""Of all orders: 2 % (specification)."""

DECLINED: Final = {
    Kind.NEW_ACCOUNT: 0.25,
    Kind.RING: 0.25,
    Kind.TAKEOVER: 0.20,
    Kind.CARD_TESTING: 0.70,
    Kind.PATIENT: 0.10,
}
"""How often the payment of fraud is declined. What is not comes back as a chargeback in :data:`DISPUTED_SHARE`."""

DISPUTED_SHARE: Final = 0.65
HONEST_DISPUTES: Final = 0.0012

_RUN: Final = 64
"""Orders among which one burst of fraud is spread."""

_BURSTS: Final = {Kind.RING: 12, Kind.TAKEOVER: 4, Kind.CARD_TESTING: 8}
"""Orders of a burst."""

_GIFTS, _HOLIDAY_GIFTS, _TRAVELLERS, _SHARED, _NEW_HOMES = 0.015, 0.05, 0.03, 0.12, 0.003
_SHARED_NETWORKS: Final = 256
_HOMES: Final = 1 << 21
"""Connections at home have numbers below this one; others have those from it on (see :func:`address_of`)."""


@dataclass(frozen=True)
class Suspicion:
    """What each order of a chunk is, by whom it is placed, whose address it goes to, and from which connection."""

    kind: Ints
    customer: Ints
    address: Ints
    connection: Ints

    @property
    def fraud(self) -> npt.NDArray[np.bool_]:
        return self.kind >= FIRST_FRAUD

    @property
    def lavish(self) -> npt.NDArray[np.bool_]:
        """Orders of much value."""
        wanted = (Kind.NEW_ACCOUNT, Kind.TAKEOVER, Kind.PATIENT, Kind.NEW_HOME)
        lavish: npt.NDArray[np.bool_] = np.isin(self.kind, wanted)
        return lavish

    @property
    def petty(self) -> npt.NDArray[np.bool_]:
        """Orders of little value."""
        petty: npt.NDArray[np.bool_] = self.kind == Kind.CARD_TESTING
        return petty


def mark(
    people: People, created: Ints, customer: Ints, holidays: npt.NDArray[np.bool_], generator: np.random.Generator
) -> Suspicion:
    """Decides it for consecutive orders, whose honest buyers are given."""
    count = len(created)
    kind = np.full(count, Kind.PLAIN, dtype=np.int64)
    customer = customer.copy()
    known = np.maximum(np.searchsorted(people.registered_ms, created, side="right"), 1)

    chance = generator.random(count)
    kind[chance < _SHARED] = Kind.SHARED_NETWORK
    kind[(chance >= _SHARED) & (chance < _SHARED + _TRAVELLERS)] = Kind.TRAVELLER
    bound = _SHARED + _TRAVELLERS
    kind[(chance >= bound) & (chance < bound + np.where(holidays, _HOLIDAY_GIFTS, _GIFTS))] = Kind.GIFT
    rare = generator.random(count)
    bound = 0.0
    for single, share in (
        (Kind.NEW_HOME, _NEW_HOMES),
        (Kind.NEW_ACCOUNT, SHARES[Kind.NEW_ACCOUNT] / _ALONE),
        (Kind.PATIENT, SHARES[Kind.PATIENT] / _ALONE),
    ):
        kind[(rare >= bound) & (rare < bound + share)] = single
        bound += share
    burst = _bursts(count, kind, generator)

    newest = np.maximum(known - 1 - generator.integers(0, 4, count), 0)
    fresh = np.isin(kind, (Kind.NEW_HOME, Kind.NEW_ACCOUNT))
    customer[fresh] = newest[fresh]
    runs = np.arange(count) // _RUN
    head = np.minimum(runs * _RUN, count - 1)
    crew = np.maximum(known[head] - 1 - generator.integers(0, 6, count), 0)
    customer[kind == Kind.RING] = crew[kind == Kind.RING]
    victim = customer[head]
    customer[kind == Kind.TAKEOVER] = victim[kind == Kind.TAKEOVER]
    lone = np.maximum(known[head] - 1, 0)
    customer[kind == Kind.CARD_TESTING] = lone[kind == Kind.CARD_TESTING]

    stranger = generator.integers(0, len(people.customers), count)
    address = customer.copy()
    elsewhere = np.isin(kind, (Kind.GIFT, Kind.TAKEOVER, Kind.PATIENT))
    address[elsewhere] = stranger[elsewhere]
    drop = stranger[np.minimum(head + generator.integers(0, 3, count), count - 1)]
    address[kind == Kind.RING] = drop[kind == Kind.RING]

    connection = people.home_ip[customer]
    outside = _HOMES + _SHARED_NETWORKS + generator.integers(0, 1 << 20, count)
    away = np.isin(kind, (Kind.TRAVELLER, Kind.PATIENT))
    connection[away] = outside[away]
    connection[burst] = outside[head][burst]
    network = _HOMES + generator.integers(0, _SHARED_NETWORKS, count)
    connection[kind == Kind.SHARED_NETWORK] = network[kind == Kind.SHARED_NETWORK]
    return Suspicion(kind, customer, address, connection)


_ALONE: Final = 1 - sum(SHARES[kind] for kind in _BURSTS)
"""Part of the orders that no burst takes over."""


def _bursts(count: int, kind: Ints, generator: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Puts bursts of fraud over some runs of orders; returns which orders they are."""
    runs = -(-count // _RUN)
    chance = generator.random(runs)
    order = generator.random((runs, _RUN)).argsort(axis=1).argsort(axis=1).reshape(-1)[:count]
    run = np.arange(count) // _RUN
    burst = np.zeros(count, dtype=bool)
    bound = 0.0
    for pattern, size in _BURSTS.items():
        share = SHARES[pattern] * _RUN / size
        chosen = (chance >= bound) & (chance < bound + share)
        members = chosen[run] & (order < size)
        kind[members] = pattern
        burst |= members
        bound += share
    return burst


def address_of(connection: Ints) -> pa.BinaryArray:
    """The IPv4 address of each connection, of the space that carriers share (RFC 6598): nobody's own."""
    number = (connection * 2_654_435_761) % (1 << 22)
    networks = pieces(f"100.{64 + (n >> 8)}.{n & 255}.".encode() for n in range(1 << 14))
    return joined(take(networks, number >> 8), take(pieces(b"%d" % n for n in range(256)), number & 255))

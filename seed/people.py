"""Customers with addresses in real cities. Names are drawn from word lists; nobody is meant."""

import datetime as dt
import uuid
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from contracts.orders import Address
from seed.ids import uuid7s
from seed.places import CITIES
from seed.plan import HISTORY, PEOPLE, Plan
from seed.words import FIRST_NAMES, LAST_NAMES, STREET_KINDS, STREETS

REGISTERED_BEFORE = 0.45
"""Part of the customers who had registered before the history begins."""


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer as the account service knows them."""

    user_id: uuid.UUID
    name: str
    email: str
    phone: str
    registered_at: dt.datetime
    address: Address


@dataclass(frozen=True)
class People:
    """All customers, in order of registration; ``appetite`` weighs how often each one buys."""

    customers: list[Customer]
    registered_ms: npt.NDArray[np.int64]
    appetite: npt.NDArray[np.float64]

    @cached_property
    def cumulative_appetite(self) -> npt.NDArray[np.float64]:
        """Running sum, by which buyers are drawn."""
        return np.cumsum(self.appetite)


def people(plan: Plan, *, first_email: str | None = None) -> People:
    """The plan's customers. The first one gets ``first_email``, if given, so that the demo can name a login."""
    generator = plan.generator(PEOPLE)
    count = plan.customers
    before = max(1, round(count * REGISTERED_BEFORE))
    start, year = _ms(plan.start), HISTORY.total_seconds() * 1000
    registered = np.concatenate(
        [
            start - (generator.random(before) ** 2 * 2 * year).astype(np.int64) - 86_400_000,
            start + (generator.random(count - before) * year * 0.97).astype(np.int64),
        ]
    )
    registered.sort()
    ids = uuid7s(registered, generator)
    first = generator.integers(0, len(FIRST_NAMES), count)
    last = generator.integers(0, len(LAST_NAMES), count)
    inhabitants = np.array([city.inhabitants for city in CITIES], dtype=np.float64)
    cities = generator.choice(len(CITIES), count, p=inhabitants / inhabitants.sum())
    streets = generator.integers(0, len(STREETS), count)
    kinds = generator.integers(0, len(STREET_KINDS), count)
    houses = generator.integers(1, 2400, count)
    flats = np.where(generator.random(count) < 0.3, generator.integers(1, 60, count), 0)
    zips = generator.integers(1, 100, count)
    north, east = generator.normal(0, 0.06, count), generator.normal(0, 0.07, count)
    phones = generator.integers(100, 200, count)
    areas = generator.integers(201, 990, count)
    customers = []
    for n in range(count):
        given, family, city = FIRST_NAMES[first[n]], LAST_NAMES[last[n]], CITIES[cities[n]]
        phone = f"+1{areas[n]}555{phones[n]:04d}"
        customers.append(
            Customer(
                user_id=ids[n],
                name=f"{given} {family}",
                email=f"{given}.{family}.{n + 1}@example.com".lower(),
                phone=phone,
                registered_at=_moment(int(registered[n])),
                address=Address(
                    name=f"{given} {family}",
                    line1=f"{houses[n]} {STREETS[streets[n]]} {STREET_KINDS[kinds[n]]}",
                    line2=f"Apt {flats[n]}" if flats[n] else "",
                    city=city.name,
                    region=city.region,
                    postal_code=f"{city.zip_prefix}{zips[n]:02d}",
                    country="US",
                    phone=phone,
                    latitude=round(city.latitude + float(north[n]), 5),
                    longitude=round(city.longitude + float(east[n]), 5),
                ),
            )
        )
    if first_email is not None:
        known = customers[0]
        customers[0] = Customer(known.user_id, known.name, first_email, known.phone, known.registered_at, known.address)
    return People(customers, registered, generator.lognormal(0, 0.9, count))


def _ms(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)


def _moment(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC)

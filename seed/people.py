"""Customers with addresses in real cities. Names are drawn from word lists; nobody is meant."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from contracts.orders import Address
from seed.ids import Bytes, as_uuids, uuid7_bytes
from seed.places import CITIES, REGIONS, WAREHOUSES
from seed.plan import DAY_MS, HISTORY, PEOPLE, Plan
from seed.taste import SEGMENTS
from seed.words import CATEGORIES, FIRST_NAMES, LAST_NAMES, STREET_KINDS, STREETS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

REGISTERED_BEFORE = 0.45
"""Part of the customers who had registered before the history begins."""

SHARED_HOME: Final = 0.18
"""Part of the customers who share their connection with the household's one before them."""

NEVER: Final = 1 << 60


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
    """All customers, in order of registration.

    ``appetite`` weighs how often each one buys, ``churned_ms`` is from when on no more (Unix milliseconds). ``home_ip``
    numbers the connection at home, which families share. ``region`` and ``distance`` (km to each warehouse) are those
    of their address; ``nearest`` ranks the warehouses by it.
    """

    customers: list[Customer]
    ids: Bytes
    registered_ms: Ints
    appetite: Floats
    segment: Ints
    favourites: Ints
    churned_ms: Ints
    home_ip: Ints
    region: Ints
    latitude: Floats
    longitude: Floats
    distance: Floats
    nearest: Ints


def people(plan: Plan, *, first_email: str | None = None) -> People:
    """The plan's customers. The first one gets ``first_email``, if given, so that the demo can name a login."""
    generator = plan.generator(PEOPLE)
    count = plan.customers
    before = max(1, round(count * REGISTERED_BEFORE))
    start, year = plan.start_ms, HISTORY.total_seconds() * 1000
    registered = np.concatenate(
        [
            start - (generator.random(before) ** 2 * 2 * year).astype(np.int64) - DAY_MS,
            start + (generator.random(count - before) * year * 0.995).astype(np.int64),
        ]
    )
    registered.sort()
    ids = uuid7_bytes(registered, generator)
    inhabitants = np.array([city.inhabitants for city in CITIES], dtype=np.float64)
    cities = generator.choice(len(CITIES), count, p=inhabitants / inhabitants.sum())
    north, east = generator.normal(0, 0.06, count), generator.normal(0, 0.07, count)
    latitude = np.round(np.array([city.latitude for city in CITIES])[cities] + north, 5)
    longitude = np.round(np.array([city.longitude for city in CITIES])[cities] + east, 5)
    customers = _customers(as_uuids(ids), registered, cities, latitude, longitude, generator)
    if first_email is not None:
        known = customers[0]
        customers[0] = Customer(known.user_id, known.name, first_email, known.phone, known.registered_at, known.address)
    segment = generator.choice(len(SEGMENTS), count, p=[segment.share for segment in SEGMENTS])
    distance = _distances(latitude, longitude)
    return People(
        customers=customers,
        ids=ids,
        registered_ms=registered,
        appetite=generator.lognormal(0, 0.9, count) * np.array([s.appetite for s in SEGMENTS])[segment],
        segment=segment,
        favourites=generator.integers(0, len(CATEGORIES), (count, 2)),
        churned_ms=_churned(registered, segment, generator),
        home_ip=_homes(count, generator),
        region=np.array([REGIONS.index(city.area) for city in CITIES])[cities],
        latitude=latitude,
        longitude=longitude,
        distance=distance,
        nearest=np.argsort(distance, axis=1),
    )


def _customers(
    ids: list[uuid.UUID],
    registered: Ints,
    cities: Ints,
    latitude: Floats,
    longitude: Floats,
    generator: np.random.Generator,
) -> list[Customer]:
    count = len(ids)
    first = generator.integers(0, len(FIRST_NAMES), count).tolist()
    last = generator.integers(0, len(LAST_NAMES), count).tolist()
    streets = generator.integers(0, len(STREETS), count).tolist()
    kinds = generator.integers(0, len(STREET_KINDS), count).tolist()
    houses = generator.integers(1, 2400, count).tolist()
    flats = np.where(generator.random(count) < 0.3, generator.integers(1, 60, count), 0).tolist()
    zips = generator.integers(1, 100, count).tolist()
    phones = generator.integers(100, 200, count).tolist()
    areas = generator.integers(201, 990, count).tolist()
    customers = []
    for n, (number, at, north, east) in enumerate(
        zip(cities.tolist(), registered.tolist(), latitude.tolist(), longitude.tolist(), strict=True)
    ):
        given, family, city = FIRST_NAMES[first[n]], LAST_NAMES[last[n]], CITIES[number]
        phone = f"+1{areas[n]}555{phones[n]:04d}"
        customers.append(
            Customer(
                user_id=ids[n],
                name=f"{given} {family}",
                email=f"{given}.{family}.{n + 1}@example.com".lower(),
                phone=phone,
                registered_at=dt.datetime.fromtimestamp(at / 1000, dt.UTC),
                address=Address(
                    name=f"{given} {family}",
                    line1=f"{houses[n]} {STREETS[streets[n]]} {STREET_KINDS[kinds[n]]}",
                    line2=f"Apt {flats[n]}" if flats[n] else "",
                    city=city.name,
                    region=city.region,
                    postal_code=f"{city.zip_prefix}{zips[n]:02d}",
                    country="US",
                    phone=phone,
                    latitude=north,
                    longitude=east,
                ),
            )
        )
    return customers


def _churned(registered: Ints, segment: Ints, generator: np.random.Generator) -> Ints:
    """When each one stops buying: at any time after registering, as likely in a year as the segment's ``churn``."""
    rate = -np.log(1 - np.array([s.churn for s in SEGMENTS])[segment])
    years = generator.exponential(1.0, len(registered)) / rate
    stayed: Ints = np.minimum(years * HISTORY.total_seconds() * 1000, NEVER / 2).astype(np.int64)
    return registered + stayed


def _homes(count: int, generator: np.random.Generator) -> Ints:
    """A number for each connection; a household's members registered one after the other."""
    starts = generator.random(count) >= SHARED_HOME
    starts[0] = True
    household = np.cumsum(starts) - 1
    numbers: Ints = generator.permutation(1 << 21)[household]
    return numbers


def _distances(latitude: Floats, longitude: Floats) -> Floats:
    lat1, lon1 = np.radians(latitude)[:, None], np.radians(longitude)[:, None]
    sites = np.radians([(site.latitude, site.longitude) for site in WAREHOUSES])
    lat2, lon2 = sites[None, :, 0], sites[None, :, 1]
    haversine = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    distance: Floats = 2 * 6371.0 * np.arcsin(np.sqrt(haversine))
    return distance

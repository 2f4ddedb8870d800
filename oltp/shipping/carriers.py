"""The simulated carriers: what they refuse, how fast they are, which parcels they hold up. Pure.

Every answer is a function of the seed and what is asked, so that asking again gives the same answer.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import Final

REFUSALS: Final = ("carrier_unavailable", "no_capacity", "label_rejected")
"""Why a carrier may not take an order this time; asking again later can succeed."""


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """What a carrier promises: hours until hand-over, and in transit a fixed part plus a part by distance."""

    name: str
    handling_hours: float
    base_hours: float
    km_per_hour: float

    def transit_hours(self, distance_km: float) -> float:
        """Hours between hand-over and delivery, a week at most."""
        return min(self.base_hours + distance_km / self.km_per_hour, 168.0)


EXPRESS: Final = ServiceLevel("express", handling_hours=12, base_hours=14, km_per_hour=400)
STANDARD: Final = ServiceLevel("standard", handling_hours=18, base_hours=40, km_per_hour=110)
ECONOMY: Final = ServiceLevel("economy", handling_hours=24, base_hours=60, km_per_hour=90)


@dataclass(frozen=True, slots=True)
class Carrier:
    """A company and what it offers; ``share`` is its part of all parcels."""

    name: str
    prefix: str
    service_level: ServiceLevel
    share: float


CARRIERS: Final = (
    Carrier("Skyline Express", "SKX", EXPRESS, 0.20),
    Carrier("Meridian Parcel", "MDP", STANDARD, 0.35),
    Carrier("Harbor Line", "HBL", ECONOMY, 0.20),
    Carrier("Postal Union", "PSU", STANDARD, 0.25),
)


@dataclass(frozen=True, slots=True)
class Quote:
    """A carrier's offer for one parcel. Durations are on the wall clock: the simulated ones over the clock's speed."""

    carrier: str
    service_level: str
    tracking_number: str
    handling: dt.timedelta
    transit: dt.timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierNetwork:
    """All carriers together.

    Args:
        seed: Other seeds give other carriers, refusals and delays.
        refusal_rate: Part of bookings that no carrier takes.
        delay_rate: Part of parcels that are held up once on their way.
        clock_speed: Simulated seconds in a second.
        legs: Legs of a parcel's way; it is scanned at the end of each, and delivered at the end of the last.
    """

    seed: int = 1
    refusal_rate: float = 0.02
    delay_rate: float = 0.05
    clock_speed: float = 43_200.0
    legs: int = 4

    def refusal(self, order_id: str, attempt: int) -> str | None:
        """Why no carrier takes the order at this attempt; None if one does."""
        if self._draw("refusal", order_id, attempt) >= self.refusal_rate:
            return None
        return REFUSALS[int(self._draw("refusal.reason", order_id, attempt) * len(REFUSALS))]

    def quote(self, order_id: str, warehouse_id: str, attempt: int, distance_km: float) -> Quote:
        """The offer for the parcel that leaves a warehouse."""
        carrier = self._choose(self._draw("carrier", order_id, warehouse_id, attempt))
        number = int(self._draw("tracking", order_id, warehouse_id, attempt) * 10**12)
        handling = carrier.service_level.handling_hours * (
            0.75 + 0.5 * self._draw("handling", order_id, warehouse_id, attempt)
        )
        return Quote(
            carrier=carrier.name,
            service_level=carrier.service_level.name,
            tracking_number=f"{carrier.prefix}{number:012d}{_check_digit(number)}",
            handling=self._hours(handling),
            transit=self._hours(carrier.service_level.transit_hours(distance_km)),
        )

    def delay(self, shipment_id: str, leg: int) -> dt.timedelta | None:
        """How long the parcel is held up on this leg (counted from 1); None if it isn't."""
        if self._draw("delay", shipment_id) >= self.delay_rate:
            return None
        if int(self._draw("delay.leg", shipment_id) * self.legs) + 1 != leg:
            return None
        return self._hours(8 + 28 * self._draw("delay.hours", shipment_id))

    def _choose(self, drawn: float) -> Carrier:
        for carrier in CARRIERS:
            drawn -= carrier.share
            if drawn < 0:
                return carrier
        return CARRIERS[-1]

    def _hours(self, hours: float) -> dt.timedelta:
        return dt.timedelta(seconds=hours * 3600 / self.clock_speed)

    def _draw(self, *parts: object) -> float:
        digest = hashlib.blake2b("|".join(map(str, (self.seed, *parts))).encode(), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) / 2**53


def _check_digit(number: int) -> int:
    """Luhn's, as on many carriers' labels."""
    total = 0
    for index, digit in enumerate(reversed(str(number))):
        value = int(digit) * (2 if index % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return -total % 10

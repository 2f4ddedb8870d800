"""Rules of flash sales: pure."""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Final

from contracts.products import ProductCard
from contracts.sales import SaleCard

LONGEST: Final = dt.timedelta(days=31)
MOST_WAITING: Final = 10_000
GRACE: Final = dt.timedelta(minutes=1)
"""How long ago a sale may be said to begin: a clock that is a little behind opens it now."""


class SaleState(enum.StrEnum):
    """Where a sale stands in time."""

    UPCOMING = "upcoming"
    RUNNING = "running"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Opening:
    """What an admin asks for; ``unit_price`` in minor units of the product's currency."""

    product_id: str
    units: int
    units_per_customer: int
    waiting_places: int
    unit_price: int
    starts_at: dt.datetime
    ends_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Sale:
    """A sale. ``card.ends_at`` is where it really ends, ``planned_ends_at`` where it was to end."""

    card: SaleCard
    planned_ends_at: dt.datetime
    opened_by: str
    opened_at: dt.datetime
    ended_by: str | None

    def state(self, now: dt.datetime) -> SaleState:
        """Where it stands at a moment."""
        if now >= self.card.ends_at:
            return SaleState.OVER
        return SaleState.RUNNING if self.card.is_open(now) else SaleState.UPCOMING


@dataclass(frozen=True, slots=True)
class Fault:
    """A field of an opening that can't be, and what would be right."""

    field: str
    message: str


def fault(opening: Opening, product: ProductCard | None, available: int, now: dt.datetime) -> Fault | None:
    """The first thing that is wrong with an opening; None if the sale can be.

    Args:
        opening: what is asked for.
        product: the product at its normal price, if there is one.
        available: units of it that nobody has reserved.
        now: the present moment.
    """
    if product is None:
        return Fault("product_id", "there is no such product")
    if not product.active:
        return Fault("product_id", f"{product.name} is not for sale; activate it first")
    if opening.units > available:
        return Fault("units", f"{available} units of the product are available")
    if opening.units_per_customer > opening.units:
        return Fault("units_per_customer", f"must not be above units, {opening.units}")
    if opening.unit_price >= product.unit_price:
        return Fault("unit_price", f"must be below the normal price, {product.unit_price}")
    if opening.starts_at < now - GRACE:
        return Fault("starts_at", f"is past; the present moment is {now.isoformat()}")
    if opening.ends_at <= max(opening.starts_at, now):
        return Fault("ends_at", "must be after starts_at and the present moment")
    if opening.ends_at - opening.starts_at > LONGEST:
        return Fault("ends_at", f"a sale lasts at most {LONGEST.days} days")
    return None

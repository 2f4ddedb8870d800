"""Rules of the catalog: pure."""

import enum
from decimal import Decimal
from typing import Final

MAX_UNIT_PRICE: Final = 100_000_000
"""A million: what fifty lines of 99 such units come to still fits an order's NUMERIC(12,2)."""

_MINOR: Final = Decimal(100)


def to_minor(price: Decimal) -> int:
    """Minor units (hundredths) of a NUMERIC(12,2)."""
    return int(price * _MINOR)


def to_price(unit_price: int) -> Decimal:
    """The NUMERIC(12,2) of minor units."""
    return Decimal(unit_price) / _MINOR


class Availability(enum.StrEnum):
    """What a buyer is told of the stock."""

    IN_STOCK = "in_stock"
    LOW_STOCK = "low_stock"
    OUT_OF_STOCK = "out_of_stock"
    UNKNOWN = "unknown"


def availability(stock: int | None, *, low: int) -> Availability:
    """How a stock level reads; a level that is not known is said to be so."""
    if stock is None:
        return Availability.UNKNOWN
    if stock <= 0:
        return Availability.OUT_OF_STOCK
    return Availability.LOW_STOCK if stock < low else Availability.IN_STOCK


def stock_level(stored: str | bytes | None) -> int | None:
    """The level that Redis holds; nothing, or what is no number, is not known."""
    try:
        return None if stored is None else max(0, int(stored))
    except ValueError:
        return None


class Sort(enum.StrEnum):
    """Orders of the public list; equal ones by id."""

    NEWEST = "newest"
    PRICE_ASC = "price_asc"
    PRICE_DESC = "price_desc"
    NAME = "name"


def like_pattern(text: str) -> str:
    r"""The LIKE pattern (escape ``\``) of texts that contain this one."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"

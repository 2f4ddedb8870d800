"""Amounts as the tables hold them."""

from decimal import Decimal


def dollars(cents: int) -> Decimal:
    """A NUMERIC(12,2) of minor units."""
    return Decimal(cents) / 100

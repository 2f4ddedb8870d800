"""Schema ``payments``."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from seed.copy import Table
from seed.placed import PlacedOrder

PROVIDER: Final = "simulated"
"""Of every payment of the past: it never reached Stripe or PayPal, so only the provider in process can refund it."""

_TOKENS: Final = {"card": "pm_card_visa", "paypal": "B-4242", "wallet": "tok_wallet"}


def token(order: PlacedOrder) -> str:
    """The payment token that the order was placed with."""
    return _TOKENS[order.method]


def rows(orders: Iterable[PlacedOrder], *, currency: str) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """What was charged and refunded."""
    yield from ()

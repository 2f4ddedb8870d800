"""What visitors do in the shop, drawn from chance: pure, so that the same seed makes the same visits."""

import enum
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from contracts.storefront import StorefrontKind
from stack.shoppers import Offer, choose_cart

DEVICES: Final = {"mobile": 0.58, "desktop": 0.36, "tablet": 0.06}
REFERRERS: Final = {
    "": 0.42,
    "search.example": 0.34,
    "social.example": 0.14,
    "newsletter.example": 0.06,
    "compare.example": 0.04,
}
QUERIES: Final = (
    "headphones", "running shoes", "winter jacket", "coffee grinder", "desk lamp", "garden hose", "kids puzzle",
    "red dress", "gift under 50", "yoga mat", "phone case", "board game", "cast iron pan", "sunscreen", "notebook",
)  # fmt: skip

_T = TypeVar("_T")
_PAUSE_SECONDS: Final = 2.5
_SIGNED_IN: Final = 0.6
"""Part of the visitors who browse with their account; at the checkout everybody does."""


class End(enum.Enum):
    """How a visit ends."""

    LEAVES = "leaves"
    LEAVES_A_CART = "leaves a full cart"
    LEAVES_THE_CHECKOUT = "leaves the checkout"
    BUYS = "buys"


_WITHOUT_BUYING: Final = {End.LEAVES: 0.68, End.LEAVES_A_CART: 0.22, End.LEAVES_THE_CHECKOUT: 0.10}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a visitor does, ``after`` seconds from the step before."""

    after: float
    kind: StorefrontKind
    product_id: str | None = None
    query: str | None = None
    results: int | None = None
    quantity: int | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """A visit: its steps, how it ends, and what is in the cart then."""

    end: End
    device: str
    referrer: str
    signed_in: bool
    steps: tuple[Step, ...]
    cart: dict[str, int] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(step.after for step in self.steps)


def story(chance: random.Random, shelf: Sequence[Offer], *, conversion: float) -> Story:
    """A visit; ``conversion`` is the part of the visits that ends with an order."""
    end = End.BUYS if chance.random() < conversion else _pick(chance, _WITHOUT_BUYING)
    cart = {} if end is End.LEAVES else choose_cart(chance, shelf)
    steps = list(_browsing(chance, shelf, cart))
    held: dict[str, int] = {}
    for product_id, quantity in cart.items():
        steps.append(_step(chance, StorefrontKind.PRODUCT_VIEW, product_id=product_id))
        held[product_id] = quantity
        steps.append(
            _step(chance, StorefrontKind.CART_ADD, product_id=product_id, quantity=quantity, results=len(held))
        )
    if len(cart) > 1 and chance.random() < 0.15:
        product_id = chance.choice(list(cart))
        cart = {key: units for key, units in cart.items() if key != product_id}
        steps.append(
            _step(
                chance,
                StorefrontKind.CART_REMOVE,
                product_id=product_id,
                quantity=held[product_id],
                results=len(cart),
            )
        )
    if end in (End.BUYS, End.LEAVES_THE_CHECKOUT):
        steps.append(_step(chance, StorefrontKind.CHECKOUT_START))
    return Story(
        end=end,
        device=_pick(chance, DEVICES),
        referrer=_pick(chance, REFERRERS),
        signed_in=end in (End.BUYS, End.LEAVES_THE_CHECKOUT) or chance.random() < _SIGNED_IN,
        steps=tuple(steps),
        cart=cart,
    )


def _browsing(chance: random.Random, shelf: Sequence[Offer], cart: dict[str, int]) -> Iterator[Step]:
    """Searches, and looks at products that are not bought: few for who knows what they want."""
    while chance.random() < (0.45 if cart else 0.55):
        yield _step(
            chance, StorefrontKind.SEARCH, query=chance.choice(QUERIES), results=int(chance.lognormvariate(3, 1))
        )
        for _ in range(chance.choices((0, 1, 2, 3), weights=(20, 40, 25, 15))[0]):
            yield _step(chance, StorefrontKind.PRODUCT_VIEW, product_id=chance.choice(shelf).product_id)
    if not cart:
        yield _step(chance, StorefrontKind.PRODUCT_VIEW, product_id=chance.choice(shelf).product_id)


def _step(
    chance: random.Random,
    kind: StorefrontKind,
    *,
    product_id: str | None = None,
    query: str | None = None,
    results: int | None = None,
    quantity: int | None = None,
) -> Step:
    return Step(
        chance.expovariate(1 / _PAUSE_SECONDS),
        kind,
        product_id=product_id,
        query=query,
        results=results,
        quantity=quantity,
    )


def _pick(chance: random.Random, weights: dict[_T, float]) -> _T:
    return chance.choices(list(weights), weights=list(weights.values()))[0]

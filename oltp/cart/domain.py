"""Rules of the cart: pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.products import ProductCard


class WarningCode(enum.StrEnum):
    """What a customer is warned of."""

    UNAVAILABLE = "unavailable"
    """Not for sale any more: not in the total, has to go before checkout."""
    OUT_OF_STOCK = "out_of_stock"
    """None left."""
    INSUFFICIENT_STOCK = "insufficient_stock"
    """Fewer left than the cart asks for."""
    LOW_STOCK = "low_stock"
    """Enough, and not many more."""


_BLOCKING = {WarningCode.UNAVAILABLE, WarningCode.OUT_OF_STOCK, WarningCode.INSUFFICIENT_STOCK}


@dataclass(frozen=True, slots=True)
class StockWarning:
    """A warning about one line. ``available`` is how many are left, where that is known."""

    code: WarningCode
    message: str
    available: int | None


@dataclass(frozen=True, slots=True)
class Line:
    """A product in the cart at its present price."""

    card: ProductCard
    quantity: int
    warning: StockWarning | None

    @property
    def line_total(self) -> int:
        """What the line costs."""
        return self.card.unit_price * self.quantity

    @property
    def purchasable(self) -> bool:
        """Whether the line could be bought now."""
        return self.warning is None or self.warning.code not in _BLOCKING


@dataclass(frozen=True, slots=True)
class Cart:
    """A cart as its customer sees it, lines by name."""

    lines: tuple[Line, ...]
    currency: str

    @property
    def total_quantity(self) -> int:
        """Units of all lines that are for sale."""
        return sum(line.quantity for line in self._for_sale())

    @property
    def total(self) -> int:
        """What all lines that are for sale cost."""
        return sum(line.line_total for line in self._for_sale())

    @property
    def can_checkout(self) -> bool:
        """Whether the cart could be bought as it is, as far as is known."""
        return bool(self.lines) and all(line.purchasable for line in self.lines)

    def _for_sale(self) -> list[Line]:
        return [line for line in self.lines if line.warning is None or line.warning.code is not WarningCode.UNAVAILABLE]


def stock_warning(quantity: int, stock: int | None, *, low: int) -> StockWarning | None:
    """What to say of a line's stock; of a level that is not known, nothing."""
    if stock is None:
        return None
    if stock <= 0:
        return StockWarning(WarningCode.OUT_OF_STOCK, "Out of stock.", 0)
    if stock < quantity:
        return StockWarning(WarningCode.INSUFFICIENT_STOCK, f"Only {stock} left.", stock)
    if stock < low:
        return StockWarning(WarningCode.LOW_STOCK, f"Only {stock} left.", stock)
    return None


def assemble(
    quantities: Mapping[str, int],
    cards: Mapping[str, ProductCard],
    stock: Mapping[str, int | None],
    *,
    currency: str,
    low: int,
) -> Cart:
    """The cart of these quantities at present prices and stock. Products without a card are left out."""
    lines = []
    for product_id, quantity in quantities.items():
        card = cards.get(product_id)
        if card is None:
            continue
        if card.active and card.currency == currency:
            warning = stock_warning(quantity, stock.get(product_id), low=low)
        else:
            warning = StockWarning(WarningCode.UNAVAILABLE, "No longer for sale.", None)
        lines.append(Line(card, quantity, warning))
    return Cart(tuple(sorted(lines, key=lambda line: (line.card.name, line.card.product_id))), currency)

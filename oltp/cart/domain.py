"""Rules of the cart: pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from contracts.products import ProductCard
from contracts.sales import SaleCard, SaleStanding


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
    SOLD_OUT = "sold_out"
    """Nothing left in its flash sale, and no place to wait."""
    WAITING_LIST = "waiting_list"
    """All units of its flash sale are taken, not all are paid: an order would wait for one."""
    SALE_LIMIT = "sale_limit"
    """More than one customer may have in its flash sale."""
    ONE_SALE = "one_sale"
    """Another product of the cart is in a flash sale too, and an order takes one of them."""


_BLOCKING = {
    WarningCode.UNAVAILABLE,
    WarningCode.OUT_OF_STOCK,
    WarningCode.INSUFFICIENT_STOCK,
    WarningCode.SOLD_OUT,
    WarningCode.SALE_LIMIT,
    WarningCode.ONE_SALE,
}


@dataclass(frozen=True, slots=True)
class StockWarning:
    """A warning about one line. ``available`` is how many are left, where that is known."""

    code: WarningCode
    message: str
    available: int | None


@dataclass(frozen=True, slots=True)
class Offer:
    """The flash sale that a product is in now; ``standing`` is None while it is not known."""

    sale: SaleCard
    standing: SaleStanding | None


@dataclass(frozen=True, slots=True)
class Line:
    """A product in the cart at its present price."""

    card: ProductCard
    quantity: int
    warning: StockWarning | None
    offer: Offer | None = None

    @property
    def unit_price(self) -> int:
        """What one costs: less in a flash sale."""
        return self.card.unit_price if self.offer is None else min(self.card.unit_price, self.offer.sale.unit_price)

    @property
    def line_total(self) -> int:
        """What the line costs."""
        return self.unit_price * self.quantity

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


def sale_warning(quantity: int, offer: Offer) -> StockWarning | None:
    """What to say of a line in a flash sale; of a standing that is not known, nothing."""
    sale, standing = offer.sale, offer.standing
    if quantity > sale.units_per_customer:
        message = f"A customer may have {sale.units_per_customer} in this sale."
        return StockWarning(WarningCode.SALE_LIMIT, message, standing.left if standing else None)
    if standing is None or standing.left >= quantity:
        return None
    if not standing.admits:
        return StockWarning(WarningCode.SOLD_OUT, "Sold out.", 0)
    return StockWarning(WarningCode.WAITING_LIST, "All are taken; an order waits for one that is not paid.", 0)


def assemble(
    quantities: Mapping[str, int],
    cards: Mapping[str, ProductCard],
    stock: Mapping[str, int | None],
    offers: Mapping[str, Offer],
    *,
    currency: str,
    low: int,
) -> Cart:
    """The cart of these quantities at present prices and stock. Products without a card are left out.

    ``offers`` are the flash sales of those of the products that are in one.
    """
    lines = []
    for product_id, quantity in quantities.items():
        card = cards.get(product_id)
        if card is None:
            continue
        offer = offers.get(product_id)
        warning: StockWarning | None
        if not card.active or card.currency != currency:
            warning = StockWarning(WarningCode.UNAVAILABLE, "No longer for sale.", None)
        elif offer is None:
            warning = stock_warning(quantity, stock.get(product_id), low=low)
        elif len(offers) > 1:
            message = "In a flash sale like another product of the cart: buy them one by one."
            warning = StockWarning(WarningCode.ONE_SALE, message, None)
        else:
            warning = sale_warning(quantity, offer)
        lines.append(Line(card, quantity, warning, offer))
    return Cart(tuple(sorted(lines, key=lambda line: (line.card.name, line.card.product_id))), currency)

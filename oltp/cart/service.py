"""Use cases of the cart."""

from collections.abc import Iterable, Mapping

import structlog

from contracts.products import ProductDirectory
from contracts.sales import SaleBoard
from contracts.storefront import StorefrontKind, Visit
from kit.clock import Clock
from oltp.cart.domain import Cart, Offer, assemble
from oltp.cart.errors import ProductNotForSale, ProductUnknown
from oltp.cart.repository import Carts
from oltp.cart.settings import CartSettings

log = structlog.get_logger()


class CartService:
    """One customer's cart."""

    def __init__(
        self,
        carts: Carts,
        products: ProductDirectory,
        sales: SaleBoard,
        clock: Clock,
        settings: CartSettings,
        user_id: str,
        visit: Visit,
    ) -> None:
        self._carts = carts
        self._products = products
        self._sales = sales
        self._clock = clock
        self._settings = settings
        self._user_id = user_id
        self._visit = visit

    async def show(self) -> Cart:
        """The cart at present prices and stock. What the catalog no longer knows at all is taken out."""
        return await self._shown(await self._carts.get(self._user_id))

    async def _shown(self, quantities: Mapping[str, int]) -> Cart:
        cards = await self._products.get_many(quantities)
        unknown = [product_id for product_id in quantities if product_id not in cards]
        if unknown:
            log.warning("cart.unknown_products_removed", user_id=self._user_id, product_ids=unknown)
            await self._carts.remove(self._user_id, unknown)
        stock = await self._carts.stock(list(cards))
        offers = await self._offers(cards)
        return assemble(
            quantities, cards, stock, offers, currency=self._settings.currency, low=self._settings.cart_low_stock
        )

    async def _offers(self, product_ids: Iterable[str]) -> dict[str, Offer]:
        now = self._clock.now()
        running = [sale for product_id in product_ids if (sale := self._sales.running(product_id, now)) is not None]
        standing = await self._sales.standing(running)
        return {sale.product_id: Offer(sale, standing.get(sale.sale_id)) for sale in running}

    async def add(self, product_id: str, quantity: int) -> Cart:
        """Adds units of a product that is for sale. Stock is not asked for: it is checkout that reserves.

        Raises:
            ProductUnknown, ProductNotForSale, QuantityLimit, CartFull
        """
        await self._demand_for_sale(product_id)
        cart = await self._shown(await self._carts.add(self._user_id, product_id, quantity))
        self._note(StorefrontKind.CART_ADD, product_id, quantity, cart)
        return cart

    async def change(self, product_id: str, quantity: int) -> Cart:
        """Sets the units of a product that is in the cart and for sale.

        Raises:
            ProductUnknown, ProductNotForSale, NotInCart, QuantityLimit
        """
        await self._demand_for_sale(product_id)
        before, quantities = await self._carts.change(self._user_id, product_id, quantity)
        cart = await self._shown(quantities)
        if quantity > before:
            self._note(StorefrontKind.CART_ADD, product_id, quantity - before, cart)
        elif quantity < before:
            self._note(StorefrontKind.CART_REMOVE, product_id, before - quantity, cart)
        return cart

    async def remove(self, product_id: str) -> Cart:
        """Takes a product out; what is not in the cart is out already."""
        [before], quantities = await self._carts.remove(self._user_id, [product_id])
        cart = await self._shown(quantities)
        if before:
            self._note(StorefrontKind.CART_REMOVE, product_id, before, cart)
        return cart

    async def clear(self) -> None:
        """Empties the cart."""
        for product_id, quantity in (await self._carts.clear(self._user_id)).items():
            self._visit.note(StorefrontKind.CART_REMOVE, product_id=product_id, quantity=quantity, results=0)

    def _note(self, kind: StorefrontKind, product_id: str, quantity: int, cart: Cart) -> None:
        prices = {line.card.product_id: line.unit_price for line in cart.lines}
        self._visit.note(
            kind,
            product_id=product_id,
            quantity=quantity,
            unit_price=prices.get(product_id),
            results=len(cart.lines),
        )

    async def _demand_for_sale(self, product_id: str) -> None:
        card = (await self._products.get_many([product_id])).get(product_id)
        if card is None:
            raise ProductUnknown("There is no product with this id.")
        if not card.active:
            raise ProductNotForSale(f"{card.name} is not for sale any more.")

"""Why the cart refuses something."""

from kit.errors import Conflict, NotFound


class ProductUnknown(NotFound):
    """There is no product with this id."""

    type = "product-not-found"
    title = "No such product"


class ProductNotForSale(Conflict):
    """The product is not for sale any more."""

    type = "product-not-for-sale"
    title = "Not for sale"


class NotInCart(NotFound):
    """The cart does not hold this product."""

    type = "not-in-cart"
    title = "Not in the cart"


class QuantityLimit(Conflict):
    """A cart takes only so many units of one product; `limit` says how many, `in_cart` how many it holds."""

    type = "quantity-limit"
    title = "Too many units"

    def __init__(self, limit: int, in_cart: int) -> None:
        super().__init__(f"A cart takes {limit} units of a product; it holds {in_cart}.", limit=limit, in_cart=in_cart)


class CartFull(Conflict):
    """A cart takes only so many different products; `limit` says how many."""

    type = "cart-full"
    title = "The cart is full"

    def __init__(self, limit: int) -> None:
        super().__init__(f"A cart takes {limit} different products; remove one first.", limit=limit)

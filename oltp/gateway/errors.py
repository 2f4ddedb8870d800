"""Why a checkout is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from kit.errors import BadRequest, Conflict, Problem


class IdempotencyKeyRequired(BadRequest):
    """`Idempotency-Key` is missing, or is not 1 to 255 visible ASCII characters."""

    type = "idempotency-key-required"
    title = "An idempotency key is required"


class IdempotencyKeyReused(Problem):
    """The idempotency key was used before, with another body."""

    status_code = 422
    type = "idempotency-key-reused"
    title = "The idempotency key belongs to another request"


class CheckoutInFlight(Conflict):
    """A checkout with this key, or of this cart, is still under way; ask again after `Retry-After`."""

    type = "checkout-in-flight"
    title = "A checkout is under way"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})


class CartEmpty(Conflict):
    """There is nothing in the cart."""

    type = "cart-empty"
    title = "The cart is empty"


class ProductsUnavailable(Conflict):
    """The cart holds products that can't be bought; `product_ids` names them."""

    type = "products-unavailable"
    title = "Products can't be bought"

    def __init__(self, product_ids: Sequence[str]) -> None:
        detail = f"Take these products out of the cart, they are not for sale any more: {', '.join(product_ids)}."
        super().__init__(detail, product_ids=list(product_ids))


class OutOfStock(Conflict):
    """There is less left than the cart asks for; `products` says of what, and how much is left."""

    type = "out-of-stock"
    title = "Not enough in stock"

    def __init__(self, products: Sequence[Mapping[str, Any]]) -> None:
        names = ", ".join(f"{product['name']} ({product['available']} left)" for product in products)
        super().__init__(f"Not enough in stock: {names}.", products=list(products))


class OrderTooLarge(Conflict):
    """The cart's total is beyond what one order may cost."""

    type = "order-too-large"
    title = "The order is too large"


class OnlyPost(Problem):
    """The path takes POST alone."""

    status_code = 405
    type = "method-not-allowed"
    title = "Method Not Allowed"

"""Why a checkout is refused."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from contracts.sales import SaleCard
from kit.errors import BadRequest, Conflict, NotFound, Problem

OVERLOADED_RETRY_SECONDS: Final = 5


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


class SoldOut(Conflict):
    """Nothing is left in the product's flash sale; `sale_id` and `product_id` say of which, `ends_at` until when."""

    type = "sold-out"
    title = "Sold out"

    def __init__(self, sale: SaleCard) -> None:
        super().__init__(
            "Nothing is left in this flash sale.",
            sale_id=sale.sale_id,
            product_id=sale.product_id,
            ends_at=sale.ends_at.isoformat(),
        )


class AlreadyBought(Conflict):
    """The customer has, or waits for, as many units as one may have in the product's flash sale."""

    type = "already-bought"
    title = "Already bought"

    def __init__(self, sale: SaleCard, bought: int) -> None:
        super().__init__(
            f"A customer may have {sale.units_per_customer} in this flash sale; you have, or wait for, {bought}.",
            sale_id=sale.sale_id,
            product_id=sale.product_id,
            units_per_customer=sale.units_per_customer,
            bought=bought,
        )


class OverSaleLimit(Conflict):
    """The cart asks for more units than one customer may have in the product's flash sale."""

    type = "over-sale-limit"
    title = "Too many units for a flash sale"

    def __init__(self, sale: SaleCard, requested: int) -> None:
        super().__init__(
            f"A customer may have {sale.units_per_customer} in this flash sale; the cart holds {requested}.",
            sale_id=sale.sale_id,
            product_id=sale.product_id,
            units_per_customer=sale.units_per_customer,
            requested=requested,
        )


class OneSaleAtATime(Conflict):
    """The cart holds several products that are in a flash sale; buy them one by one. `product_ids` names them."""

    type = "one-sale-at-a-time"
    title = "One flash sale at a time"

    def __init__(self, product_ids: Sequence[str]) -> None:
        detail = f"These products are in flash sales; an order takes one of them: {', '.join(product_ids)}."
        super().__init__(detail, product_ids=list(product_ids))


class AddressUnknown(NotFound):
    """The customer has no address with this id."""

    type = "address-not-found"
    title = "No such address"


class OrderTooLarge(Conflict):
    """The cart's total is beyond what one order may cost."""

    type = "order-too-large"
    title = "The order is too large"


class Overloaded(Problem):
    """More orders wait to be taken up than the shop lets wait; come back after `Retry-After`."""

    status_code = 503
    type = "overloaded"
    title = "Too many orders at once"

    def __init__(self) -> None:
        detail = "More orders wait than can be taken up in time; please try again with the same key."
        super().__init__(detail, headers={"Retry-After": str(OVERLOADED_RETRY_SECONDS)})


class OnlyPost(Problem):
    """The path takes POST alone."""

    status_code = 405
    type = "method-not-allowed"
    title = "Method Not Allowed"

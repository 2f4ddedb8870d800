"""HTTP to the use cases of the cart."""

import uuid
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response

from contracts.storefront import Visits
from kit.auth import CurrentUser, Principal
from kit.errors import BadRequest, Invalid, Unauthorized, Unavailable, responses
from kit.short_path import ShortPath, demand_json, plainly_signed_in, route_of
from oltp.cart.errors import CartFull, NotInCart, ProductNotForSale, ProductUnknown, QuantityLimit
from oltp.cart.schemas import Cart, CartAdd, CartChange
from oltp.cart.service import CartService

router = APIRouter(prefix="/api/cart", tags=["cart"], responses=responses(Unauthorized, Unavailable))


async def _service(request: Request, principal: CurrentUser) -> CartService:
    state = request.state
    visits: Visits = state.visits
    return CartService(
        state.carts,
        state.products,
        state.sales,
        state.resources.clock,
        state.cart_settings,
        principal.user_id,
        visits.of(request.headers.raw, user_id=principal.user_id),
    )


ServiceDep = Annotated[CartService, Depends(_service)]


@router.get("", summary="Show my cart", response_model=Cart)
async def show_cart(service: ServiceDep) -> Cart:
    """The cart at present prices, with warnings where stock is short."""
    return Cart.of(await service.show())


@router.post(
    "/add",
    summary="Add to my cart",
    response_model=Cart,
    responses=responses(BadRequest, Invalid, ProductUnknown, ProductNotForSale, QuantityLimit, CartFull),
)
async def add_to_cart(body: CartAdd, service: ServiceDep) -> Cart:
    """Adds units of a product to those that the cart holds already."""
    return Cart.of(await service.add(str(body.product_id), body.quantity))


@router.put(
    "/items/{product_id}",
    summary="Change a quantity",
    response_model=Cart,
    responses=responses(BadRequest, Invalid, ProductUnknown, NotInCart, ProductNotForSale, QuantityLimit),
)
async def change_quantity(product_id: uuid.UUID, body: CartChange, service: ServiceDep) -> Cart:
    """Sets how many units of a product the cart holds."""
    return Cart.of(await service.change(str(product_id), body.quantity))


@router.delete(
    "/items/{product_id}",
    summary="Remove from my cart",
    response_model=Cart,
    responses=responses(Invalid),
)
async def remove_from_cart(product_id: uuid.UUID, service: ServiceDep) -> Cart:
    """Takes a product out. What is not in the cart is out already."""
    return Cart.of(await service.remove(str(product_id)))


@router.delete("", status_code=204, summary="Empty my cart")
async def clear_cart(service: ServiceDep) -> None:
    """Takes everything out."""
    await service.clear()


def _plain_show(request: Request, _: bytes) -> tuple[Principal]:
    return (plainly_signed_in(request),)


async def _short_show(request: Request, principal: Principal) -> Response:
    return _answer(await show_cart(await _service(request, principal)))


def _plain_add(request: Request, body: bytes) -> tuple[Principal, CartAdd]:
    demand_json(request)
    return plainly_signed_in(request), CartAdd.model_validate_json(body)


async def _short_add(request: Request, principal: Principal, body: CartAdd) -> Response:
    return _answer(await add_to_cart(body, await _service(request, principal)))


def _answer(cart: Cart) -> Response:
    return Response(cart.model_dump_json(), media_type="application/json")


SHORT_PATHS: Final = (
    ShortPath(route_of(router, show_cart), _plain_show, _short_show),
    ShortPath(route_of(router, add_to_cart), _plain_add, _short_add),
)

"""The checkout route."""

import re
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Request, Response
from pydantic import ValidationError

from contracts.storefront import StorefrontKind, Visit, Visits
from kit.auth import CurrentUser, Principal
from kit.errors import Invalid, TooManyRequests, Unauthorized, Unavailable, responses
from kit.short_path import ShortPath, demand_json, plainly_signed_in, route_of
from oltp.gateway.errors import (
    AddressUnknown,
    AlreadyBought,
    CartEmpty,
    CheckoutInFlight,
    IdempotencyKeyRequired,
    IdempotencyKeyReused,
    OneSaleAtATime,
    OnlyPost,
    OrderTooLarge,
    OutOfStock,
    Overloaded,
    OverSaleLimit,
    ProductsUnavailable,
    SoldOut,
)
from oltp.gateway.queries import refuse_unknown_query
from oltp.gateway.schemas import AcceptedCheckout, CheckoutRequest
from oltp.gateway.service import Arrival, Checkout

PATH: Final = "/api/orders/checkout"

_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_KEY_PARAMETER: Final[dict[str, Any]] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "A fresh random value for each order, the same one for each try at it. Remembered for 24 hours.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"},
    "example": "6f0c2b1e-0a41-4a4f-9f57-1d0a3b8a9d55",
}
OTHER_METHODS: Final = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"]
_HEADERS: Final = {
    "Location": {"description": "Where the order can be read.", "schema": {"type": "string"}, "required": True},
    "RateLimit": {
        "description": "Checkouts left and seconds until one more is free; absent on a repeated request.",
        "schema": {"type": "string"},
        "example": '"checkout";r=2;t=60',
    },
}


def _key(request: Request) -> str:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise IdempotencyKeyRequired("Send one Idempotency-Key header of 1 to 255 visible ASCII characters.")
    return keys[0]


async def _idempotency_key(request: Request) -> str:
    return _key(request)


def _visit(request: Request, principal: Principal) -> Visit:
    return cast(Visits, request.state.visits).of(request.scope["headers"], user_id=principal.user_id)


async def _receive(request: Request, principal: Principal, key: str) -> Arrival:
    """Turns away whom no body could help."""
    try:
        return await cast(Checkout, request.state.checkout).receive(principal.user_id, key, request.state.sales)
    except Exception:
        _visit(request, principal).note(StorefrontKind.CHECKOUT_START)
        raise


async def _place(request: Request, principal: Principal, key: str, body: CheckoutRequest, arrival: Arrival) -> Response:
    service, state = cast(Checkout, request.state.checkout), request.state
    visit = _visit(request, principal)
    visit.note(StorefrontKind.CHECKOUT_START)
    accepted = await service.place(
        principal.user_id,
        key,
        body.to_purchase(),
        state.products,
        state.sales,
        state.addresses,
        request.client.host if request.client is not None else "",
        arrival,
    )
    if accepted.rate is not None:
        visit.note(StorefrontKind.ORDER_PLACED, order_id=accepted.order_id)
    return Response(
        accepted.body,
        202,
        headers={"Location": f"/api/orders/{accepted.order_id}", **service.rate_headers(accepted.rate)},
        media_type="application/json",
    )


def _plain(request: Request, body: bytes) -> tuple[Principal, str, bytes]:
    demand_json(request)
    return plainly_signed_in(request), _key(request), body


async def _short_place(request: Request, principal: Principal, key: str, body: bytes) -> Response | None:
    arrival = await _receive(request, principal, key)
    try:
        asked = CheckoutRequest.model_validate_json(body)
    except ValidationError:
        return None
    return await _place(request, principal, key, asked, arrival)


router = APIRouter(tags=["checkout"], dependencies=[Depends(refuse_unknown_query)])
other_methods_router = APIRouter()


@router.post(
    PATH,
    summary="Buy the cart",
    status_code=202,
    response_model=AcceptedCheckout,
    response_description="Accepted: the order is in the queue",
    responses={
        202: {"headers": _HEADERS},
        **responses(
            IdempotencyKeyRequired,
            Unauthorized,
            AddressUnknown,
            CartEmpty,
            ProductsUnavailable,
            OutOfStock,
            SoldOut,
            AlreadyBought,
            OverSaleLimit,
            OneSaleAtATime,
            OrderTooLarge,
            CheckoutInFlight,
            Invalid,
            IdempotencyKeyReused,
            TooManyRequests,
            Unavailable,
            Overloaded,
        ),
    },
    openapi_extra={"parameters": [_KEY_PARAMETER]},
)
async def checkout(
    body: CheckoutRequest,
    principal: CurrentUser,
    key: Annotated[str, Depends(_idempotency_key)],
    request: Request,
) -> Response:
    """Turns the caller's cart into an order and empties the cart.

    The order is accepted once it lies in the order queue; reserving the stock and charging the payment follow, and show
    at the order's `Location`. In a flash sale the sale's price holds, and the queue decides who gets its units; who
    comes after all have been taken waits for one that is not paid. The same key gets the same answer, however often and
    however late it is sent.
    """
    return await _place(request, principal, key, body, await _receive(request, principal, key))


SHORT_PATHS: Final = (ShortPath(route_of(router, checkout), _plain, _short_place),)


@other_methods_router.api_route(PATH, methods=OTHER_METHODS, include_in_schema=False)
async def only_post() -> Response:
    """Keeps other methods from taking `checkout` for the id of an order."""
    raise OnlyPost("A checkout is a POST.", headers={"Allow": "POST"})

"""The checkout route."""

import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError

from kit.auth import CurrentUser, Principal, verify_access_token
from kit.errors import Invalid, Problem, TooManyRequests, Unauthorized, Unavailable, responses
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
    OverSaleLimit,
    ProductsUnavailable,
    SoldOut,
)
from oltp.gateway.queries import refuse_unknown_query
from oltp.gateway.schemas import AcceptedCheckout, CheckoutRequest
from oltp.gateway.service import Checkout

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


async def _idempotency_key(request: Request) -> str:
    keys = request.headers.getlist("idempotency-key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise IdempotencyKeyRequired("Send one Idempotency-Key header of 1 to 255 visible ASCII characters.")
    return keys[0]


async def _place(request: Request, principal: Principal, key: str, body: CheckoutRequest) -> Response:
    service = cast(Checkout, request.state.checkout)
    state = request.state
    accepted = await service.place(
        principal.user_id, key, body.to_purchase(), state.products, state.sales, state.addresses
    )
    return Response(
        accepted.body,
        202,
        headers={"Location": f"/api/orders/{accepted.order_id}", **service.rate_headers(accepted.rate)},
        media_type="application/json",
    )


class _ShortPath(APIRoute):
    """Takes a request that is plainly right past FastAPI's dependency resolution, half of a checkout's CPU.

    Any other goes the usual way, and gets the usual errors.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        usual = super().get_route_handler()

        async def handle(request: Request) -> Response:
            headers = request.headers
            if headers.get("content-type") != "application/json" or request.scope["query_string"]:
                return await usual(request)
            scheme, _, token = headers.get("authorization", "").partition(" ")
            try:
                if scheme != "Bearer":
                    return await usual(request)
                principal = verify_access_token(request.state.resources.settings, token)
                key = await _idempotency_key(request)
                body = CheckoutRequest.model_validate_json(await request.body())
            except (Problem, ValidationError):
                return await usual(request)
            return await _place(request, principal, key, body)

        return handle


router = APIRouter(tags=["checkout"], route_class=_ShortPath, dependencies=[Depends(refuse_unknown_query)])
other_methods_router = APIRouter()


@router.post(
    "/api/orders/checkout",
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
    return await _place(request, principal, key, body)


@other_methods_router.api_route("/api/orders/checkout", methods=OTHER_METHODS, include_in_schema=False)
async def only_post() -> Response:
    """Keeps other methods from taking `checkout` for the id of an order."""
    raise OnlyPost("A checkout is a POST.", headers={"Allow": "POST"})

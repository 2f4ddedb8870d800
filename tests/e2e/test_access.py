"""Who may call what: every route of the OpenAPI document × anonymous, another customer, the owner, an admin.

What is expected follows from the route's security, and for what belongs to one customer from :data:`OWNED`. A route
with an id in its path that customers may call, and that nobody put into a table, fails.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from contracts.orders import OrderStatus
from kit.auth import Role
from oltp.gateway import openapi
from oltp.gateway.app import create, describing_settings
from tests.shop import ADDRESS, WALLET, Account, Shop

document: Final = openapi.describe(create(describing_settings()))
ROUTES: Final = {
    f"{method.upper()} {path}": operation
    for path, operations in document["paths"].items()
    for method, operation in operations.items()
}

Prepare = Callable[[Account], Awaitable[dict[str, str]]]


@dataclass(frozen=True)
class Owned:
    """A route to something that is one customer's.

    ``prepare`` makes one for its owner and gives the path's parameters. To anybody else it is not there; ``admin`` says
    whether it is for admins.
    """

    prepare: Prepare
    admin: bool
    body: dict[str, Any] | None = None


async def _address(owner: Account) -> dict[str, str]:
    answer = await owner.post("/api/users/me/addresses", json=ADDRESS)
    assert answer.status_code == 201, answer.text
    return {"address_id": answer.json()["id"]}


class Bought:
    """Orders of the owner's."""

    def __init__(self) -> None:
        self.product_id = ""
        self.shipped: dict[str, str] = {}

    async def fresh(self, owner: Account) -> dict[str, str]:
        """An order that has only just been placed."""
        return {"order_id": await owner.buy({self.product_id: 1}, payment_method=WALLET)}

    async def under_way(self, owner: Account) -> dict[str, str]:
        """An order with parcels."""
        if not self.shipped:
            placed = await self.fresh(owner)
            await owner.wait_for(
                placed["order_id"], OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED, within=60
            )
            self.shipped = placed
        return self.shipped


bought: Final = Bought()

OWNED: Final = {
    "GET /api/orders/{order_id}": Owned(bought.under_way, admin=True),
    "PUT /api/orders/{order_id}/cancel": Owned(bought.fresh, admin=True),
    "GET /api/orders/{order_id}/shipments": Owned(bought.under_way, admin=True),
    "GET /api/users/me/addresses/{address_id}": Owned(_address, admin=False),
    "PUT /api/users/me/addresses/{address_id}": Owned(_address, admin=False, body={**ADDRESS, "city": "Paris"}),
    "DELETE /api/users/me/addresses/{address_id}": Owned(_address, admin=False),
    "PUT /api/users/me/addresses/{address_id}/default": Owned(_address, admin=False),
}

OWN_BY_TOKEN: Final = {
    "DELETE /api/cart/items/{product_id}",
    "PUT /api/cart/items/{product_id}",
}
"""The id is of something public; what is touched is the caller's own, by the token."""

SIGNED: Final = {"POST /api/payments/webhooks/paypal", "POST /api/payments/webhooks/stripe"}
"""Open to whoever has the provider's signature; no token helps."""

SAMPLE: Final = {
    "order_id": str(uuid.uuid4()),
    "product_id": str(uuid.uuid4()),
    "address_id": str(uuid.uuid4()),
    "sale_id": str(uuid.uuid4()),
}


@dataclass(frozen=True)
class Callers:
    """One of each kind."""

    anonymous: httpx.AsyncClient
    other: Account
    owner: Account
    admin: Account


@pytest.fixture(scope="module")
async def callers(shop: Shop, admin: Account) -> Callers:
    bought.product_id = await shop.new_product(units=1000)
    owner, other = await shop.register(), await shop.register()
    return Callers(shop.http, other, owner, admin)


def _call(caller: Account | httpx.AsyncClient, route: str, ids: dict[str, str], body: Any) -> Awaitable[httpx.Response]:
    method, path = route.split(" ")
    options: dict[str, Any] = {"headers": {"Idempotency-Key": str(uuid.uuid4())}}
    if "requestBody" in ROUTES[route]:
        options["json"] = body if body is not None else {}
    return caller.request(method, path.format(**ids), **options)


def test_every_route_with_an_id_is_in_a_table() -> None:
    open_to_customers = {
        route
        for route, operation in ROUTES.items()
        if "{" in route and Role.CUSTOMER in (openapi.roles(operation) or ())
    }
    assert open_to_customers == set(OWNED) | OWN_BY_TOKEN
    assert {route for route, operation in ROUTES.items() if _is_signed(operation)} == SIGNED


def _is_signed(operation: dict[str, Any]) -> bool:
    return "security" in operation and openapi.roles(operation) is None


def test_what_is_called_admin_is_for_admins() -> None:
    for route, operation in ROUTES.items():
        assert ("/api/admin/" in route) == (openapi.roles(operation) == {Role.ADMIN}), route


@pytest.mark.parametrize("route", [r for r, o in ROUTES.items() if openapi.roles(o) is None and not _is_signed(o)])
async def test_public_routes_ask_nobody_who_they_are(callers: Callers, route: str) -> None:
    for caller in (callers.anonymous, callers.other, callers.admin):
        answer = await _call(caller, route, SAMPLE, None)
        assert answer.status_code not in (401, 403), (route, answer.text)


@pytest.mark.parametrize("route", sorted(SIGNED))
async def test_signed_routes_take_nobodys_token(callers: Callers, route: str) -> None:
    for caller in (callers.anonymous, callers.other, callers.admin):
        answer = await _call(caller, route, SAMPLE, {"id": "evt_1"})
        assert answer.status_code in (400, 401, 404), (route, answer.text)


@pytest.mark.parametrize("route", [r for r, o in ROUTES.items() if openapi.roles(o) == {Role.ADMIN}])
async def test_admin_routes_are_for_admins_alone(callers: Callers, route: str) -> None:
    anonymous = await _call(callers.anonymous, route, SAMPLE, None)
    assert anonymous.status_code == 401, (route, anonymous.text)
    assert anonymous.headers["www-authenticate"] == "Bearer"
    for customer in (callers.other, callers.owner):
        answer = await _call(customer, route, SAMPLE, None)
        assert answer.status_code == 403, (route, answer.text)
    answer = await _call(callers.admin, route, SAMPLE, None)
    assert answer.status_code not in (401, 403), (route, answer.text)


@pytest.mark.parametrize("route", [r for r, o in ROUTES.items() if openapi.roles(o) == {Role.CUSTOMER}])
async def test_signed_in_routes_serve_everybody_their_own(callers: Callers, route: str) -> None:
    anonymous = await _call(callers.anonymous, route, SAMPLE, None)
    assert anonymous.status_code == 401, (route, anonymous.text)
    if route in OWNED:
        return
    for caller in (callers.other, callers.owner, callers.admin):
        answer = await _call(caller, route, SAMPLE, None)
        assert answer.status_code not in (401, 403), (route, answer.text)


@pytest.mark.parametrize("route", list(OWNED))
async def test_what_is_one_customers_is_not_there_for_another(callers: Callers, route: str) -> None:
    owned = OWNED[route]
    ids = await owned.prepare(callers.owner)
    stranger = await _call(callers.other, route, ids, owned.body)
    nowhere = await _call(callers.other, route, SAMPLE, owned.body)
    assert stranger.status_code == nowhere.status_code == 404, (route, stranger.text, nowhere.text)
    assert stranger.json()["detail"] == nowhere.json()["detail"]

    answer = await _call(callers.owner, route, ids, owned.body)
    assert answer.is_success, (route, answer.status_code, answer.text)

    answer = await _call(callers.admin, route, await owned.prepare(callers.owner), owned.body)
    assert answer.is_success if owned.admin else answer.status_code == 404, (route, answer.status_code, answer.text)


async def test_a_checkout_goes_to_ones_own_addresses_alone(shop: Shop) -> None:
    """The id stands in the body, where the table above does not see it."""
    owner, stranger = await shop.register(), await shop.register()
    [product_id] = await shop.products(1)
    stored = await _address(owner)
    refusals = []
    for address_id in (stored["address_id"], SAMPLE["address_id"]):
        await stranger.fill_cart({product_id: 1})
        body = {"address_id": address_id, "payment_method": WALLET}
        refusals.append(await _call(stranger, "POST /api/orders/checkout", {}, body))
    assert {(answer.status_code, answer.json()["type"]) for answer in refusals} == {(404, "address-not-found")}
    assert len({answer.json()["detail"] for answer in refusals}) == 1

    await owner.fill_cart({product_id: 1})
    answer = await _call(owner, "POST /api/orders/checkout", {}, {**stored, "payment_method": WALLET})
    assert answer.status_code == 202, answer.text
    assert (await owner.order(answer.json()["order_id"]))["shipping_address"]["city"] == ADDRESS["city"]

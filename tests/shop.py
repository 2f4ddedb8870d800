"""A running shop, driven through its public API as customers and admins do."""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import pytest
from pydantic import Field, SecretStr

from contracts.orders import OrderStatus
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from kit.settings import Settings

PASSWORD: Final = "correct horse battery staple"
ADDRESS: Final = {
    "name": "Ada Lovelace",
    "line1": "12 St James's Square",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}
CARD: Final = {"type": "card", "token": "pm_card_visa"}
PAYPAL: Final = {"type": "paypal", "token": "B-4242"}
WALLET: Final = {"type": "wallet", "token": "tok_ok"}
DECLINED: Final = {"type": "wallet", "token": "tok_card_declined"}

SETTLED: Final = frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.CANCELLED})
"""What the saga needs nobody for any more: a parcel is under way, or the order is cancelled."""

_numbers = itertools.count(1)


class ShopSettings(Settings):
    """Where the running shop is."""

    port_base: int = 18000
    admin_email: str = "admin@surge.example"
    admin_password: SecretStr = Field(default=SecretStr(""))


@dataclass
class Account:
    """A signed-in user of the shop. Requests carry the access token unless they bring their own headers."""

    http: httpx.AsyncClient
    user_id: str
    token: str
    email: str = ""
    password: str = field(default=PASSWORD, repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The header that signs a request in."""
        return {"Authorization": f"Bearer {self.token}"}

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, signed in."""
        headers = {**self.headers, **options.pop("headers", {})}
        return await self.http.request(method, path, headers=headers, **options)

    async def get(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Any) -> httpx.Response:
        return await self.request("DELETE", path, **options)

    async def fill_cart(self, quantities: dict[str, int]) -> None:
        """Adds products to the cart."""
        for product_id, quantity in quantities.items():
            answer = await self.post("/api/cart/add", json={"product_id": product_id, "quantity": quantity})
            assert answer.is_success, answer.text

    async def checkout(
        self,
        key: str | None = None,
        *,
        payment_method: dict[str, str] = CARD,
        shipping_address: dict[str, Any] = ADDRESS,
    ) -> httpx.Response:
        """Buys the cart; without ``key`` under a fresh idempotency key."""
        return await self.post(
            "/api/orders/checkout",
            headers={"Idempotency-Key": key or str(uuid.uuid4())},
            json={"shipping_address": shipping_address, "payment_method": payment_method},
        )

    async def buy(self, quantities: dict[str, int], **options: Any) -> str:
        """Fills the cart, checks out, and returns the accepted order's id."""
        await self.fill_cart(quantities)
        answer = await self.checkout(**options)
        assert answer.status_code == 202, answer.text
        order_id: str = answer.json()["order_id"]
        return order_id

    async def order(self, order_id: str) -> dict[str, Any]:
        """The order as its owner reads it."""
        answer = await self.get(f"/api/orders/{order_id}")
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def wait_for(self, order_id: str, *statuses: OrderStatus | str, within: float = 20) -> dict[str, Any]:
        """The order as soon as it has one of the statuses (without any: :data:`SETTLED`).

        Fails when the time is up, or when the order is cancelled without that being waited for.
        """
        wanted = set(statuses or SETTLED)
        deadline = time.monotonic() + within
        while True:
            order = await self.order(order_id)
            if order["status"] in wanted:
                return order
            assert order["status"] != OrderStatus.CANCELLED, f"cancelled: {order}"
            assert time.monotonic() < deadline, f"{order_id} is still {order['status']}, not {sorted(wanted)}"
            await asyncio.sleep(0.05)


@dataclass
class Shop:
    """The running shop."""

    settings: ShopSettings
    http: httpx.AsyncClient

    @property
    def base_url(self) -> str:
        """Where the gateway is."""
        return f"http://{self.settings.host}:{self.settings.port_base}"

    def issue(self, role: Role = Role.CUSTOMER, user_id: str | None = None) -> Account:
        """Somebody with a valid access token and no registration."""
        user_id = user_id or new_id()
        token = issue_access_token(self.settings, Principal(user_id, role), SystemClock().now())
        return Account(self.http, user_id, token)

    async def register(self, email: str | None = None, name: str = "Ada Lovelace") -> Account:
        """A new customer, registered and signed in through the API."""
        email = email or f"customer-{uuid.uuid4().hex[:16]}-{next(_numbers)}@example.com"
        body = {"email": email, "password": PASSWORD, "name": name}
        return self._signed_in(await self.http.post("/api/auth/register", json=body), 201, email, PASSWORD)

    async def sign_in(self, email: str, password: str) -> Account:
        """A registered user, signed in through the API."""
        answer = await self.http.post("/api/auth/login", json={"email": email, "password": password})
        return self._signed_in(answer, 200, email, password)

    async def products(self, count: int, *, at_least: int = 50) -> list[str]:
        """Ids of products on sale of which at least so many units are left."""
        found: list[str] = []
        page = 1
        while len(found) < count:
            answer = await self.http.get("/api/products", params={"page": page, "page_size": 100})
            assert answer.status_code == 200, answer.text
            document = answer.json()
            found += [row["id"] for row in document["items"] if (row["stock"] or 0) >= at_least]
            assert document["has_more"] or len(found) >= count, f"only {len(found)} products have {at_least} units"
            page += 1
        return found[:count]

    async def new_product(self, *, units: int, unit_price: int = 1999, name: str = "Test tea") -> str:
        """The id of a product of our own, of which so many units lie in one warehouse, once they can be bought."""
        admin = self.issue(Role.ADMIN)
        [category, *_] = (await self.http.get("/api/categories")).json()["items"]
        [warehouse, *_] = (await self.http.get("/api/warehouses")).json()
        product = {"sku": f"T-{uuid.uuid4().hex[:12].upper()}", "name": name, "unit_price": unit_price}
        created = await admin.post("/api/admin/products", json={**product, "category": category["slug"]})
        assert created.status_code == 201, created.text
        product_id: str = created.json()["id"]
        if units:
            delivery = {"warehouse_id": warehouse["id"], "quantity": units, "reason": "test delivery"}
            path = f"/api/admin/inventory/{product_id}/restock"
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            restocked = await admin.post(path, json=delivery, headers=headers)
            assert restocked.is_success, restocked.text

            async def for_sale() -> None:
                shown = (await self.http.get(f"/api/products/{product_id}")).json()
                assert shown["stock"] == units, shown

            await eventually(for_sale)
        return product_id

    def _signed_in(self, answer: httpx.Response, status: int, email: str, password: str) -> Account:
        assert answer.status_code == status, answer.text
        document = answer.json()
        return Account(self.http, document["user"]["id"], document["access_token"], email, password)


@pytest.fixture(scope="session")
def shop_settings() -> ShopSettings:
    """The running shop's settings."""
    return ShopSettings()


@pytest.fixture(scope="session")
async def shop(shop_settings: ShopSettings) -> AsyncIterator[Shop]:
    """The running shop."""
    base_url = f"http://{shop_settings.host}:{shop_settings.port_base}"
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=base_url, timeout=httpx.Timeout(30, pool=None), limits=limits) as http:
        yield Shop(shop_settings, http)


@pytest.fixture
async def customer(shop: Shop) -> Account:
    """A freshly registered customer."""
    return await shop.register()


@pytest.fixture(scope="session")
async def admin(shop: Shop) -> Account:
    """The seeded admin, signed in."""
    return await shop.sign_in(shop.settings.admin_email, shop.settings.admin_password.get_secret_value())


async def eventually(check: Callable[[], Awaitable[Any]], *, within: float = 10, interval: float = 0.05) -> Any:
    """What ``check`` returns once its assertions hold; its last failure when ``within`` seconds are up."""
    deadline = time.monotonic() + within
    while True:
        try:
            return await check()
        except AssertionError:
            if time.monotonic() >= deadline:
                raise
        await asyncio.sleep(interval)

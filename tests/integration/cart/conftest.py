"""The cart's routes on a real Redis, with a product directory in hand."""

import datetime as dt
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from contracts import redis_keys
from contracts.products import ProductCard
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.ids import new_id
from kit.resources import Resources
from kit.short_path import ShortPaths
from oltp.cart.endpoints import SHORT_PATHS, router
from oltp.cart.state import lifespan
from tests.sale_board import HandMadeBoard
from tests.visits import Overheard


class Stock:
    """A directory of products; ``away`` has it fail as when Postgres and Redis do not answer."""

    def __init__(self) -> None:
        self.cards: dict[str, ProductCard] = {}
        self.away = False

    async def get_many(self, product_ids: Iterable[str]) -> dict[str, ProductCard]:
        if self.away:
            raise ConnectionError("away")
        return {i: self.cards[i] for i in product_ids if i in self.cards}


@dataclass
class Corner:
    """A shop with a few products and a customer."""

    resources: Resources
    state: dict[str, Any]
    products: Stock = field(default_factory=Stock)
    sales: HandMadeBoard = field(default_factory=HandMadeBoard)
    users: list[str] = field(default_factory=list)
    visits: Overheard = field(default_factory=Overheard)

    def product(self, name: str = "Kettle", *, price: int = 1999, active: bool = True) -> str:
        product_id = new_id()
        self.products.cards[product_id] = ProductCard(
            product_id=product_id,
            sku="K-1",
            name=name,
            category="Kettles",
            unit_price=price,
            currency="USD",
            active=active,
            image_url="/k.jpg",
        )
        return product_id

    def change(self, product_id: str, **fields: Any) -> None:
        self.products.cards[product_id] = msgspec.structs.replace(self.products.cards[product_id], **fields)

    async def stock(self, product_id: str, units: int | str) -> None:
        await self.resources.redis.set(redis_keys.stock(product_id), units, ex=60)

    def customer(self, role: Role = Role.CUSTOMER) -> dict[str, str]:
        user_id = new_id()
        self.users.append(user_id)
        token = issue_access_token(self.resources.settings, Principal(user_id, role), dt.datetime.now(dt.UTC))
        return {"Authorization": f"Bearer {token}"}

    def set(self, **settings: Any) -> None:
        changed = self.state["cart_settings"].model_copy(update=settings)
        self.state["cart_settings"] = changed
        self.state["carts"] = type(self.state["carts"])(self.resources.shared_redis, changed)


@pytest.fixture
async def corner(resources: Resources) -> AsyncIterator[Corner]:
    """A shop; its carts go away afterwards."""
    async with lifespan(resources) as state:
        here = Corner(resources, dict(state))
        yield here
    if here.users:
        await resources.redis.delete(*map(redis_keys.cart, here.users))


@pytest.fixture(params=["usual way", "short path"])
async def api(corner: Corner, request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    """The cart's routes as the gateway serves them, with their short paths and without."""
    app = create_app(corner.resources.settings, title="Cart", routers=[router])
    if request.param == "short path":
        app.user_middleware.append(Middleware(ShortPaths, paths=SHORT_PATHS))

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        state = {"resources": corner.resources, "products": corner.products, "sales": corner.sales, **corner.state}
        state["visits"] = corner.visits
        await app({**scope, "state": state}, receive, send)

    transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
        yield http

"""The sales' routes on a real database and Redis, with products and stock in hand."""

import datetime as dt
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from contracts.products import ProductCard
from contracts.sales import SaleFigures
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.ids import new_id
from kit.resources import Resources
from oltp.sales.board import Board
from oltp.sales.endpoints import router


@dataclass
class Back:
    """Products and what inventory says of them: ProductDirectory and SaleBooks in one."""

    cards: dict[str, ProductCard] = field(default_factory=dict)
    units: dict[str, int] = field(default_factory=dict)
    taken: dict[str, SaleFigures] = field(default_factory=dict)

    def put(self, *, units: int = 100, unit_price: int = 2000, active: bool = True) -> str:
        product_id = new_id()
        self.units[product_id] = units
        self.cards[product_id] = ProductCard(
            product_id=product_id,
            sku="S-1",
            name="Lamp",
            category="Lamps",
            unit_price=unit_price,
            currency="USD",
            active=active,
        )
        return product_id

    async def get_many(self, product_ids: Iterable[str]) -> dict[str, ProductCard]:
        return {i: self.cards[i] for i in product_ids if i in self.cards}

    async def available(self, product_ids: Collection[str]) -> dict[str, int]:
        return {i: self.units[i] for i in product_ids if i in self.units}

    async def figures(self, sale_ids: Collection[str]) -> dict[str, SaleFigures]:
        return {i: self.taken[i] for i in sale_ids if i in self.taken}

    async def waiting(self, sale_ids: Collection[str]) -> dict[str, list[str]]:
        raise AssertionError("admins are not shown who waits")


@dataclass
class Desk:
    """The API and what is behind it."""

    http: httpx.AsyncClient
    resources: Resources
    board: Board
    back: Back

    def board_of_another_process(self) -> Board:
        return Board(self.resources.shared_redis, self.resources.database, self.resources.clock)

    async def open(self, product_id: str, **fields: Any) -> httpx.Response:
        now = dt.datetime.now(dt.UTC)
        body = {
            "product_id": product_id,
            "units": 10,
            "unit_price": 1500,
            "starts_at": now.isoformat(),
            "ends_at": (now + dt.timedelta(hours=1)).isoformat(),
        }
        return await self.http.post("/api/admin/sales", json={**body, **fields})


@pytest.fixture
async def desk(resources: Resources) -> AsyncIterator[Desk]:
    """The API as the gateway serves it, to an admin."""
    app = create_app(resources.settings, title="Sales", routers=[router])
    board = Board(resources.shared_redis, resources.database, resources.clock)
    back = Back()

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        state = {"resources": resources, "products": back, "sales": board, "sale_books": back}
        await app({**scope, "state": state}, receive, send)

    token = issue_access_token(resources.settings, Principal(new_id(), Role.ADMIN), dt.datetime.now(dt.UTC))
    transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test", headers=headers) as http:
        yield Desk(http, resources, board, back)
    async with resources.database.write() as session:
        await session.execute(
            text("DELETE FROM sales.sales WHERE product_id = ANY(CAST(:ids AS uuid[]))"), {"ids": list(back.cards)}
        )

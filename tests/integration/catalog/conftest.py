"""The catalog on a real database, and on a Redis database of its own so that a running shop does not interfere."""

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from contracts.envelope import Envelope
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.clock import FixedClock
from kit.ids import new_id
from kit.resources import Resources
from kit.shared_redis import SharedRedis
from oltp.catalog import service
from oltp.catalog.directory import Directory
from oltp.catalog.endpoints import router
from oltp.catalog.repository import ProductWriter
from oltp.catalog.settings import CatalogSettings
from oltp.catalog.state import CatalogState, CategoryCounts
from tests.sale_board import HandMadeBoard
from tests.visits import Overheard

_REDIS_DATABASE = 12


@dataclass
class Catalog:
    """The service with one category of its own, and what it announced."""

    resources: Resources
    clock: FixedClock
    state: CatalogState
    category: str
    announced: list[Envelope] = field(default_factory=list)
    sales: HandMadeBoard = field(default_factory=HandMadeBoard)
    visits: Overheard = field(default_factory=Overheard)

    @property
    def redis(self) -> Redis:
        return self.resources.redis

    @property
    def admin(self) -> dict[str, str]:
        return self.headers(Role.ADMIN)

    def headers(self, role: Role, user_id: str | None = None) -> dict[str, str]:
        principal = Principal(user_id or new_id(), role)
        token = issue_access_token(self.resources.settings, principal, dt.datetime.now(dt.UTC))
        return {"Authorization": f"Bearer {token}"}

    def directory(self, **settings: Any) -> Directory:
        """Another process's directory."""
        changed = self.state.settings.model_copy(update=settings)
        return Directory(self.resources.shared_redis, self.resources.database, changed)

    async def add(self, **fields: Any) -> str:
        """A product that nobody was told about."""
        product_id = new_id()
        defaults = {
            "sku": f"T-{uuid.uuid4().hex.upper()}",
            "name": "Kettle",
            "description": "",
            "category": self.category,
            "unit_price": 1999,
            "currency": "USD",
            "image_url": "",
            "active": True,
        }
        self.clock.advance(dt.timedelta(seconds=1))
        async with self.resources.database.write() as session:
            await ProductWriter(session).add(product_id, {**defaults, **fields}, at=self.clock.now())
        return product_id

    async def sql(self, statement: str, **values: Any) -> None:
        """A change by hand."""
        async with self.resources.database.write() as session:
            await session.execute(text(statement), values)

    def said(self, product_id: str) -> list[str]:
        return [envelope.type for envelope in self.announced if envelope.subject == product_id]


@pytest.fixture
async def catalog(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Catalog]:
    """The catalog; its products and category go away afterwards."""
    url = urlsplit(resources.settings.redis_url.get_secret_value())
    own = SecretStr(urlunsplit(url._replace(path=f"/{_REDIS_DATABASE}")))
    redis = Redis.from_url(own.get_secret_value(), decode_responses=True)
    shared = SharedRedis(resources.settings.model_copy(update={"redis_url": own}))
    await redis.flushdb()
    clock = FixedClock(dt.datetime.now(dt.UTC))
    held = replace(resources, redis=redis, shared_redis=shared, clock=clock)
    settings = CatalogSettings.beside(resources.settings).model_copy(update={"catalog_categories_seconds": 0})
    state = CatalogState(
        settings,
        Directory(shared, held.database, settings),
        CategoryCounts(held.database, settings.catalog_categories_seconds),
    )
    here = Catalog(held, clock, state, category=f"test-{uuid.uuid4().hex}")
    publish = service.outbox.publish

    async def overheard(session, envelopes):
        batch = list(envelopes)
        await publish(session, batch)
        here.announced += batch

    monkeypatch.setattr(service.outbox, "publish", overheard)
    async with held.database.write() as session:
        await ProductWriter(session).add_category(new_id(), here.category, here.category.title())
    yield here
    mine = "SELECT p.id FROM catalog.products p JOIN catalog.categories c ON c.id = p.category_id WHERE c.slug = :slug"
    for statement in (
        f"DELETE FROM catalog.price_history WHERE product_id IN ({mine})",
        f"DELETE FROM catalog.products WHERE id IN ({mine})",
        "DELETE FROM catalog.categories WHERE slug = :slug OR slug LIKE :slug || '-%'",
    ):
        await here.sql(statement, slug=here.category)
    await redis.flushdb()
    await redis.aclose()
    shared.close()


@pytest.fixture
async def api(catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    """The catalog's routes as the gateway serves them."""
    app = create_app(catalog.resources.settings, title="Catalog", routers=[router])

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        state = {"resources": catalog.resources, "catalog": catalog.state, "products": catalog.state.directory}
        state |= {"sales": catalog.sales, "visits": catalog.visits}
        await app({**scope, "state": state}, receive, send)

    transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as http:
        yield http

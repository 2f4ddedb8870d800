"""The accounts routes on a real database and Redis, with a clock in hand and client addresses of their own."""

import datetime as dt
import itertools
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from contracts.envelope import Envelope
from kit.app import create_app
from kit.clock import FixedClock
from kit.resources import Resources
from oltp.accounts import service
from oltp.accounts.endpoints import router
from oltp.accounts.service import SignIns
from oltp.accounts.state import AccountsState, lifespan

PASSWORD = "correct horse battery staple"
DOMAIN = "accounts-tests.example.com"
_hosts = itertools.count(1)


@dataclass
class Desk:
    """The service with what it announced."""

    resources: Resources
    clock: FixedClock
    state: AccountsState
    announced: list[Envelope] = field(default_factory=list)

    @asynccontextmanager
    async def client(self, host: str | None = None, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
        """The API as a client at an address of its own sees it; keyword arguments change the service's settings."""
        app = create_app(self.resources.settings, title="Accounts", routers=[router])
        state = replace(self.state, settings=self.state.settings.model_copy(update=settings))

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": {"resources": self.resources, "accounts": state}}, receive, send)

        number = next(_hosts)
        host = host or f"2001:db8:{uuid.uuid4().hex[:4]}:{number:x}::1"
        transport = httpx.ASGITransport(app=with_state, client=(host, 1), raise_app_exceptions=False)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://shop.test", headers={"User-Agent": "tests"}
        ) as http:
            yield http

    @property
    def sign_ins(self) -> SignIns:
        return SignIns(self.resources, self.state)

    def said(self, user_id: str) -> list[str]:
        return [envelope.type for envelope in self.announced if envelope.subject == user_id]


@pytest.fixture
async def desk(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    """Accounts; its users go away afterwards."""
    clock = FixedClock(dt.datetime.now(dt.UTC))
    held = replace(resources, clock=clock)
    async with lifespan(held) as state:
        here = Desk(held, clock, state["accounts"])
        publish = service.outbox.publish

        async def overheard(session, envelopes):
            batch = list(envelopes)
            await publish(session, batch)
            here.announced += batch

        monkeypatch.setattr(service.outbox, "publish", overheard)
        yield here
    async with resources.database.write() as session:
        await session.execute(text("DELETE FROM accounts.users WHERE email LIKE :mine"), {"mine": f"%@{DOMAIN}"})


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """The API."""
    async with desk.client() as http:
        yield http


def fresh_email() -> str:
    """An address that nobody has."""
    return f"{uuid.uuid4().hex}@{DOMAIN}"


@dataclass
class Someone:
    """A registered customer."""

    id: str
    email: str
    tokens: dict[str, Any]

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.tokens['access_token']}"}


async def register(api: httpx.AsyncClient, email: str | None = None) -> Someone:
    """A fresh customer."""
    email = email or fresh_email()
    answer = await api.post(
        "/api/auth/register",
        json={"name": "Ada Lovelace", "email": email, "password": PASSWORD, "phone": "+442071234567"},
    )
    assert answer.status_code == 201, answer.text
    return Someone(answer.json()["user"]["id"], email, answer.json())

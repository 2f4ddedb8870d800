"""Shipping on a real database. Its time is 1990, so that its clock and a running shop's never meet the same rows."""

import datetime as dt
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from contracts import commands
from contracts.envelope import Envelope, Message, registry, seal
from contracts.orders import Address, Allocation
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.clock import FixedClock
from kit.ids import new_id
from kit.kafka import Received, in_transaction
from kit.resources import Resources
from oltp.shipping import service
from oltp.shipping.carriers import CarrierNetwork
from oltp.shipping.endpoints import router
from oltp.shipping.repository import Record, ShippingRepository
from oltp.shipping.service import CommandService, ParcelClock

NOW = dt.datetime(1990, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
WILLING = CarrierNetwork(refusal_rate=0, delay_rate=0, clock_speed=20_000.0)
OSLO = Address(
    name="Ada", line1="1 Main St", city="Oslo", postal_code="0150", country="NO", latitude=59.91, longitude=10.75
)


def received(payload: Message, cause: str | None = None) -> Received:
    """A command as the consumer hands it over."""
    order_id = str(getattr(payload, "order_id", ""))
    envelope = seal(payload, id=cause or new_id(), source="test", subject=order_id, time=NOW, correlationid="followed")
    return Received(envelope, payload, "shipping-commands", 0, 0)


@dataclass
class Dock:
    """Shipping with its clock in hand, and what it said without being asked."""

    resources: Resources
    warehouses: list[str]
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    carriers: CarrierNetwork = WILLING
    announced: list[Envelope] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)

    def create(self, order_id: str, *, user_id: str | None = None, parcels: int = 1, attempt: int = 1) -> Message:
        self.orders.append(order_id)
        return commands.CreateShipment(
            order_id=order_id,
            user_id=user_id or new_id(),
            allocations=[
                Allocation(product_id=new_id(), warehouse_id=w, quantity=1) for w in self.warehouses[:parcels]
            ],
            destination=OSLO,
            attempt=attempt,
        )

    def cancel(self, order_id: str) -> Message:
        self.orders.append(order_id)
        return commands.CancelShipment(order_id=order_id)

    async def answer(self, batch: Sequence[Received]) -> list[Envelope]:
        handler = CommandService(self.clock, self.carriers).answer
        return (await in_transaction(self.resources.database, handler)(batch)).messages

    async def tick(self, seconds: float = 0, *, batch: int = 100) -> None:
        self.clock.advance(dt.timedelta(seconds=seconds))
        await ParcelClock(self.resources.database, self.clock, self.carriers, batch=batch).tick()

    async def record(self, order_id: str) -> Record:
        async with self.resources.database.read() as session:
            record = await ShippingRepository(session).get(order_id)
        assert record is not None
        return record

    def said(self, order_id: str) -> list[str]:
        return [e.type for e in self.announced if e.subject == order_id]


@pytest.fixture
async def dock(resources: Resources, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Dock]:
    """Shipping with two warehouses; its rows go away afterwards."""
    here = Dock(replace(resources, clock=FixedClock(NOW)), warehouses=sorted([new_id(), new_id()]))
    publish = service.outbox.publish

    async def overheard(session, envelopes):
        batch = list(envelopes)
        await publish(session, batch)
        here.announced += batch

    monkeypatch.setattr(service.outbox, "publish", overheard)
    async with resources.database.write() as session:
        for number, warehouse in enumerate(here.warehouses):
            await session.execute(
                text("INSERT INTO shipping.warehouse_locations VALUES (CAST(:id AS uuid), 'W', :latitude, 5.0)"),
                {"id": warehouse, "latitude": 50.0 + number},
            )
    yield here
    async with resources.database.write() as session:
        values = {"orders": here.orders, "warehouses": here.warehouses}
        for statement in (
            "DELETE FROM shipping.shipments WHERE order_id = ANY(CAST(CAST(:orders AS text[]) AS uuid[]))",
            "DELETE FROM shipping.fulfilments WHERE order_id = ANY(CAST(CAST(:orders AS text[]) AS uuid[]))",
            "DELETE FROM shipping.warehouse_locations"
            " WHERE warehouse_id = ANY(CAST(CAST(:warehouses AS text[]) AS uuid[]))",
        ):
            await session.execute(text(statement), {k: v for k, v in values.items() if f":{k}" in statement})


def names(messages: Sequence[Envelope]) -> list[str]:
    """The types of messages."""
    return [envelope.type for envelope in messages]


def decoded(envelope: Envelope) -> Message:
    """A message's payload."""
    return registry.decode(envelope)


@pytest.fixture
async def api(dock: Dock) -> AsyncIterator[httpx.AsyncClient]:
    """The shipping routes as the gateway serves them."""
    app = create_app(dock.resources.settings, title="Shipping", routers=[router])

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": {"resources": dock.resources}}, receive, send)

    transport = httpx.ASGITransport(app=with_state)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop.test") as client:
        yield client


def signed_in(resources: Resources, user_id: str, role: Role = Role.CUSTOMER) -> dict[str, str]:
    """The headers of someone who is signed in."""
    token = issue_access_token(resources.settings, Principal(user_id, role), dt.datetime.now(dt.UTC))
    return {"Authorization": f"Bearer {token}"}

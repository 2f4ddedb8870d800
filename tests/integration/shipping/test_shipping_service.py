"""Commands, the clock and their races on a real database."""

import asyncio
import datetime as dt
from dataclasses import replace

import pytest
from sqlalchemy import text

from kit.ids import new_id
from oltp.shipping.domain import ParcelStatus, State
from oltp.shipping.errors import NotShippable
from oltp.shipping.service import ShipmentService

from .conftest import NOW, Dock, names, received


async def test_a_batch_books_every_order_and_a_redelivery_books_none(dock: Dock):
    batch = [received(dock.create(new_id(), parcels=2)) for _ in range(50)]
    first = await dock.answer(batch)
    dock.clock.advance(dt.timedelta(minutes=1))
    second = await dock.answer(batch)
    assert names(first) == ["shipment.created"] * 50
    assert second == first
    async with dock.resources.database.read() as session:
        count = await session.scalar(
            text("SELECT count(*) FROM shipping.shipments WHERE warehouse_id = CAST(:id AS uuid)"),
            {"id": dock.warehouses[0]},
        )
    assert count == 50


async def test_what_is_stored_is_what_was_decided(dock: Dock):
    order_id, user_id = new_id(), new_id()
    dock.carriers = replace(dock.carriers, delay_rate=1)
    (reply,) = await dock.answer([received(dock.create(order_id, user_id=user_id, parcels=2))])
    record = await dock.record(order_id)
    assert record.correlation_id == "followed"
    assert record.state.user_id == user_id
    assert record.state.state is State.BOOKED
    assert record.state.destination is not None
    assert record.state.destination.city == "Oslo"
    assert [p.warehouse_id for p in record.state.parcels] == dock.warehouses
    assert record.state.replies[0].message.parcels[0].shipment_id == record.state.parcels[0].shipment_id
    assert reply.causationid == record.state.replies[0].cause
    assert reply.correlationid == "followed"
    await dock.tick(10_000)
    parcels = (await dock.record(order_id)).state.parcels
    assert {p.status for p in parcels} == {ParcelStatus.DELIVERED}
    assert all(p.delayed_by > dt.timedelta(0) for p in parcels)


async def test_create_and_cancel_in_one_batch_in_either_order(dock: Dock):
    early, late = new_id(), new_id()
    replies = await dock.answer(
        [
            received(dock.cancel(early)),
            received(dock.create(late)),
            received(dock.create(early)),
            received(dock.cancel(late)),
        ]
    )
    assert names(replies) == ["shipment.cancelled", "shipment.created", "shipment.failed", "shipment.cancelled"]
    for order_id in (early, late):
        assert (await dock.record(order_id)).state.state is State.CANCELLED
    await dock.tick(10_000)
    assert dock.announced == []


async def test_a_refused_order_is_booked_by_the_next_attempt(dock: Dock):
    order_id = new_id()
    dock.carriers = replace(dock.carriers, refusal_rate=1)
    assert names(await dock.answer([received(dock.create(order_id))])) == ["shipment.failed"]
    dock.carriers = replace(dock.carriers, refusal_rate=0)
    assert names(await dock.answer([received(dock.create(order_id, attempt=2))])) == ["shipment.created"]
    assert (await dock.record(order_id)).state.attempt == 2


async def test_the_clock_moves_orders_in_bounded_batches_to_their_end(dock: Dock):
    orders = [new_id() for _ in range(25)]
    await dock.answer([received(dock.create(order_id, parcels=2)) for order_id in orders])
    await dock.tick(1)
    assert dock.announced == []
    for _ in range(40):
        await dock.tick(1, batch=7)
    for order_id in orders:
        said = dock.said(order_id)
        assert said[0] == "shipment.in_transit"
        assert said[-1] == "shipment.delivered"
        assert said.count("shipment.moved") == 2 * (dock.carriers.legs + 1)
        assert (await dock.record(order_id)).state.next_event_at is None
    assert len({e.id for e in dock.announced}) == len(dock.announced)
    assert {e.correlationid for e in dock.announced} == {"followed"}
    async with dock.resources.database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM outbox.outbox")) == 0


async def test_two_clocks_at_once_tell_each_thing_once(dock: Dock):
    orders = [new_id() for _ in range(60)]
    await dock.answer([received(dock.create(order_id)) for order_id in orders])
    dock.clock.advance(dt.timedelta(hours=1))
    await asyncio.gather(*(dock.tick(batch=10) for _ in range(4)))
    assert len({e.id for e in dock.announced}) == len(dock.announced)
    for order_id in orders:
        assert dock.said(order_id).count("shipment.delivered") == 1


async def test_a_cancellation_that_races_the_clock_and_an_admin_has_one_outcome(dock: Dock):
    orders = [new_id() for _ in range(40)]
    await dock.answer([received(dock.create(order_id)) for order_id in orders])
    dock.clock.advance(dt.timedelta(seconds=6))

    async def cancel(part: list[str]) -> list[str]:
        return names(await dock.answer([received(dock.cancel(order_id)) for order_id in part]))

    async def ship(order_id: str) -> None:
        async with dock.resources.database.write() as session:
            try:
                await ShipmentService(session, dock.clock).ship(session, order_id)
            except NotShippable:
                return

    halves = orders[:20], orders[20:]
    first, second, *_ = await asyncio.gather(
        cancel(halves[0]), cancel(halves[1]), dock.tick(batch=3), *(ship(order_id) for order_id in orders[::4])
    )
    await dock.tick(batch=3)
    for order_id, reply in zip(orders, [*first, *second], strict=True):
        state = (await dock.record(order_id)).state.state
        said = dock.said(order_id)
        if reply == "shipment.cancelled":
            assert (state, said) == (State.CANCELLED, [])
        else:
            assert reply == "shipment.cancel_refused"
            assert state in (State.DISPATCHED, State.DELIVERED)
            assert said.count("shipment.in_transit") == 1


async def test_shipping_by_hand_is_possible_once(dock: Dock):
    order_id = new_id()
    await dock.answer([received(dock.create(order_id, parcels=2))])
    async with dock.resources.database.write() as session:
        state = await ShipmentService(session, dock.clock).ship(session, order_id)
    assert state.state is State.DISPATCHED
    assert dock.said(order_id) == ["shipment.in_transit", "shipment.moved", "shipment.moved"]
    with pytest.raises(NotShippable):
        async with dock.resources.database.write() as session:
            await ShipmentService(session, dock.clock).ship(session, order_id)
    async with dock.resources.database.write() as session:
        await ShipmentService(session, dock.clock).deliver(session, order_id)
    assert dock.said(order_id)[-1] == "shipment.delivered"
    assert all(p.delivered_at == NOW for p in (await dock.record(order_id)).state.parcels)


async def test_a_shipment_that_another_transaction_stored_meanwhile_is_found_by_the_next_try(dock: Dock):
    order_id = new_id()
    create = received(dock.create(order_id))
    results = await asyncio.gather(*(dock.answer([create]) for _ in range(5)), return_exceptions=True)
    answered = [result for result in results if not isinstance(result, BaseException)]
    assert answered
    assert await dock.answer([create]) == answered[0]
    async with dock.resources.database.read() as session:
        count = await session.scalar(
            text("SELECT count(*) FROM shipping.shipments WHERE order_id = CAST(:id AS uuid)"), {"id": order_id}
        )
    assert count == 1

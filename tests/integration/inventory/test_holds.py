import datetime as dt

from contracts.envelope import Envelope
from contracts.events import InventoryHoldExpired
from kit.clock import FixedClock
from kit.ids import new_id
from oltp.inventory.service import HoldClock
from tests.integration.inventory.books import overdue
from tests.integration.inventory.conftest import Floor, opened

START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
"""Long before any other hold in these books, so that only this test's are found."""


async def test_an_ended_unpaid_hold_is_asked_about_once_a_minute_until_it_ends(
    floor: Floor, announced: list[Envelope]
) -> None:
    product = await floor.product(berlin=9)
    clock = FixedClock(START)
    keeper = floor.with_gate(floor.gate, clock)
    holds = HoldClock(floor.database, clock, ask_again=dt.timedelta(seconds=60), batch=1)
    unpaid, paid, released = new_id(), new_id(), new_id()
    await keeper.obey([floor.reserve(order).of({product: 1}) for order in (unpaid, paid, released)])
    await keeper.obey([floor.confirmed(paid), floor.release(released)])

    clock.advance(dt.timedelta(seconds=599))
    await holds.tick()
    assert announced == []
    clock.advance(dt.timedelta(seconds=1))
    for _ in range(3):
        await holds.tick()
    expired = InventoryHoldExpired(order_id=unpaid, expires_at=START + dt.timedelta(seconds=600))
    assert opened(announced) == [expired]
    assert announced[0].subject == unpaid

    clock.advance(dt.timedelta(seconds=60))
    await holds.tick()
    assert opened(announced) == [expired, expired]
    async with floor.database.read() as session:
        assert unpaid in await overdue(session, clock.now())
    await keeper.obey([floor.release(unpaid)])
    clock.advance(dt.timedelta(seconds=60))
    await holds.tick()
    assert len(announced) == 2
    async with floor.database.read() as session:
        assert unpaid not in await overdue(session, clock.now())
    await floor.audit()


async def test_every_hold_that_ended_is_asked_about_however_many(floor: Floor, announced: list[Envelope]) -> None:
    product = await floor.product(berlin=30)
    clock = FixedClock(START)
    await floor.with_gate(floor.gate, clock).obey([floor.reserve().of({product: 1}) for _ in range(25)])
    clock.advance(dt.timedelta(hours=1))
    await HoldClock(floor.database, clock, ask_again=dt.timedelta(seconds=60), batch=10).tick()
    assert len({envelope.subject for envelope in announced}) == 25

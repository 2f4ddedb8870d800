import asyncio
import contextlib
import itertools
import random
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from contracts.commands import ReserveInventory
from contracts.events import (
    InventoryAdjusted,
    InventoryFailed,
    InventoryFulfilled,
    InventoryReleased,
    InventoryReserved,
    ProductChanged,
)
from contracts.orders import Address
from kit.db import Database
from kit.ids import new_id
from oltp.inventory.domain import InvalidDemand, Level, Refusal
from oltp.inventory.gate import Claim
from oltp.inventory.handlers import StockKeeper
from oltp.inventory.redis_gate import RedisGate
from tests.integration.inventory.conftest import BERLIN, DALLAS, Floor, opened, received


class OpenGate:
    """Admits everybody, as a gate does whose counters are far too high."""

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]:
        return [None for _ in claims]

    async def give_back(self, claims: Sequence[Claim]) -> None:
        pass

    async def forget(self, claims: Sequence[Claim]) -> None:
        pass

    async def follow(self, product_ids: object) -> None:
        pass

    async def suspect(self, product_ids: object) -> None:
        pass


class Crash(Exception):
    pass


class CrashingGate:
    """The real gate in a process that dies: after it admitted, or before it gives anything back."""

    def __init__(self, gate: RedisGate) -> None:
        self._gate = gate

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]:
        await self._gate.admit(claims)
        raise Crash

    async def give_back(self, claims: Sequence[Claim]) -> None:
        raise Crash

    async def forget(self, claims: Sequence[Claim]) -> None:
        raise Crash

    async def follow(self, product_ids: object) -> None:
        raise Crash

    async def suspect(self, product_ids: object) -> None:
        raise Crash


async def test_an_orders_whole_life_leaves_the_books_right(floor: Floor) -> None:
    product = await floor.product(berlin=5, dallas=5)
    order = new_id()
    (reserved,) = await floor.told(floor.reserve(order).of({product: 3}))
    assert isinstance(reserved, InventoryReserved)
    assert [(a.warehouse_id, a.quantity) for a in reserved.allocations] == [(BERLIN, 3)]
    assert await floor.level(product) == Level(5, 3)
    assert await floor.counter(product) == 7
    assert await floor.told(floor.confirmed(order)) == []
    assert await floor.told(floor.fulfil(order)) == [InventoryFulfilled(order_id=order)]
    assert await floor.level(product) == Level(2, 0)
    assert await floor.counter(product) == 7
    assert await floor.redis.smembers(f"inventory_lock:{product}") == set()
    await floor.audit()


async def test_a_release_gives_everything_back(floor: Floor) -> None:
    product = await floor.product(berlin=2, dallas=2)
    order = new_id()
    (reserved,) = await floor.told(floor.reserve(order).of({product: 3}))
    assert isinstance(reserved, InventoryReserved)
    assert sum(a.quantity for a in reserved.allocations) == 3
    assert len(reserved.allocations) == 2
    (released,) = await floor.told(floor.release(order))
    assert released == InventoryReleased(order_id=order, reason="customer_request")
    assert await floor.counter(product) == 4
    assert await floor.level(product, DALLAS) == Level(2, 0)
    await floor.audit()


async def test_the_same_messages_again_have_the_same_answers_with_the_same_ids(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    order, other = new_id(), new_id()
    batch = [
        floor.reserve(order).of({product: 3}),
        floor.reserve(other).of({product: 3}),
        floor.release(order),
    ]
    first = (await floor.keeper.obey(batch)).messages
    again = (await floor.keeper.obey(batch)).messages
    assert [(e.id, e.type, e.data) for e in first] == [(e.id, e.type, e.data) for e in again]
    assert [type(m) for m in opened(first)] == [InventoryReserved, InventoryFailed, InventoryReleased]
    assert await floor.counter(product) == 5
    await floor.audit()


async def test_one_batch_may_hold_the_same_command_twice_and_its_undoing(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    order = new_id()
    reserve = floor.reserve(order).of({product: 2})
    replies = await floor.told(reserve, reserve, floor.release(order), floor.fulfil(order))
    assert [type(m) for m in replies] == [InventoryReserved, InventoryReserved, InventoryReleased]
    assert await floor.counter(product) == 5
    await floor.audit()


async def test_release_before_reserve_leaves_a_tombstone(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    order = new_id()
    await floor.told(floor.release(order))
    (failed,) = await floor.told(floor.reserve(order).of({product: 1}))
    assert failed == InventoryFailed(order_id=order, reason="cancelled", product_ids=[])
    both = new_id()
    replies = await floor.told(floor.release(both), floor.reserve(both).of({product: 1}))
    assert [type(m) for m in replies] == [InventoryReleased, InventoryFailed]
    await floor.quiet_rounds()
    assert await floor.level(product) == Level(5, 0)
    await floor.audit()


async def test_short_and_unknown_products_are_refused_whole(floor: Floor) -> None:
    plenty, few, ghost = await floor.product(berlin=9), await floor.product(berlin=1), new_id()
    replies = await floor.told(
        floor.reserve().of({plenty: 1, few: 2}), floor.reserve().of({plenty: 1, ghost: 1}), floor.reserve().of({few: 1})
    )
    assert isinstance(replies[0], InventoryFailed)
    assert (replies[0].reason, replies[0].product_ids) == ("out_of_stock", [few])
    assert isinstance(replies[1], InventoryFailed)
    assert (replies[1].reason, replies[1].product_ids) == ("unknown_product", [ghost])
    assert isinstance(replies[2], InventoryReserved)
    assert await floor.counter(plenty) == 9
    await floor.audit()


async def test_a_demand_for_nothing_is_refused_before_anything_is_touched(floor: Floor) -> None:
    address = Address(name="A", line1="1", city="C", postal_code="1", country="DE")
    command = ReserveInventory(order_id=new_id(), lines=[], destination=address)
    with pytest.raises(InvalidDemand):
        await floor.keeper.obey([received(command, key=command.order_id)])


@pytest.mark.parametrize("gate", ["redis", "open"])
async def test_200_at_once_for_100_units_sell_exactly_100(floor: Floor, gate: str) -> None:
    product = await floor.product(berlin=60, dallas=40)
    keepers = [floor.with_gate(floor.gate if gate == "redis" else OpenGate()) for _ in range(6)]
    commands = [floor.reserve().of({product: 1}) for _ in range(200)]

    async def one(keeper: StockKeeper, n: int) -> object:
        (reply,) = opened((await keeper.obey([commands[n]])).messages)
        return reply

    replies = await asyncio.gather(*[one(k, n) for n, k in zip(range(200), itertools.cycle(keepers), strict=False)])
    assert sum(isinstance(reply, InventoryReserved) for reply in replies) == 100
    assert await floor.level(product, BERLIN) == Level(60, 60)
    assert await floor.level(product, DALLAS) == Level(40, 40)
    await floor.audit()


async def test_one_batch_of_200_for_100_units_serves_the_first_hundred(floor: Floor) -> None:
    product = await floor.product(berlin=60, dallas=40)
    replies = await floor.told(*[floor.reserve().of({product: 1}) for _ in range(200)])
    assert [isinstance(reply, InventoryReserved) for reply in replies] == [True] * 100 + [False] * 100
    await floor.audit()


async def test_a_crash_between_redis_and_postgres_takes_nothing_twice(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    command = floor.reserve().of({product: 3})
    for _ in range(3):
        with pytest.raises(Crash):
            await floor.with_gate(CrashingGate(floor.gate)).obey([command])
    assert await floor.counter(product) == 2
    assert await floor.level(product) == Level(5, 0)
    assert isinstance((await floor.told(command))[0], InventoryReserved)
    await floor.audit()


async def test_a_crash_between_postgres_and_redis_gives_back_once(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    order = new_id()
    await floor.told(floor.reserve(order).of({product: 3}))
    release = floor.release(order)
    with pytest.raises(Crash):
        await floor.with_gate(CrashingGate(floor.gate)).obey([release])
    assert await floor.level(product) == Level(5, 0)
    assert await floor.counter(product) == 2
    for _ in range(2):
        assert isinstance((await floor.told(release))[0], InventoryReleased)
        assert await floor.counter(product) == 5
    await floor.audit()


async def test_an_order_that_dies_at_the_gate_is_given_back_by_the_reconciler(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    with pytest.raises(Crash):
        await floor.with_gate(CrashingGate(floor.gate)).obey([floor.reserve().of({product: 3})])
    assert await floor.counter(product) == 2
    await floor.quiet_rounds()
    assert await floor.counter(product) == 5


async def test_the_books_refuse_what_a_stale_gate_gave_and_correct_it(floor: Floor) -> None:
    product, other = await floor.product(berlin=2), await floor.product(berlin=9)
    await floor.gate.fill()
    await floor.redis.set(f"inventory:{product}", 50)
    (reply,) = await floor.told(floor.reserve().of({product: 3, other: 1}))
    assert isinstance(reply, InventoryFailed)
    assert (reply.reason, reply.product_ids) == ("out_of_stock", [product])
    assert await floor.counter(product) == 2
    assert await floor.counter(other) == 9
    await floor.audit()


async def test_a_counter_of_a_product_that_the_books_do_not_list_is_removed(floor: Floor) -> None:
    ghost = new_id()
    await floor.gate.fill()
    await floor.redis.set(f"inventory:{ghost}", 50)
    (reply,) = await floor.told(floor.reserve().of({ghost: 1}))
    assert isinstance(reply, InventoryFailed)
    assert (reply.reason, reply.product_ids) == ("unknown_product", [ghost])
    assert await floor.counter(ghost) is None


async def test_the_check_has_the_last_word(floor: Floor) -> None:
    product = await floor.product(berlin=2)
    statement = "UPDATE inventory.inventory SET reserved_quantity = :n WHERE product_id = :p AND warehouse_id = :w"
    for units in (3, -1):
        with pytest.raises(IntegrityError, match="ck_inventory_reserved"):
            async with floor.database.write() as session:
                await session.execute(text(statement), {"n": units, "p": product, "w": BERLIN})


async def test_a_gate_that_never_corrects_itself_cannot_oversell(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    keeper = floor.with_gate(OpenGate())
    replies = opened((await keeper.obey([floor.reserve().of({product: 2}) for _ in range(5)])).messages)
    assert [isinstance(reply, InventoryReserved) for reply in replies] == [True, True, False, False, False]
    assert await floor.level(product) == Level(5, 4)


async def test_two_processes_with_the_same_command_reserve_once(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    command = floor.reserve().of({product: 2})

    async def obey(keeper: StockKeeper) -> object:
        try:
            return opened((await keeper.obey([command])).messages)[0]
        except IntegrityError:
            return opened((await keeper.obey([command])).messages)[0]

    replies = await asyncio.gather(*[obey(floor.with_gate(floor.gate)) for _ in range(5)])
    assert all(reply == replies[0] for reply in replies)
    assert await floor.level(product) == Level(5, 2)
    await floor.audit()


async def test_new_products_are_listed_everywhere_and_adjustments_reach_redis(floor: Floor, database: Database) -> None:
    product = new_id()
    floor.products.append(product)
    changed = ProductChanged(
        product_id=product, version=1, sku="S", name="N", category="C", unit_price=1, currency="USD", active=True
    )
    await floor.keeper.observe([received(changed, key=product)])
    assert await floor.counter(product) == 0
    assert await floor.level(product, DALLAS) == Level(0)
    async with database.write() as session:
        await session.execute(
            text("UPDATE inventory.inventory SET quantity = 7 WHERE product_id = :p AND warehouse_id = :w"),
            {"p": product, "w": DALLAS},
        )
    adjusted = InventoryAdjusted(
        product_id=product, warehouse_id=DALLAS, delta=7, quantity=7, reason="r", actor_id=new_id()
    )
    for _ in range(2):
        await floor.keeper.observe([received(adjusted, key=product)])
        assert await floor.counter(product) == 7


async def test_a_storm_of_orders_releases_duplicates_and_crashes_ends_in_balance(floor: Floor) -> None:
    rng = random.Random(7)
    products = [await floor.product(berlin=rng.randint(0, 30), dallas=rng.randint(0, 30)) for _ in range(8)]
    sent = []
    for _ in range(60):
        order = new_id()
        units = {p: rng.randint(1, 4) for p in rng.sample(products, rng.randint(1, 3))}
        life = [floor.reserve(order, country=rng.choice(["DE", "US"])).of(units)]
        life += rng.choice([[], [floor.release(order)], [floor.confirmed(order), floor.fulfil(order)]])
        sent.append(life)
    keepers = [floor.with_gate(floor.gate) for _ in range(3)]

    async def deliver(lives: list[list[object]], keeper: StockKeeper) -> None:
        for step in range(3):
            batch = [life[step] for life in lives if len(life) > step]
            for _ in range(rng.randint(1, 2)):
                if rng.random() < 0.3:
                    with contextlib.suppress(Crash):
                        await floor.with_gate(CrashingGate(floor.gate)).obey(batch)
                await keeper.obey(batch)

    await asyncio.gather(*[deliver(sent[n::3], keeper) for n, keeper in enumerate(keepers)])
    await floor.quiet_rounds()
    await floor.audit()

"""The gate whose units are rows in Postgres: behind the same port, with the books always right."""

import asyncio
from collections import Counter

import pytest
from redis.asyncio import Redis
from sqlalchemy import text

from contracts.events import InventoryFailed, InventoryReserved
from kit.db import Database
from kit.ids import new_id
from oltp.inventory.domain import FailureReason, Refusal
from oltp.inventory.gate import Claim
from oltp.inventory.handlers import StockKeeper
from oltp.inventory.postgres_gate import Counted, PostgresGate
from tests.integration.inventory.conftest import Floor, opened


@pytest.fixture
def gate(floor: Floor) -> PostgresGate:
    """The gate under test; what it knows of the floor's products goes with them."""
    return PostgresGate(floor.database)


@pytest.fixture(autouse=True)
async def swept(floor: Floor) -> object:
    """Takes the units of the test's products away."""
    yield
    async with floor.database.write() as session:
        for table in ("gate_units", "gate_products"):
            await session.execute(
                text(f"DELETE FROM inventory.{table} WHERE product_id = ANY(CAST(:ids AS uuid[]))"),
                {"ids": floor.products},
            )


async def free(database: Database, product_id: str) -> int:
    """Units that could be claimed."""
    async with database.read() as session:
        rows = await session.execute(
            text("SELECT count(*) FROM inventory.gate_units WHERE product_id = CAST(:p AS uuid) AND order_id IS NULL"),
            {"p": product_id},
        )
        return int(rows.scalar_one())


def claim(units: dict[str, int], order_id: str = "") -> Claim:
    return Claim(order_id or new_id(), units)


async def test_units_are_taken_from_the_books_at_the_first_claim(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=2, dallas=1)

    assert await gate.admit([claim({product: 2}), claim({product: 2})]) == [
        None,
        Refusal(FailureReason.OUT_OF_STOCK, (product,)),
    ]
    assert await free(floor.database, product) == 1


async def test_all_products_of_an_order_or_none(floor: Floor, gate: PostgresGate) -> None:
    first, second = await floor.product(berlin=3), await floor.product(berlin=1)

    refusal = Refusal(FailureReason.OUT_OF_STOCK, (second,))
    assert await gate.admit([claim({first: 1, second: 2}), claim({first: 3, second: 1})]) == [refusal, None]
    assert (await free(floor.database, first), await free(floor.database, second)) == (0, 0)


async def test_an_order_is_admitted_once(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=3)
    order = claim({product: 2})

    assert await gate.admit([order, order]) == [None, None]
    assert await gate.admit([order]) == [None]
    assert await free(floor.database, product) == 1


async def test_a_product_that_nobody_knows_is_refused_as_such(gate: PostgresGate) -> None:
    ghost = new_id()

    assert await gate.admit([claim({ghost: 1})]) == [Refusal(FailureReason.UNKNOWN_PRODUCT, (ghost,))]


async def test_giving_back_twice_counts_once(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=3)
    order = claim({product: 2})
    await gate.admit([order])

    for _ in range(3):
        await gate.give_back([order])
        assert await free(floor.database, product) == 3


async def test_one_last_unit_goes_to_one_of_many_who_ask_at_once(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=1)
    await gate.follow([product])

    verdicts = await asyncio.gather(*(gate.admit([claim({product: 1})]) for _ in range(8)))

    assert Counter(verdict is None for [verdict] in verdicts) == {True: 1, False: 7}


async def test_following_the_books_leaves_what_is_under_way_alone(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=5)
    under_way = claim({product: 2})
    await gate.admit([under_way])

    await gate.follow([product])
    assert await free(floor.database, product) == 3

    await gate.give_back([under_way])
    await gate.follow([product])
    assert await free(floor.database, product) == 5


async def test_the_gate_follows_what_the_books_gained_and_lost(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=5)
    await gate.follow([product])

    for quantity in (9, 2):
        async with floor.database.write() as session:
            await session.execute(
                text(
                    "UPDATE inventory.inventory SET quantity = :n WHERE product_id = CAST(:p AS uuid) AND quantity > 0"
                ),
                {"n": quantity, "p": product},
            )
        await gate.suspect([product])
        await gate.round()
        assert await free(floor.database, product) == quantity


async def test_an_order_from_shelf_to_door_and_back(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=4)
    keeper = StockKeeper(floor.database, gate, floor.clock)
    shipped, cancelled, late = new_id(), new_id(), new_id()

    replies = opened(
        (
            await keeper.obey(
                [
                    floor.reserve(shipped).of({product: 2}),
                    floor.reserve(cancelled).of({product: 2}),
                    floor.reserve(late).of({product: 1}),
                ]
            )
        ).messages
    )
    assert [type(reply) for reply in replies] == [InventoryReserved, InventoryReserved, InventoryFailed]
    await keeper.obey([floor.confirmed(shipped)])
    await keeper.obey([floor.release(cancelled), floor.fulfil(shipped)])

    assert await free(floor.database, product) == 2
    await gate.follow([product])
    assert await free(floor.database, product) == 2
    await floor.audit_books()


async def test_a_batch_that_is_delivered_again_takes_nothing_more(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=4)
    keeper = StockKeeper(floor.database, gate, floor.clock)
    batch = [floor.reserve(new_id()).of({product: 1}) for _ in range(3)]

    first = opened((await keeper.obey(batch)).messages)
    again = opened((await keeper.obey(batch)).messages)

    assert again == first
    assert await free(floor.database, product) == 1
    await floor.audit_books()


async def test_counters_in_redis_follow_once_they_are_quiet(floor: Floor, gate: PostgresGate) -> None:
    product = await floor.product(berlin=4)
    await floor.gate.fill()
    keeper = StockKeeper(floor.database, Counted(gate, floor.gate), floor.clock)

    await keeper.obey([floor.reserve().of({product: 3})])
    await floor.quiet_rounds()

    assert await floor.counter(product) == 1
    await floor.audit()


async def test_a_redis_that_is_away_holds_nothing_up(floor: Floor, gate: PostgresGate, redis_away: Redis) -> None:
    product = await floor.product(berlin=4)
    floor.gate._redis = redis_away
    keeper = StockKeeper(floor.database, Counted(gate, floor.gate), floor.clock)

    [reply] = opened((await keeper.obey([floor.reserve().of({product: 3})])).messages)

    assert isinstance(reply, InventoryReserved)
    await floor.audit_books()

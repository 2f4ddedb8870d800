import asyncio
import contextlib

import pytest

from contracts.envelope import Envelope
from contracts.events import InventoryFailed, InventoryReserved
from kit.ids import new_id
from kit.kafka import Received
from oltp.inventory.domain import FailureReason, Refusal
from oltp.inventory.gate import Claim, GateAway
from oltp.inventory.handlers import StockKeeper
from oltp.inventory.redis_gate import MARKER, TOUCHED, Script
from tests.integration.inventory.conftest import Floor


def claim(units: dict[str, int], order_id: str = "") -> Claim:
    return Claim(order_id or new_id(), units)


async def test_an_empty_redis_is_filled_before_it_admits(floor: Floor) -> None:
    product = await floor.product(berlin=3)
    assert await floor.gate.doubtful()
    assert await floor.gate.admit([claim({product: 1})]) == [None]
    assert not await floor.gate.doubtful()
    assert await floor.counter(product) == 2


async def test_a_product_that_redis_does_not_know_is_taken_from_the_books(floor: Floor) -> None:
    await floor.gate.fill()
    product = await floor.product(berlin=3)
    assert await floor.counter(product) is None
    assert await floor.gate.admit([claim({product: 2}), claim({product: 2})]) == [
        None,
        Refusal(FailureReason.OUT_OF_STOCK, (product,)),
    ]


@pytest.mark.parametrize("garbage", ["", "many", "1.5"])
async def test_a_counter_that_is_no_number_is_taken_from_the_books(floor: Floor, garbage: str) -> None:
    product = await floor.product(berlin=3)
    await floor.gate.fill()
    await floor.redis.set(f"inventory:{product}", garbage)
    assert await floor.gate.admit([claim({product: 2})]) == [None]
    assert await floor.counter(product) == 1


async def test_a_counter_of_another_type_is_taken_from_the_books(floor: Floor) -> None:
    product = await floor.product(berlin=3)
    await floor.gate.fill()
    await floor.redis.delete(f"inventory:{product}")
    await floor.redis.hset(f"inventory:{product}", "a", "b")
    assert await floor.gate.admit([claim({product: 2})]) == [None]
    assert await floor.counter(product) == 1


async def test_all_products_of_an_order_or_none(floor: Floor) -> None:
    first, second = await floor.product(berlin=3), await floor.product(berlin=1)
    refusal = Refusal(FailureReason.OUT_OF_STOCK, (second,))
    assert await floor.gate.admit([claim({first: 1, second: 2})]) == [refusal]
    assert (await floor.counter(first), await floor.counter(second)) == (3, 1)
    assert await floor.redis.exists(f"inventory_lock:{first}") == 0


async def test_an_order_is_admitted_once_and_its_lock_set_expires(floor: Floor) -> None:
    product = await floor.product(berlin=3)
    order = claim({product: 2})
    assert await floor.gate.admit([order, order]) == [None, None]
    assert await floor.gate.admit([order]) == [None]
    assert await floor.counter(product) == 1
    assert await floor.redis.smembers(f"inventory_lock:{product}") == {order.order_id}
    assert 590 < await floor.redis.ttl(f"inventory_lock:{product}") <= 600


async def test_an_order_that_lost_one_of_its_locks_gives_the_rest_back_if_it_is_short_now(floor: Floor) -> None:
    first, second = await floor.product(berlin=3), await floor.product(berlin=1)
    order = claim({first: 3, second: 1})
    assert await floor.gate.admit([order]) == [None]
    await floor.redis.delete(f"inventory_lock:{second}")
    assert await floor.gate.admit([order]) == [Refusal(FailureReason.OUT_OF_STOCK, (second,))]
    assert await floor.counter(first) == 3
    assert await floor.redis.exists(f"inventory_lock:{first}") == 0


async def test_giving_back_twice_counts_once(floor: Floor) -> None:
    product = await floor.product(berlin=3)
    order = claim({product: 2})
    await floor.gate.admit([order])
    for _ in range(3):
        await floor.gate.give_back([order])
        assert await floor.counter(product) == 3


async def test_after_its_lock_set_expired_a_release_is_taken_from_the_books(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    order = new_id()
    await floor.told(floor.reserve(order).of({product: 3}))
    await floor.redis.delete(f"inventory_lock:{product}")
    await floor.told(floor.release(order))
    assert await floor.counter(product) == 5
    await floor.audit()


async def test_redis_wiped_between_reserve_and_release(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    order = new_id()
    await floor.told(floor.reserve(order).of({product: 3}))
    await floor.redis.flushdb()
    await floor.told(floor.release(order))
    assert await floor.counter(product) == 5
    (reply,) = await floor.told(floor.reserve().of({product: 5}))
    assert isinstance(reply, InventoryReserved)
    await floor.audit()


async def test_wipes_in_the_middle_of_a_rush_never_oversell_and_heal(floor: Floor) -> None:
    products = [await floor.product(berlin=20, dallas=20) for _ in range(4)]
    keepers = [floor.with_gate(floor.gate) for _ in range(4)]
    wanted = [floor.reserve().of({products[n % 4]: 1}) for n in range(240)]
    left = list(wanted)
    served: list[Envelope] = []

    async def work(n: int) -> None:
        while left:
            batch, left[:] = left[:5], left[5:]
            served.extend(await patiently(keepers[n], batch))

    async def patiently(keeper: StockKeeper, batch: list[Received]) -> list[Envelope]:
        while True:
            with contextlib.suppress(GateAway):
                return (await keeper.obey(batch)).messages

    async def wipe() -> None:
        while left:
            await floor.redis.flushdb()
            await asyncio.sleep(0.02)

    await asyncio.gather(*[work(n) for n in range(4)], wipe())
    await floor.quiet_rounds()
    await floor.audit()
    replies = await floor.told(*wanted)
    sold = [sum(isinstance(reply, InventoryReserved) for reply in replies[n::4]) for n in range(4)]
    assert sold == [40, 40, 40, 40]
    assert len(served) == 240
    assert all(isinstance(reply, InventoryReserved | InventoryFailed) for reply in replies)


async def test_lost_scripts_are_loaded_again(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    await floor.gate.fill()
    for _ in range(2):
        await floor.redis.script_flush()
        assert await floor.gate.admit([claim({product: 1})]) == [None]
    assert await floor.counter(product) == 3


async def test_a_redis_that_takes_no_writes_is_waited_for(floor: Floor) -> None:
    product = await floor.product(berlin=5)
    await floor.gate.fill()

    class Full(Script):
        def __init__(self) -> None:
            self.source = "return redis.error_reply('MISCONF no writes')"
            self.sha = "0" * 40

    with pytest.raises(GateAway):
        await floor.gate._run(_loaded(Full(), await floor.redis.script_load(Full().source)), [([product], [])])


def _loaded(script: Script, sha: str) -> Script:
    script.sha = sha
    return script


@pytest.mark.parametrize("wrong", [0, 3, 99])
async def test_a_wrong_counter_is_corrected_once_it_is_quiet(floor: Floor, wrong: int) -> None:
    product = await floor.product(berlin=7)
    await floor.reconciler.round()
    await floor.told(floor.reserve().of({product: 1}))
    await floor.redis.set(f"inventory:{product}", wrong)
    await floor.reconciler.round()
    assert await floor.counter(product) == wrong, "it moved a moment ago: the difference may be under way"
    await floor.quiet_rounds(2)
    assert await floor.counter(product) == 6
    await floor.quiet_rounds(2)
    assert await floor.redis.zscore(TOUCHED, product) is None
    await floor.audit()


async def test_the_rotation_finds_products_that_never_moved(floor: Floor) -> None:
    products = [await floor.product(berlin=7) for _ in range(5)]
    await floor.reconciler.round()
    await floor.redis.set(f"inventory:{products[3]}", 1)
    await floor.redis.delete(f"inventory:{products[1]}")
    await floor.redis.delete(TOUCHED)
    await floor.quiet_rounds(4)
    assert [await floor.counter(p) for p in products] == [7] * 5


async def test_a_difference_that_changes_between_two_looks_is_left_alone(floor: Floor) -> None:
    product = await floor.product(berlin=7)
    await floor.reconciler.round()
    for wrong in (3, 4, 3, 4):
        await floor.redis.set(f"inventory:{product}", wrong)
        await floor.quiet_rounds(1)
        assert await floor.counter(product) == wrong


async def test_a_restarted_redis_has_every_product_compared(floor: Floor) -> None:
    product = await floor.product(berlin=7)
    await floor.reconciler.round()
    await floor.redis.set(MARKER, "the run id of an earlier server")
    await floor.redis.set(f"inventory:{product}", 2)
    await floor.redis.delete(TOUCHED)
    await floor.reconciler.round()
    assert await floor.counter(product) == 7


async def test_filling_leaves_products_alone_that_are_moving(floor: Floor) -> None:
    moving, still = await floor.product(berlin=7), await floor.product(berlin=7)
    await floor.gate.fill()
    await floor.redis.delete(TOUCHED)
    await floor.gate.admit([claim({moving: 1})])
    await floor.redis.set(f"inventory:{still}", 1)
    outcomes = await floor.gate.fill()
    assert (await floor.counter(moving), await floor.counter(still)) == (6, 7)
    assert outcomes["busy"] >= 1

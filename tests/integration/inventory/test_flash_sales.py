"""Flash sales in the books: the rows that arbitrate, the queue, and who is told through the outbox."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from contracts.envelope import Envelope
from contracts.events import InventoryFailed, InventoryReserved, SaleEnded
from contracts.orders import SaleTerms
from contracts.sales import SaleFigures
from kit.clock import FixedClock
from kit.ids import new_id
from kit.kafka import Received
from oltp.inventory.domain import Level
from oltp.inventory.repository import DatabaseBooks
from tests.integration.inventory.conftest import Floor, opened, received


def a_sale(product_id: str, *, units: int = 2, share: int = 1, ends_at: dt.datetime | None = None) -> SaleTerms:
    return SaleTerms(
        sale_id=new_id(),
        product_id=product_id,
        units=units,
        units_per_customer=share,
        ends_at=ends_at or dt.datetime.now(dt.UTC) + dt.timedelta(hours=1),
    )


def wants(floor: Floor, sale: SaleTerms, **options: Any) -> Received:
    return floor.reserve().of({sale.product_id: options.pop("units", 1)}, sale=sale, **options)


async def figures(floor: Floor, sale: SaleTerms) -> SaleFigures:
    return (await DatabaseBooks(floor.database).figures([sale.sale_id]))[sale.sale_id]


def answers(announced: list[Envelope]) -> list[tuple[str, str]]:
    """Order and answer, in the order in which they were told."""
    return [
        (envelope.subject, "held" if isinstance(payload, InventoryReserved) else payload.reason)
        for envelope, payload in zip(announced, opened(announced), strict=True)
        if isinstance(payload, InventoryReserved | InventoryFailed)
    ]


async def test_a_sale_from_its_first_order_to_its_last(floor: Floor, announced: list[Envelope]) -> None:
    product = await floor.product(berlin=10)
    sale = a_sale(product, units=2)
    orders = [wants(floor, sale) for _ in range(5)]
    ids = [order.envelope.subject for order in orders]
    replies = await floor.told(*orders)
    assert [type(reply) for reply in replies] == [InventoryReserved] * 2
    assert await figures(floor, sale) == SaleFigures(sold=0, held=2, waiting=3)
    assert await DatabaseBooks(floor.database).waiting([sale.sale_id]) == {sale.sale_id: ids[2:]}
    assert await floor.level(product) == Level(10, 2)
    assert await floor.counter(product) == 8
    assert await floor.told(*orders) == replies, "a batch that comes again is answered the same"
    assert announced == []

    await floor.told(floor.release(ids[0]))
    assert answers(announced) == [(ids[2], "held")]
    assert announced[0].causationid == orders[2].envelope.id
    assert await floor.told(orders[2]) == opened(announced), "and so is a reserve that was answered late"
    await floor.told(floor.release(ids[3]))
    await floor.keeper.observe([floor.confirmed(ids[1]), floor.confirmed(ids[2])])
    assert answers(announced)[1:] == [(ids[4], "sold_out")]
    assert await figures(floor, sale) == SaleFigures(sold=2, held=0, waiting=0)
    [late] = await floor.told(wants(floor, sale))
    assert isinstance(late, InventoryFailed)
    assert late.reason == "sold_out"
    await floor.told(*(floor.fulfil(order_id) for order_id in ids[1:3]))
    assert await figures(floor, sale) == SaleFigures(sold=2, held=0, waiting=0)
    assert await floor.level(product) == Level(8, 0)
    await floor.audit()


async def test_a_customer_who_has_enough_is_told_so(floor: Floor) -> None:
    sale = a_sale(await floor.product(berlin=10), units=5, share=2)
    ada = new_id()
    batch = [wants(floor, sale, customer_id=ada, units=units) for units in (1, 2, 1, 1)]
    replies = await floor.told(*batch)
    assert [getattr(reply, "reason", "held") for reply in replies] == [
        "held",
        "already_bought",
        "held",
        "already_bought",
    ]
    [again] = await floor.told(wants(floor, sale, customer_id=ada))
    assert isinstance(again, InventoryFailed)
    assert again.reason == "already_bought"


async def test_a_unit_that_is_taken_and_given_back_in_one_batch_goes_to_who_came_next(
    floor: Floor, announced: list[Envelope]
) -> None:
    sale = a_sale(await floor.product(berlin=10), units=1)
    first, second = wants(floor, sale), wants(floor, sale)
    await floor.told(first, second, floor.release(first.envelope.subject))
    assert answers(announced) == [(second.envelope.subject, "held")]
    assert await figures(floor, sale) == SaleFigures(held=1)
    await floor.audit()


async def test_the_end_of_the_window_clears_the_queue(floor: Floor, announced: list[Envelope]) -> None:
    now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    clock = FixedClock(now)
    keeper = floor.with_gate(floor.gate, clock)
    sale = a_sale(await floor.product(berlin=10), units=1, ends_at=now + dt.timedelta(minutes=1))
    orders = [wants(floor, sale) for _ in range(3)]
    await keeper.obey(orders)
    await keeper.close_ended_sales()
    assert announced == []
    clock.advance(dt.timedelta(minutes=1))
    for _ in range(2):
        await keeper.close_ended_sales()
    assert answers(announced) == [(order.envelope.subject, "sold_out") for order in orders[1:]]
    late = opened((await keeper.obey([wants(floor, sale)])).messages)
    assert isinstance(late[0], InventoryFailed)


async def test_a_sale_that_was_ended_before_its_first_order_came_has_no_queue(floor: Floor) -> None:
    product = await floor.product(berlin=10)
    sale = a_sale(product, units=1)
    ended = SaleEnded(
        sale_id=sale.sale_id,
        product_id=product,
        units=sale.units,
        units_per_customer=1,
        ended_at=floor.clock.now(),
        actor_id=new_id(),
    )
    for _ in range(2):
        await floor.keeper.observe([received(ended, key=product)])
    replies = await floor.told(wants(floor, sale), wants(floor, sale))
    assert [getattr(reply, "reason", "held") for reply in replies] == ["held", "sold_out"]


async def test_several_keepers_at_once_sell_no_unit_twice_and_pass_nobody(
    floor: Floor, announced: list[Envelope]
) -> None:
    product = await floor.product(berlin=50)
    sale = a_sale(product, units=10)
    keepers = [floor.with_gate(floor.gate) for _ in range(4)]
    orders = [wants(floor, sale) for _ in range(40)]
    ids = [order.envelope.subject for order in orders]
    await keepers[0].obey(orders)

    async def pays_or_not(keeper: int, order_ids: list[str]) -> None:
        for number, order_id in enumerate(order_ids):
            message = floor.release(order_id) if number % 2 else floor.confirmed(order_id)
            for _ in range(20):
                try:
                    await keepers[keeper].obey([message])
                    break
                except Exception as error:
                    if "deadlock" not in str(error):
                        raise

    handled = 0
    while held := [*ids[:10], *(order_id for order_id, what in answers(announced) if what == "held")][handled:]:
        handled += len(held)
        await asyncio.gather(*(pays_or_not(keeper, held[keeper::4]) for keeper in range(4)))
    assert await figures(floor, sale) == SaleFigures(sold=10)
    told = answers(announced)
    assert [order_id for order_id, _ in told] == ids[10:], "in the order in which they came"
    await floor.audit_books()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE inventory.sales SET taken = units + 1 WHERE sale_id = :sale",
        "UPDATE inventory.sales SET taken = 0, paid = 1 WHERE sale_id = :sale",
        "UPDATE inventory.sale_customers SET units = most + 1 WHERE sale_id = :sale",
    ],
)
async def test_the_tables_have_the_last_word(floor: Floor, statement: str) -> None:
    sale = a_sale(await floor.product(berlin=10))
    await floor.told(wants(floor, sale))
    with pytest.raises(IntegrityError):
        async with floor.database.write() as session:
            await session.execute(text(statement), {"sale": sale.sale_id})

"""The saga's handler on a real database: whatever order messages come in, once or twice, the books end the same."""

import asyncio
import datetime as dt
import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text

from contracts import commands, events
from contracts.envelope import Envelope, Message, registry, reply_to, seal, topic_for
from contracts.orders import (
    Address,
    Allocation,
    CancelReason,
    OrderLine,
    OrderStatus,
    PaymentMethod,
    PaymentMethodType,
    SaleTerms,
)
from kit.clock import FixedClock
from kit.ids import new_id
from kit.kafka import EventProducer, Outcome, Placement, Received
from kit.resources import Resources
from oltp.sales.gate import Claim, SaleGate, Standing
from sagas import store
from sagas.handlers import OrderSagaHandler
from sagas.order import SAGA, Order
from sagas.worker import Clock

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


class Shop:
    """The handler with a database, and a customer's order to play with."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources
        self.clock = FixedClock(NOW)
        self.handler = OrderSagaHandler(SAGA, resources.redis, self.clock)
        self.order_id, self.user_id, self.key = new_id(), new_id(), new_id()

    def created(self, sale: SaleTerms | None = None) -> Envelope:
        lines = [
            OrderLine(product_id=new_id(), sku=f"S{n}", name="Mug", category="home", quantity=n, unit_price=1250)
            for n in (1, 2)
        ]
        address = Address(name="A", line1="1 Main St", city="Oslo", postal_code="0150", country="NO")
        method = PaymentMethod(type=PaymentMethodType.WALLET, token="tok_ok")
        payload = events.OrderCreated(
            order_id=self.order_id,
            user_id=self.user_id,
            idempotency_key=self.key,
            request_hash="h",
            currency="USD",
            total_amount=3750,
            lines=lines,
            shipping_address=address,
            payment_method=method,
            queue_position=0,
            created_at=NOW,
            sale=sale,
        )
        return self.seal(payload)

    def seal(self, payload: Message) -> Envelope:
        return seal(payload, id=new_id(), source="test", subject=self.order_id, time=NOW, correlationid="corr")

    async def deliver(self, *envelopes: Envelope) -> Outcome:
        async with self.resources.database.write() as session:
            return await self.handler(session, received(envelopes))

    def saga_clock(self, *, dies: bool = False) -> tuple[Clock, list[Envelope]]:
        """The saga's clock at this shop's time, and the list of what it produces for this shop's order.

        One that ``dies`` does so when the broker has it all.
        """
        produced: list[Envelope] = []

        class Recorder(EventProducer):
            async def send(_, envelopes: Iterable[Envelope]) -> list[Placement]:  # noqa: N805
                produced.extend(e for e in envelopes if e.subject == self.order_id)
                if dies:
                    raise asyncio.CancelledError
                return []

        recorder = Recorder(self.resources.settings)
        return Clock(replace(self.resources, clock=self.clock, producer=recorder)), produced

    async def order(self) -> Order:
        async with self.resources.database.read() as session:
            found = await store.find(session, self.order_id)
        assert found is not None
        return found

    def life(self) -> list[Envelope]:
        """Everything that happens to an order that goes well, in order."""
        allocation = Allocation(product_id=new_id(), warehouse_id=new_id(), quantity=3)
        return [
            self.created(),
            self.seal(
                events.InventoryReserved(
                    order_id=self.order_id, allocations=[allocation], expires_at=NOW + dt.timedelta(minutes=10)
                )
            ),
            self.seal(
                events.PaymentSucceeded(
                    order_id=self.order_id,
                    payment_id=new_id(),
                    provider="simulated",
                    amount=3750,
                    currency="USD",
                    attempts=1,
                    duration_ms=5,
                )
            ),
            self.seal(events.ShipmentCreated(order_id=self.order_id, parcels=[])),
            self.seal(events.ShipmentInTransit(order_id=self.order_id, shipment_id=new_id(), occurred_at=NOW)),
            self.seal(events.InventoryFulfilled(order_id=self.order_id)),
            self.seal(events.ShipmentDelivered(order_id=self.order_id, occurred_at=NOW)),
        ]


def received(envelopes: Sequence[Envelope]) -> list[Received]:
    return [
        Received(envelope, registry.decode(envelope), topic_for(envelope), 0, offset)
        for offset, envelope in enumerate(envelopes)
    ]


def sent(outcome: Outcome) -> list[str]:
    return [envelope.type for envelope in outcome.messages]


@pytest.fixture
def shop(resources: Resources) -> Shop:
    return Shop(resources)


async def test_an_order_that_goes_well(shop: Shop) -> None:
    steps = [sent(await shop.deliver(message)) for message in shop.life()]
    assert steps == [
        ["inventory.reserve"],
        ["order.reserved", "payment.charge"],
        ["order.confirmed", "shipping.create"],
        ["order.processing"],
        ["order.shipped", "inventory.fulfil"],
        [],
        ["order.delivered"],
    ]
    order = await shop.order()
    assert (order.instance.status, order.instance.sequence, order.instance.outstanding) == ("delivered", 7, ())
    assert order.instance.due_at is None


async def test_a_message_delivered_again_sends_the_same_again(shop: Shop) -> None:
    for message in shop.life():
        first = await shop.deliver(message)
        again = await shop.deliver(message, message)
        assert again.messages == first.messages * 2
    assert (await shop.order()).instance.sequence == 7


async def test_a_message_delivered_again_sends_what_it_took_up_too(shop: Shop) -> None:
    created, reserved, paid, shipment, in_transit, *_ = shop.life()
    await shop.deliver(created, reserved, paid)
    assert sent(await shop.deliver(in_transit)) == []
    shop.clock.advance(dt.timedelta(seconds=1))
    first = await shop.deliver(shipment)
    assert sent(first) == ["order.processing", "order.shipped", "inventory.fulfil"]
    shop.clock.advance(dt.timedelta(seconds=1))
    assert (await shop.deliver(shipment)).messages == first.messages


async def test_one_batch_holds_a_whole_life(shop: Shop) -> None:
    await shop.deliver(*shop.life())
    assert (await shop.order()).instance.status == "delivered"


@pytest.mark.parametrize("seed", range(40))
async def test_messages_in_any_order_and_twice_end_the_same(shop: Shop, seed: int) -> None:
    order = random.Random(seed)
    messages = shop.life() * 2
    order.shuffle(messages)
    while messages:
        size = order.randint(1, len(messages))
        batch, messages = messages[:size], messages[size:]
        await shop.deliver(*batch)
    final = await shop.order()
    assert (final.instance.status, final.instance.outstanding) == ("delivered", ())
    async with shop.resources.database.read() as session:
        steps = await store.history(session, shop.order_id)
        assert await store.parked(session, shop.order_id) == []
    assert [step.sequence for step in steps] == list(range(1, 8))


@pytest.mark.parametrize("position", range(8))
async def test_a_cancellation_at_any_moment_has_one_outcome(shop: Shop, position: int) -> None:
    cancel = shop.seal(
        commands.CancelOrder(order_id=shop.order_id, reason=CancelReason.CUSTOMER_REQUEST, actor_id=shop.user_id)
    )
    life = shop.life()
    await shop.deliver(*life[:position], cancel)
    if position in (3, 4):  # shipping is asked whether it can still stop the parcels
        assert (await shop.order()).instance.status == "cancelling"
        await shop.deliver(shop.seal(events.ShipmentCancelled(order_id=shop.order_id)))
    if position == 0:
        await shop.deliver(life[0])
    order = await shop.order()
    if position < 5:
        assert (order.instance.status, order.cancel_reason) == ("cancelled", "customer_request")
        waiting = {o.command for o in order.instance.outstanding}
        undone = {0: {"inventory.release"}, 1: {"inventory.release"}, 2: {"inventory.release", "payment.void"}}
        assert waiting == undone.get(position, {"inventory.release", "payment.refund"})
    else:
        assert order.instance.status == ("delivered" if position == 7 else "shipped")
        assert order.cancel_reason is None


@pytest.mark.parametrize("position", range(5))
async def test_the_reason_of_a_cancellation_is_kept_until_its_end(shop: Shop, position: int) -> None:
    cancel = shop.seal(
        commands.CancelOrder(order_id=shop.order_id, reason=CancelReason.ADMIN_REQUEST, actor_id=shop.user_id)
    )
    life = shop.life()
    stopped = shop.seal(events.ShipmentCancelled(order_id=shop.order_id))
    outcome = await shop.deliver(*life[: max(1, position)], cancel, stopped)
    assert (await shop.order()).cancel_reason == "admin_request"
    (cancelled,) = (registry.decode(m) for m in outcome.messages if m.type == "order.cancelled")
    assert isinstance(cancelled, events.OrderCancelled)
    assert cancelled.reason == "admin_request"


async def test_a_refused_cancellation_leaves_no_reason(shop: Shop) -> None:
    cancel = commands.CancelOrder(order_id=shop.order_id, reason=CancelReason.ADMIN_REQUEST, actor_id=shop.user_id)
    await shop.deliver(*shop.life()[:4], shop.seal(cancel))
    assert (await shop.order()).cancel_reason == "admin_request"
    await shop.deliver(shop.seal(events.ShipmentCancelRefused(order_id=shop.order_id)))
    order = await shop.order()
    assert (order.instance.status, order.cancel_reason) == ("processing", None)


async def test_a_decline_gives_the_stock_back(shop: Shop) -> None:
    created, reserved, *_ = shop.life()
    await shop.deliver(created, reserved)
    declined = events.PaymentFailed(
        order_id=shop.order_id, payment_id="p", provider="x", reason="expired_card", attempts=1, duration_ms=1
    )
    assert sent(await shop.deliver(shop.seal(declined))) == ["order.cancelled", "inventory.release"]
    order = await shop.order()
    assert (order.instance.status, order.cancel_reason) == ("cancelled", "payment_failed")
    released = shop.seal(events.InventoryReleased(order_id=shop.order_id, reason=""))
    await shop.deliver(released)
    assert (await shop.order()).instance.outstanding == ()


async def test_a_second_order_by_the_same_key_is_refused(shop: Shop) -> None:
    await shop.deliver(shop.created())
    first, shop.order_id = shop.order_id, new_id()

    assert sent(await shop.deliver(shop.created())) == []

    async with shop.resources.database.read() as session:
        assert await store.find(session, shop.order_id) is None
        assert await store.find(session, first) is not None


async def test_the_clock_times_payments_out_and_sends_unanswered_commands_again(shop: Shop) -> None:
    created, reserved, *_ = shop.life()
    first = await shop.deliver(created, reserved)
    charge = first.messages[-1]
    clock, produced = shop.saga_clock()
    shop.clock.advance(dt.timedelta(seconds=61))
    await clock.tick()
    assert [(e.type, e.id) for e in produced] == [("payment.charge", charge.id)]
    produced.clear()
    shop.clock.advance(dt.timedelta(seconds=60))
    await clock.tick()
    assert [e.type for e in produced] == ["order.time_out"]
    outcome = await shop.deliver(*produced)
    assert sent(outcome) == ["order.cancelled", "payment.void", "inventory.release"]
    assert (await shop.order()).cancel_reason == "payment_timeout"


async def test_a_clock_that_dies_is_followed_by_one_that_sends_the_same(shop: Shop) -> None:
    created, reserved, *_ = shop.life()
    await shop.deliver(created, reserved)
    shop.clock.advance(dt.timedelta(seconds=121))
    dying, lost = shop.saga_clock(dies=True)
    with pytest.raises(asyncio.CancelledError):
        await dying.tick()
    clock, produced = shop.saga_clock()
    await clock.tick()
    assert [e.type for e in produced] == ["payment.charge", "order.time_out"]
    assert [e.id for e in produced] == [e.id for e in lost]


async def test_the_clock_rebuilds_the_reservation_from_the_rows(shop: Shop) -> None:
    first = await shop.deliver(shop.created())
    clock, produced = shop.saga_clock()
    shop.clock.advance(dt.timedelta(seconds=61))
    await clock.tick()
    (again,) = produced
    assert (again.id, bytes(again.data)) == (first.messages[0].id, bytes(first.messages[0].data))


async def test_transitions_follow_each_other_without_a_gap(shop: Shop) -> None:
    await shop.deliver(*shop.life())
    async with shop.resources.database.read() as session:
        rows = (
            await session.execute(
                text("SELECT * FROM orders.order_transitions WHERE order_id = :id ORDER BY sequence"),
                {"id": shop.order_id},
            )
        ).all()
    assert all(before.status == after.previous_status for before, after in itertools.pairwise(rows))
    assert rows[-1].status == OrderStatus.DELIVERED


async def test_replies_carry_the_requests_correlation(shop: Shop) -> None:
    outcome = await shop.deliver(shop.created())
    answer = reply_to(
        outcome.messages[0],
        events.InventoryFailed(order_id=shop.order_id, reason="out_of_stock", product_ids=[]),
        source="test",
        time=NOW,
    )
    cancelled = (await shop.deliver(answer)).messages[0]
    assert (cancelled.type, cancelled.correlationid) == ("order.cancelled", "corr")
    assert (await shop.order()).cancel_reason == "out_of_stock"


async def test_an_order_of_a_flash_sale_is_reserved_under_the_sales_key_and_counted_at_its_gate(shop: Shop) -> None:
    sale = SaleTerms(
        sale_id=new_id(), product_id=new_id(), units=5, units_per_customer=2, ends_at=NOW + dt.timedelta(hours=1)
    )
    gate = SaleGate(shop.resources.redis)
    claim = Claim(shop.order_id, shop.user_id, 2, Standing.CLAIMED, NOW)
    await gate.restore(sale.sale_id, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1), [claim])
    _, reserved, paid, *_ = shop.life()

    [reserve] = (await shop.deliver(shop.created(sale))).messages
    command = registry.decode(reserve)
    assert isinstance(command, commands.ReserveInventory)
    assert (command.sale, command.customer_id) == (sale, shop.user_id)
    assert (reserve.subject, reserve.key) == (shop.order_id, sale.product_id)
    shop.clock.advance(dt.timedelta(seconds=61))
    clock, produced = shop.saga_clock()
    await clock.tick()
    assert [(again.id, again.key, again.data) for again in produced] == [(reserve.id, reserve.key, reserve.data)]

    async def standing() -> list[Standing]:
        return [found.standing for found in (await gate.claims(sale.sale_id)).values()]

    await shop.deliver(reserved)
    assert await standing() == [Standing.CLAIMED]
    for _ in range(2):
        outcome = await shop.deliver(paid)
        for afterwards in outcome.afterwards:
            await afterwards()
        assert await standing() == [Standing.SOLD]
    cancelled = shop.seal(
        commands.CancelOrder(order_id=shop.order_id, reason=CancelReason.CUSTOMER_REQUEST, actor_id=shop.user_id)
    )
    for message in (cancelled, shop.seal(events.ShipmentCancelled(order_id=shop.order_id))):
        for afterwards in (await shop.deliver(message)).afterwards:
            await afterwards()
    assert await standing() == []


async def test_a_sale_that_is_sold_out_is_the_reason_of_the_cancellation(shop: Shop) -> None:
    for reason in (CancelReason.SOLD_OUT, CancelReason.ALREADY_BOUGHT, CancelReason.OUT_OF_STOCK):
        shop = Shop(shop.resources)
        await shop.deliver(shop.created())
        failed = events.InventoryFailed(order_id=shop.order_id, reason=reason.value, product_ids=[])
        [event] = (await shop.deliver(shop.seal(failed))).messages
        told = registry.decode(event)
        assert isinstance(told, events.OrderCancelled)
        assert told.reason == reason == (await shop.order()).cancel_reason

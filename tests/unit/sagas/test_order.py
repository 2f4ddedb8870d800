"""The order saga's table: the specification's machine, and a hypothesis machine that tries to leave it."""

import datetime as dt
import itertools
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts import events
from contracts.commands import CancelOrder, TimeOutOrder
from contracts.envelope import Envelope, Message, caused_id, registry, seal
from contracts.orders import Address, CancelReason, OrderLine, OrderStatus, PaymentMethod, PaymentMethodType
from sagas import order as order_saga
from sagas.batch import Batch, Changes, Snapshot
from sagas.order import COMMANDS, EVENTS, SAGA, Order

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
ORDER_ID = "018f3d9e-0000-7000-8000-000000000001"

SPECIFICATION = {
    ("pending", "inventory.reserved"): "awaiting_payment",
    ("pending", "inventory.failed"): "cancelled",
    ("awaiting_payment", "payment.succeeded"): "confirmed",
    ("awaiting_payment", "payment.failed"): "cancelled",
    ("confirmed", "shipment.created"): "processing",
    ("confirmed", "shipment.failed"): "confirmed",
    ("processing", "shipment.in_transit"): "shipped",
    ("shipped", "shipment.delivered"): "delivered",
}


@pytest.mark.parametrize(("place", "leads_to"), SPECIFICATION.items())
def test_the_specifications_transitions(place: tuple[str, str], leads_to: str) -> None:
    state, message = place
    assert SAGA.states[state].on[message].to == leads_to


def test_every_command_can_be_built_and_every_event_is_known() -> None:
    assert set(COMMANDS) == set(SAGA.answers)
    assert {state.emits for state in SAGA.states.values()} - {None} <= set(EVENTS)
    named = {message for state in SAGA.states.values() for message in state.on}.union(*SAGA.answers.values())
    assert named <= set(registry.types())


def created(order_id: str = ORDER_ID, *, user_id: str = "u", key: str = "k") -> Envelope:
    line = OrderLine(product_id="p1", sku="S", name="N", category="C", quantity=2, unit_price=500)
    address = Address(name="N", line1="L", city="Oslo", postal_code="0150", country="NO")
    method = PaymentMethod(type=PaymentMethodType.WALLET, token="tok_ok")
    payload = events.OrderCreated(
        order_id=order_id,
        user_id=user_id,
        idempotency_key=key,
        request_hash="h",
        currency="USD",
        total_amount=2000,
        lines=[line, replace_line(line, quantity=1), replace_line(line, product_id="p2")],
        shipping_address=address,
        payment_method=method,
        queue_position=0,
        created_at=NOW,
    )
    return seal(payload, id=f"created {order_id}", source="t", subject=order_id, time=NOW)


def replace_line(line: OrderLine, *, product_id: str | None = None, quantity: int | None = None) -> OrderLine:
    return OrderLine(
        product_id=product_id or line.product_id,
        sku=line.sku,
        name=line.name,
        category=line.category,
        quantity=quantity or line.quantity,
        unit_price=line.unit_price,
    )


def take(snapshot: Snapshot, *envelopes: Envelope) -> Batch:
    batch = Batch(SAGA, snapshot, NOW)
    for envelope in envelopes:
        batch.take(envelope, registry.decode(envelope))
    return batch


def test_lines_of_one_product_are_added_up() -> None:
    (reserve,) = take(Snapshot(), created()).messages
    command = registry.decode(reserve)
    assert [(line.product_id, line.quantity) for line in command.lines] == [("p1", 3), ("p2", 2)]  # type: ignore[attr-defined]


def test_one_customer_one_key_one_order() -> None:
    snapshot = Snapshot()
    take(snapshot, created())
    take(snapshot, created())
    take(snapshot, created("018f3d9e-0000-7000-8000-000000000002", user_id="someone else"))
    second = take(snapshot, created("018f3d9e-0000-7000-8000-000000000003"))

    assert second.refused == [("018f3d9e-0000-7000-8000-000000000003", ORDER_ID)]
    assert second.changes == Changes()
    assert second.messages == []


def test_a_time_out_has_one_id_per_state() -> None:
    snapshot = Snapshot()
    take(snapshot, created())
    order = snapshot.orders[ORDER_ID]
    assert order_saga.time_out(order, NOW).id == order_saga.time_out(order, NOW + dt.timedelta(hours=1)).id


def message(name: str) -> Envelope:
    """A message of a type, the same each time: what a redelivery looks like."""
    at = {"occurred_at": NOW}
    payloads: dict[str, Message] = {
        "inventory.reserved": events.InventoryReserved(order_id=ORDER_ID, allocations=[], expires_at=NOW),
        "inventory.failed": events.InventoryFailed(order_id=ORDER_ID, reason="out_of_stock", product_ids=["p1"]),
        "inventory.released": events.InventoryReleased(order_id=ORDER_ID, reason=""),
        "inventory.fulfilled": events.InventoryFulfilled(order_id=ORDER_ID),
        "inventory.hold_expired": events.InventoryHoldExpired(order_id=ORDER_ID, expires_at=NOW),
        "payment.succeeded": events.PaymentSucceeded(
            order_id=ORDER_ID, payment_id="p", provider="x", amount=2000, currency="USD", attempts=1, duration_ms=1
        ),
        "payment.failed": events.PaymentFailed(
            order_id=ORDER_ID, payment_id="p", provider="x", reason="declined", attempts=1, duration_ms=1
        ),
        "payment.voided": events.PaymentVoided(order_id=ORDER_ID, payment_id="p"),
        "payment.refunded": events.PaymentRefunded(order_id=ORDER_ID, payment_id="p", amount=2000, currency="USD"),
        "shipment.created": events.ShipmentCreated(order_id=ORDER_ID, parcels=[]),
        "shipment.failed": events.ShipmentFailed(order_id=ORDER_ID, reason="no_capacity"),
        "shipment.cancelled": events.ShipmentCancelled(order_id=ORDER_ID),
        "shipment.cancel_refused": events.ShipmentCancelRefused(order_id=ORDER_ID),
        "shipment.in_transit": events.ShipmentInTransit(order_id=ORDER_ID, shipment_id="s", **at),
        "shipment.delivered": events.ShipmentDelivered(order_id=ORDER_ID, **at),
        "order.cancel": CancelOrder(order_id=ORDER_ID, reason=CancelReason.ADMIN_REQUEST, actor_id="a"),
        "order.time_out": TimeOutOrder(order_id=ORDER_ID, status=OrderStatus.AWAITING_PAYMENT, sequence=2),
    }
    if name == "order.created":
        return created()
    return seal(payloads[name], id=caused_id(ORDER_ID, name), source="t", subject=ORDER_ID, time=NOW)


MESSAGES = sorted({SAGA.start, *(m for s in SAGA.states.values() for m in s.on)}.union(*SAGA.answers.values()))
AHEAD = {
    "pending": 0,
    "awaiting_payment": 1,
    "confirmed": 2,
    "cancelling": 3,
    "processing": 3,
    "shipped": 4,
    "delivered": 5,
    "cancelled": 5,
}


class AnyMessageAtAnyTime(RuleBasedStateMachine):
    """Sends any message in any number and order; the order keeps its history whole and never goes back."""

    @initialize()
    def start(self) -> None:
        self.snapshot = Snapshot()
        self.sent: dict[str, list[Envelope]] = {}
        self.seen = ["pending"]

    @rule(name=st.sampled_from(MESSAGES), batch=st.lists(st.sampled_from(MESSAGES), max_size=4))
    def deliver(self, name: str, batch: list[str]) -> None:
        work = take(self.snapshot, *(message(each) for each in [name, *batch]))
        for envelope in work.messages:
            self.sent.setdefault(envelope.id, []).append(envelope)
        self.seen += [step.status for _, step in work.changes.transitions]

    @property
    def order(self) -> Order | None:
        return self.snapshot.orders.get(ORDER_ID)

    @invariant()
    def history_has_no_gap(self) -> None:
        steps = sorted((t for t in self.snapshot.recorded.values()), key=lambda t: t.sequence)
        assert [t.sequence for t in steps] == list(range(1, len(steps) + 1))
        assert all(a.status == b.previous_status for a, b in itertools.pairwise(steps))
        if self.order is not None:
            assert self.order.instance.sequence == len(steps)

    @invariant()
    def the_same_id_means_the_same_message(self) -> None:
        assert all(envelope == first for first, *rest in self.sent.values() for envelope in rest)

    @invariant()
    def an_order_never_goes_back(self) -> None:
        places = [AHEAD[status] for status in self.seen]
        assert places == sorted(places)

    @invariant()
    def a_cancelled_order_says_why(self) -> None:
        if self.order is not None:
            cancelling = self.order.instance.status in ("cancelling", "cancelled")
            assert cancelling == (self.order.cancel_reason is not None)

    @invariant()
    def sent_commands_are_outstanding_until_answered(self) -> None:
        if self.order is not None:
            open_commands = [o.command for o in self.order.instance.outstanding]
            assert len(open_commands) == len(set(open_commands))

    @rule()
    def the_database_keeps_only_what_was_written(self) -> None:
        if self.order is not None:
            self.snapshot.orders[ORDER_ID] = replace(self.order, lines=())


AnyMessageAtAnyTime.TestCase.settings = settings(max_examples=100, stateful_step_count=25, deadline=None)
TestAnyMessageAtAnyTime = AnyMessageAtAnyTime.TestCase

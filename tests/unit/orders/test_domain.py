"""Orders as they are read: facts that only grow, and what they add up to."""

import datetime as dt
import itertools
import random
import uuid
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import events
from contracts.orders import (
    Address,
    CancelReason,
    OrderLine,
    OrderStatus,
    PaymentMethod,
    PaymentMethodType,
)
from kit.ids import new_id
from oltp.orders.domain import (
    CREATED,
    EVENT_OF_STATUS,
    Facts,
    Filter,
    Order,
    PaymentState,
    Placement,
    Recorded,
    StoredOrder,
    facts_of_creation,
    facts_of_transition,
    moment_of_id,
    month_after,
    month_before,
    month_of,
    months_down,
    newest_first,
    order_of,
    payment_state,
    payment_told,
    timeline,
)

NOW = dt.datetime(2026, 11, 27, 8, 0, 0, 123456, tzinfo=dt.UTC)
S = OrderStatus


def created(order_id: str = "0193a0c4-80aa-7e55-8c0e-5a1b9a4f6d02", *, name: str = "Earl Grey") -> events.OrderCreated:
    return events.OrderCreated(
        order_id=order_id,
        user_id="0193a0c4-2b10-7a61-9d0f-0b6f3a4c8e21",
        idempotency_key="key",
        request_hash="hash",
        currency="USD",
        total_amount=2500,
        lines=[
            OrderLine(product_id=new_id(), sku="TEA-1", name=name, category="tea", quantity=2, unit_price=1250),
        ],
        shipping_address=Address(name="Ada", line1="12 Square", city="London", postal_code="SW1", country="GB"),
        payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="tok_visa"),
        queue_position=0,
        created_at=NOW,
    )


def moved(sequence: int, previous: OrderStatus, status: OrderStatus, reason: str = "") -> Facts:
    event = events.OrderTransition(
        order_id="0193a0c4-80aa-7e55-8c0e-5a1b9a4f6d02",
        user_id="0193a0c4-2b10-7a61-9d0f-0b6f3a4c8e21",
        sequence=sequence,
        previous_status=previous,
        status=status,
        total_amount=2500,
        currency="USD",
        occurred_at=NOW + dt.timedelta(seconds=sequence),
        reason=reason,
    )
    return facts_of_transition(EVENT_OF_STATUS[status], event)


def story() -> list[Facts]:
    return [
        facts_of_creation(created()),
        moved(2, S.PENDING, S.AWAITING_PAYMENT),
        moved(3, S.AWAITING_PAYMENT, S.CONFIRMED),
        moved(4, S.CONFIRMED, S.PROCESSING),
        moved(5, S.PROCESSING, S.SHIPPED),
        moved(7, S.SHIPPED, S.DELIVERED),
    ]


def joined(parts: Sequence[Facts]) -> Order | None:
    whole = Facts(parts[0].order_id)
    for part in parts:
        whole = whole.joined(part)
    return order_of(whole)


class TestFacts:
    def test_an_order_stands_where_its_newest_step_left_it(self) -> None:
        order = joined(story())

        assert order is not None
        assert order.status is S.DELIVERED
        assert order.updated_at == NOW + dt.timedelta(seconds=7)
        assert [step.sequence for step in order.timeline] == [1, 2, 3, 4, 5, 7]
        assert order.cancel_reason is None

    @given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
    def test_facts_add_up_to_the_same_order_however_they_come(self, order: list[int], again: list[int]) -> None:
        parts = story()

        assert joined([parts[i] for i in [*order, *again]]) == joined(parts)

    def test_steps_without_a_placement_are_no_order_yet(self) -> None:
        assert joined([moved(3, S.AWAITING_PAYMENT, S.CONFIRMED)]) is None

    def test_a_placement_alone_is_a_pending_order(self) -> None:
        placed = facts_of_creation(created())

        order = order_of(Facts(placed.order_id, placed.placement))

        assert order is not None
        assert order.status is S.PENDING
        assert order.timeline[0].type == CREATED

    def test_a_cancelled_order_says_why(self) -> None:
        order = joined([story()[0], moved(2, S.PENDING, S.CANCELLED, CancelReason.OUT_OF_STOCK)])

        assert order is not None
        assert order.cancel_reason == "out_of_stock"


def recorded(
    sequence: int,
    previous: OrderStatus,
    status: OrderStatus,
    *,
    message: str = "x",
    outputs: tuple[str, ...] = (),
    reason: str = "",
) -> Recorded:
    at = NOW + dt.timedelta(seconds=sequence)
    return Recorded(sequence, f"m{sequence}", message, previous, status, reason, outputs, at)


class TestTimeline:
    def test_customers_see_what_was_announced_and_no_housekeeping(self) -> None:
        rows = [
            recorded(1, S.PENDING, S.PENDING, outputs=("inventory.reserve",)),
            recorded(2, S.PENDING, S.AWAITING_PAYMENT, outputs=("order.reserved", "payment.charge")),
            recorded(
                3, S.AWAITING_PAYMENT, S.CANCELLED, outputs=("order.cancelled", "inventory.release"), reason="declined"
            ),
            recorded(4, S.CANCELLED, S.CANCELLED, message="inventory.released"),
        ]

        steps = timeline(
            rows, status=S.CANCELLED, sequence=4, cancel_reason="payment_failed", created_at=NOW, updated_at=NOW
        )

        assert [(s.sequence, s.type, s.reason) for s in steps.values()] == [
            (1, "order.created", ""),
            (2, "order.reserved", ""),
            (3, "order.cancelled", "payment_failed"),
        ]

    def test_the_first_step_is_when_the_order_was_placed_whenever_it_was_written(self) -> None:
        steps = timeline(
            [recorded(1, S.PENDING, S.PENDING)],
            status=S.PENDING,
            sequence=1,
            cancel_reason=None,
            created_at=NOW,
            updated_at=NOW,
        )

        assert steps[1].occurred_at == NOW

    def test_a_refused_cancellation_is_seen_though_the_status_stands(self) -> None:
        rows = [recorded(6, S.SHIPPED, S.SHIPPED, outputs=("order.cancellation_refused",))]

        steps = timeline(rows, status=S.SHIPPED, sequence=6, cancel_reason=None, created_at=NOW, updated_at=NOW)

        assert steps[6].type == "order.cancellation_refused"

    def test_an_order_without_recorded_transitions_ends_where_it_stands(self) -> None:
        steps = timeline([], status=S.DELIVERED, sequence=1, cancel_reason=None, created_at=NOW, updated_at=NOW)

        assert [(s.sequence, s.status) for s in steps.values()] == [(1, S.PENDING), (2, S.DELIVERED)]


class TestPayment:
    @pytest.mark.parametrize(
        ("messages", "state"),
        [
            ([], PaymentState.NOT_REQUESTED),
            (["payment.succeeded"], PaymentState.CAPTURED),
            (["payment.failed"], PaymentState.DECLINED),
            (["payment.succeeded", "shipment.created", "payment.refunded"], PaymentState.REFUNDED),
            (["payment.voided"], PaymentState.VOIDED),
        ],
    )
    def test_follows_the_last_answer(self, messages: list[str], state: PaymentState) -> None:
        rows = [recorded(n, S.PENDING, S.PENDING, message=message) for n, message in enumerate(messages, 2)]

        assert payment_state(rows) is state

    def test_is_requested_until_there_is_an_answer(self) -> None:
        rows = [recorded(2, S.PENDING, S.AWAITING_PAYMENT, outputs=("order.reserved", "payment.charge"))]

        assert payment_state(rows) is PaymentState.REQUESTED

    @pytest.mark.parametrize(
        ("steps", "state"),
        [
            ([], PaymentState.NOT_REQUESTED),
            ([moved(2, S.PENDING, S.AWAITING_PAYMENT)], PaymentState.REQUESTED),
            (
                [
                    moved(2, S.PENDING, S.AWAITING_PAYMENT),
                    moved(3, S.AWAITING_PAYMENT, S.CANCELLED, CancelReason.PAYMENT_FAILED),
                ],
                PaymentState.DECLINED,
            ),
            ([moved(3, S.AWAITING_PAYMENT, S.CONFIRMED)], PaymentState.CAPTURED),
        ],
    )
    def test_can_be_told_from_the_visible_steps(self, steps: list[Facts], state: PaymentState) -> None:
        order = joined([story()[0], *steps])

        assert order is not None
        assert payment_told(order) is state


class TestFilter:
    def order(self) -> Order:
        order = joined(story()[:3])
        assert order is not None
        return order

    @pytest.mark.parametrize(
        "wanted",
        [
            Filter(),
            Filter(statuses=frozenset({S.CONFIRMED, S.CANCELLED})),
            Filter(date_from=NOW),
            Filter(date_to=NOW + dt.timedelta(microseconds=1)),
            Filter(price_min=2500, price_max=2500),
            Filter(text="EARL"),
            Filter(text="80aa-7e55"),
        ],
    )
    def test_admits(self, wanted: Filter) -> None:
        assert wanted.admits(self.order())

    @pytest.mark.parametrize(
        "wanted",
        [
            Filter(statuses=frozenset({S.CANCELLED})),
            Filter(date_from=NOW + dt.timedelta(microseconds=1)),
            Filter(date_to=NOW),
            Filter(price_min=2501),
            Filter(price_max=2499),
            Filter(text="coffee"),
        ],
    )
    def test_refuses(self, wanted: Filter) -> None:
        assert not wanted.admits(self.order())


class TestMonths:
    def test_is_that_of_utc(self) -> None:
        eastern = dt.timezone(dt.timedelta(hours=-5))

        assert month_of(dt.datetime(2026, 12, 31, 23, tzinfo=eastern)) == "2027-01"

    def test_run_down_over_the_turn_of_the_year(self) -> None:
        assert months_down("2027-02", "2026-11") == ["2027-02", "2027-01", "2026-12", "2026-11"]
        assert months_down("2026-10", "2026-11") == []

    @pytest.mark.parametrize("month", ["2026-01", "2026-06", "2026-12"])
    def test_before_and_after_are_inverse(self, month: str) -> None:
        assert month_before(month_after(month)) == month == month_after(month_before(month))

    def test_an_id_tells_when_it_was_made(self) -> None:
        made = moment_of_id(new_id())

        assert made is not None
        assert abs(made - dt.datetime.now(dt.UTC)) < dt.timedelta(minutes=1)
        assert moment_of_id(str(uuid.uuid4())) is None


def test_lists_are_newest_first_and_ties_go_by_id() -> None:
    ids = [f"0193a0c4-80aa-7e55-8c0e-{n:012d}" for n in range(4)]
    orders = [order for order_id in ids if (order := order_of(facts_of_creation(created(order_id)))) is not None]

    for shuffled in itertools.islice(itertools.permutations(orders), 0, 24, 5):
        assert newest_first(random.Random(1).sample(shuffled, 4)) == orders[::-1]


@pytest.mark.parametrize(
    ("status", "reason", "payment"),
    [
        (OrderStatus.DELIVERED, None, PaymentState.CAPTURED),
        (OrderStatus.PROCESSING, None, PaymentState.CAPTURED),
        (OrderStatus.CANCELLED, "payment_failed", PaymentState.DECLINED),
        (OrderStatus.CANCELLED, "payment_timeout", PaymentState.VOIDED),
        (OrderStatus.CANCELLED, "customer_request", PaymentState.REFUNDED),
        (OrderStatus.CANCELLED, "out_of_stock", PaymentState.NOT_REQUESTED),
    ],
)
def test_settled_history_says_by_its_status_what_came_of_its_payment(
    status: OrderStatus, reason: str | None, payment: PaymentState
) -> None:
    order = StoredOrder(
        order_id="0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e",
        user_id="0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4f",
        status=status,
        sequence=2,
        cancel_reason=reason,
        placement=Placement(NOW, "USD", 100, "card", ()),
        shipping_address={},
        recorded=(),
        outstanding=(),
        correlation_id="",
        updated_at=NOW,
    )
    assert order.payment is payment
    assert [step.status for step in order.order.timeline] == [OrderStatus.PENDING, status]

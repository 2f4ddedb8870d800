"""Shipping's pure core: every message order has an answer, and races have one outcome."""

import datetime as dt
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import events
from contracts.commands import CancelShipment, CreateShipment
from contracts.envelope import caused_id, registry
from contracts.orders import Address, Allocation
from oltp.shipping import domain
from oltp.shipping.carriers import CARRIERS, REFUSALS, CarrierNetwork
from oltp.shipping.domain import Fulfilment, NotPossible, ParcelStatus, State
from oltp.shipping.geography import Point

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ORDER = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"
USER = "0198c5f0-0000-7000-8000-000000000001"
EAST, WEST = "0198c5f0-0000-7000-8000-00000000000e", "0198c5f0-0000-7000-8000-00000000000f"
ORIGINS = {EAST: Point(40.7, -74.0), WEST: Point(34.05, -118.24)}
PAPER, PEN = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
CHICAGO = Address(
    name="Ada", line1="1 State St", city="Chicago", postal_code="60601", country="US", latitude=41.88, longitude=-87.63
)

WILLING = CarrierNetwork(refusal_rate=0, delay_rate=0)


def create(attempt: int = 1, warehouses: tuple[str, ...] = (EAST,)) -> CreateShipment:
    allocations = [Allocation(product_id=PAPER, warehouse_id=w, quantity=2) for w in warehouses]
    return CreateShipment(order_id=ORDER, user_id=USER, allocations=allocations, destination=CHICAGO, attempt=attempt)


CANCEL = CancelShipment(order_id=ORDER)


def decide(current, command, cause="c", *, now=NOW, carriers=WILLING, origins=ORIGINS):
    return domain.decide(current, command, cause=cause, now=now, carriers=carriers, origins=origins)


def booked(warehouses: tuple[str, ...] = (EAST,), carriers: CarrierNetwork = WILLING) -> Fulfilment:
    return decide(None, create(warehouses=warehouses), carriers=carriers).state


def finished(state: Fulfilment, carriers: CarrierNetwork = WILLING) -> domain.Progress:
    return domain.advance(state, now=NOW + dt.timedelta(days=30), carriers=carriers)


def names(progress: domain.Progress) -> list[str]:
    return [registry.name_of(type(h.message)) for h in progress.happenings]


def test_books_one_parcel_per_warehouse_with_equal_products_added_up():
    command = replace_allocations(
        create(),
        [
            Allocation(product_id=PAPER, warehouse_id=WEST, quantity=1),
            Allocation(product_id=PEN, warehouse_id=EAST, quantity=4),
            Allocation(product_id=PAPER, warehouse_id=WEST, quantity=2),
        ],
    )
    decision = decide(None, command)
    assert isinstance(decision.reply.message, events.ShipmentCreated)
    assert [p.warehouse_id for p in decision.state.parcels] == [EAST, WEST]
    assert [[(i.product_id, i.quantity) for i in p.items] for p in decision.state.parcels] == [
        [(PEN, 4)],
        [(PAPER, 3)],
    ]
    assert [p.shipment_id for p in decision.reply.message.parcels] == [p.shipment_id for p in decision.state.parcels]


def replace_allocations(command: CreateShipment, allocations: list[Allocation]) -> CreateShipment:
    return CreateShipment(
        order_id=command.order_id,
        user_id=command.user_id,
        allocations=allocations,
        destination=command.destination,
        attempt=command.attempt,
    )


def test_a_cancellation_before_the_booking_leaves_a_tombstone():
    tombstone = decide(None, CANCEL, "cancel")
    assert tombstone.reply.message == events.ShipmentCancelled(order_id=ORDER)
    late = decide(tombstone.state, create(), "create")
    assert late.reply.message == events.ShipmentFailed(order_id=ORDER, reason="cancelled")
    assert late.state.state is State.CANCELLED
    assert late.state.parcels == ()
    assert late.state.next_event_at is None


def test_a_cancellation_stops_every_parcel_that_has_not_left():
    cancelled = decide(booked((EAST, WEST)), CANCEL, "cancel")
    assert cancelled.reply.message == events.ShipmentCancelled(order_id=ORDER)
    assert {p.status for p in cancelled.state.parcels} == {ParcelStatus.CANCELLED}
    assert finished(cancelled.state).happenings == ()


def test_a_cancellation_after_the_first_parcel_left_is_refused():
    state = booked((EAST, WEST))
    first = domain.advance(state, now=state.next_event_at, carriers=WILLING).state
    assert {p.status for p in first.parcels} == {ParcelStatus.BOOKED, ParcelStatus.IN_TRANSIT}
    refused = decide(first, CANCEL, "cancel")
    assert refused.reply.message == events.ShipmentCancelRefused(order_id=ORDER)
    assert refused.state.parcels == first.parcels


@pytest.mark.parametrize("command", [create(), CANCEL])
def test_the_same_command_again_gets_the_same_answer_whatever_came_between(command):
    first = decide(None, command, "first")
    state = first.state
    for cause, other in (("a", CANCEL), ("b", create(2)), ("c", CANCEL)):
        state = decide(state, other, cause).state
    again = decide(state, command, "first", now=NOW + dt.timedelta(hours=1))
    assert again.reply == first.reply
    assert again.state is state


def test_another_command_for_a_booked_order_books_nothing_twice():
    first = decide(None, create(1), "first")
    second = decide(first.state, create(2), "second")
    assert second.reply.message == first.reply.message
    assert second.state.parcels == first.state.parcels


def test_a_refused_order_is_booked_by_a_later_attempt():
    carriers = CarrierNetwork(refusal_rate=0.5)
    outcomes = {attempt: carriers.refusal(ORDER, attempt) for attempt in range(1, 30)}
    refused = next(attempt for attempt, reason in outcomes.items() if reason)
    taken = next(attempt for attempt, reason in outcomes.items() if not reason)
    first = decide(None, create(refused), "first", carriers=carriers)
    assert isinstance(first.reply.message, events.ShipmentFailed)
    assert first.reply.message.reason in REFUSALS
    assert first.state.state is State.UNBOOKED
    assert isinstance(
        decide(first.state, create(taken), "second", carriers=carriers).reply.message, events.ShipmentCreated
    )
    assert decide(first.state, CANCEL, "cancel").reply.message == events.ShipmentCancelled(order_id=ORDER)


def test_an_order_without_allocations_is_refused():
    decision = decide(None, replace_allocations(create(), []))
    assert decision.reply.message == events.ShipmentFailed(order_id=ORDER, reason="nothing_to_ship")


def test_answers_are_remembered_within_bounds():
    state = None
    for number in range(200):
        state = decide(state, create(number), f"cause-{number}", carriers=CarrierNetwork(refusal_rate=1)).state
    assert len(state.replies) == domain.REMEMBERED_REPLIES
    assert state.attempt == 199


def test_the_clock_tells_each_thing_once_and_in_order():
    progress = finished(booked())
    assert names(progress) == [
        "shipment.in_transit",
        *["shipment.moved"] * (WILLING.legs + 1),
        "shipment.delivered",
    ]
    assert [h.at for h in progress.happenings] == sorted(h.at for h in progress.happenings)
    identities = [caused_id(h.key, registry.name_of(type(h.message))) for h in progress.happenings]
    assert len(set(identities)) == len(identities)
    parcel = progress.state.parcels[0]
    assert parcel.position == pytest.approx((41.88, -87.63), abs=1e-4)
    assert abs(parcel.delivered_at - parcel.estimated_delivery) < dt.timedelta(milliseconds=1)


def test_several_parcels_make_one_order_level_departure_and_arrival():
    progress = finished(booked((EAST, WEST)))
    assert names(progress).count("shipment.in_transit") == 1
    assert names(progress)[0] == "shipment.in_transit"
    assert names(progress).count("shipment.delivered") == 1
    assert names(progress)[-1] == "shipment.delivered"
    assert progress.state.state is State.DELIVERED


def test_a_delayed_parcel_arrives_late_and_says_so():
    carriers = CarrierNetwork(refusal_rate=0, delay_rate=1)
    state = booked(carriers=carriers)
    progress = finished(state, carriers)
    parcel = progress.state.parcels[0]
    moves = [h.message.status for h in progress.happenings if isinstance(h.message, events.ShipmentMoved)]
    assert moves.count("delayed") == 1
    assert parcel.delayed_by > dt.timedelta(0)
    assert parcel.estimated_delivery == state.parcels[0].estimated_delivery + parcel.delayed_by
    assert parcel.delivered_at > state.parcels[0].estimated_delivery
    assert progress.state.state is State.DELIVERED


def test_advancing_in_many_ticks_or_at_once_is_the_same():
    carriers = CarrierNetwork(refusal_rate=0, delay_rate=0.5)
    at_once = finished(booked((EAST, WEST), carriers), carriers)
    state, happenings, now = booked((EAST, WEST), carriers), [], NOW
    while state.next_event_at is not None:
        now += dt.timedelta(milliseconds=137)
        progress = domain.advance(state, now=now, carriers=carriers)
        state, happenings = progress.state, [*happenings, *progress.happenings]
    assert (state, tuple(happenings)) == (at_once.state, at_once.happenings)


def test_an_admin_dispatches_what_is_booked_and_nothing_else():
    progress = domain.dispatch(booked((EAST, WEST)), now=NOW)
    assert progress.state.state is State.DISPATCHED
    assert names(progress) == ["shipment.in_transit", "shipment.moved", "shipment.moved"]
    for state in (
        progress.state,
        finished(progress.state).state,
        decide(None, CANCEL).state,
        decide(None, create(), carriers=CarrierNetwork(refusal_rate=1)).state,
    ):
        with pytest.raises(NotPossible):
            domain.dispatch(state, now=NOW)


def test_an_admin_delivers_what_is_under_way_and_nothing_else():
    state = booked((EAST, WEST))
    with pytest.raises(NotPossible):
        domain.deliver(state, now=NOW)
    under_way = domain.advance(state, now=state.next_event_at, carriers=WILLING).state
    progress = domain.deliver(under_way, now=NOW)
    assert progress.state.state is State.DELIVERED
    assert names(progress) == ["shipment.moved", "shipment.moved", "shipment.delivered"]
    assert all(p.dispatched_at and p.delivered_at and p.next_event_at is None for p in progress.state.parcels)
    with pytest.raises(NotPossible):
        domain.deliver(progress.state, now=NOW)
    partly = replace(under_way, parcels=(finished(under_way).state.parcels[0], under_way.parcels[1]))
    assert names(domain.deliver(partly, now=NOW))[-1] == "shipment.delivered"


def test_unknown_places_still_ship():
    nowhere = Address(name="Ada", line1="1", city="X", postal_code="1", country="ZZ")
    command = CreateShipment(
        order_id=ORDER, user_id=USER, allocations=create().allocations, destination=nowhere, attempt=1
    )
    lost = decide(None, command, origins={}).state
    assert lost.parcels[0].position is None
    assert names(finished(lost)) == ["shipment.in_transit", "shipment.delivered"]
    from_the_warehouse = decide(None, command).state.parcels[0]
    assert from_the_warehouse.position == ORIGINS[EAST]
    to_the_door = decide(None, create(), origins={}).state.parcels[0]
    assert to_the_door.position == Point(41.88, -87.63)


def test_derived_ids_are_version_7_and_carry_the_orders_time():
    derived = uuid.UUID(domain.derived_id(ORDER, EAST))
    assert derived.version == 7
    assert derived.variant == uuid.RFC_4122
    assert derived.bytes[:6] == uuid.UUID(ORDER).bytes[:6]
    assert domain.derived_id(ORDER, EAST) == str(derived)
    assert domain.derived_id(ORDER, WEST) != str(derived)


Step = st.one_of(
    st.tuples(st.just("create"), st.integers(1, 4)),
    st.tuples(st.just("cancel"), st.integers(1, 3)),
    st.tuples(st.just("clock"), st.integers(1, 40)),
    st.tuples(st.just("ship"), st.just(0)),
    st.tuples(st.just("deliver"), st.just(0)),
)


@given(
    steps=st.lists(Step, max_size=25),
    seed=st.integers(0, 1000),
    refusal_rate=st.sampled_from([0.0, 0.5, 1.0]),
    delay_rate=st.sampled_from([0.0, 1.0]),
    warehouses=st.sampled_from([(EAST,), (EAST, WEST)]),
)
def test_any_schedule_has_one_outcome(steps, seed, refusal_rate, delay_rate, warehouses):
    """No order is both cancelled and shipped, in what is stored and in what was ever said."""
    carriers = CarrierNetwork(seed=seed, refusal_rate=refusal_rate, delay_rate=delay_rate)
    state: Fulfilment | None = None
    now, said, answers = NOW, [], {}
    for what, value in steps:
        if what in ("create", "cancel"):
            command = create(value, warehouses) if what == "create" else CANCEL
            cause = f"{what}-{value}"
            decision = decide(state, command, cause, now=now, carriers=carriers)
            state = decision.state
            assert answers.setdefault(cause, decision.reply) == decision.reply
            said.append(registry.name_of(type(decision.reply.message)))
        elif state is not None:
            try:
                if what == "clock":
                    now += dt.timedelta(seconds=value)
                    progress = domain.advance(state, now=now, carriers=carriers)
                elif what == "ship":
                    progress = domain.dispatch(state, now=now)
                else:
                    progress = domain.deliver(state, now=now)
            except NotPossible:
                continue
            state = progress.state
            said += names(progress)
        if state is not None:
            check(state, warehouses)
    assert not ({"shipment.cancelled"} <= set(said) and {"shipment.in_transit"} & set(said))
    assert not ("shipment.cancelled" in said and "shipment.cancel_refused" in said)
    assert said.count("shipment.in_transit") <= 1
    assert said.count("shipment.delivered") <= 1


def check(state: Fulfilment, warehouses: tuple[str, ...]) -> None:
    statuses = {p.status for p in state.parcels}
    match state.state:
        case State.UNBOOKED:
            assert not state.parcels
        case State.BOOKED:
            assert statuses == {ParcelStatus.BOOKED}
        case State.DISPATCHED:
            assert statuses & {ParcelStatus.IN_TRANSIT, ParcelStatus.DELAYED, ParcelStatus.DELIVERED}
            assert statuses != {ParcelStatus.DELIVERED}
        case State.DELIVERED:
            assert statuses == {ParcelStatus.DELIVERED}
        case State.CANCELLED:
            assert statuses <= {ParcelStatus.CANCELLED}
    assert (state.next_event_at is not None) == (state.state in (State.BOOKED, State.DISPATCHED))
    assert len(state.parcels) in (0, len(warehouses))
    for parcel in state.parcels:
        assert (parcel.next_event_at is None) == (parcel.status in (ParcelStatus.DELIVERED, ParcelStatus.CANCELLED))
        assert (parcel.delivered_at is not None) == (parcel.status is ParcelStatus.DELIVERED)
        assert 0 <= parcel.progress <= parcel.legs


def test_carriers_answer_the_same_again_and_in_their_shares():
    carriers = CarrierNetwork()
    quotes = [carriers.quote(str(uuid.UUID(int=n)), EAST, 1, 1000) for n in range(4000)]
    assert quotes[7] == carriers.quote(str(uuid.UUID(int=7)), EAST, 1, 1000)
    for carrier in CARRIERS:
        assert sum(q.carrier == carrier.name for q in quotes) / 4000 == pytest.approx(carrier.share, abs=0.04)
    refused = sum(carriers.refusal(str(uuid.UUID(int=n)), 1) is not None for n in range(4000)) / 4000
    assert refused == pytest.approx(0.02, abs=0.01)
    assert len({q.tracking_number for q in quotes}) == 4000


def test_the_default_clock_shows_a_demo_order_moving_within_seconds():
    for number in range(300):
        quote = CarrierNetwork().quote(str(uuid.UUID(int=number)), EAST, 1, 4000)
        assert dt.timedelta(seconds=0.4) < quote.handling < dt.timedelta(seconds=3)
        assert dt.timedelta(seconds=1) < quote.transit < dt.timedelta(seconds=15)

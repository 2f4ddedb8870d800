"""The engine, on a saga that has nothing to do with orders."""

import datetime as dt

import pytest

from sagas.engine import (
    FIRST_RESEND,
    FIRST_RETRY,
    LONGEST_RESEND,
    LONGEST_RETRY,
    Early,
    Go,
    Instance,
    Moved,
    Outstanding,
    Saga,
    Stale,
    State,
    Transition,
    advance,
    begin,
    due,
)

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)

TRIP = Saga(
    name="trip",
    start="trip.asked",
    begin=Go("booking", send=("hotel.book",)),
    time_out="trip.time_out",
    states={
        "booking": State(
            on={
                "hotel.booked": Go("flying", send=("flight.book",)),
                "trip.stop": Go("stopped", send=("hotel.cancel",), drop=("hotel.book",), reason="asked"),
            }
        ),
        "flying": State(
            emits="trip.flying",
            time_out=MINUTE,
            on={
                "flight.booked": Go("done"),
                "flight.full": Go("flying", retry="flight.book"),
                "trip.time_out": Go("stopped", send=("hotel.cancel",), drop=("flight.book",)),
            },
        ),
        "done": State(emits="trip.done", on={"trip.stop": Go("done", emit="trip.too_late")}),
        "stopped": State(emits="trip.stopped", on={}),
    },
    answers={
        "hotel.book": frozenset({"hotel.booked"}),
        "hotel.cancel": frozenset({"hotel.cancelled"}),
        "flight.book": frozenset({"flight.booked", "flight.full"}),
    },
)


def move(instance: Instance, message: str, *, at: dt.datetime = NOW, reason: str = "") -> Moved:
    verdict = advance(TRIP, instance, message_type=message, message_id=f"id of {message}", reason=reason, now=at)
    assert isinstance(verdict, Moved)
    return verdict


@pytest.fixture
def booking() -> Instance:
    return begin(TRIP, message_id="m0", now=NOW).instance


@pytest.fixture
def flying(booking: Instance) -> Instance:
    return move(booking, "hotel.booked").instance


def test_begin_sends_the_first_command() -> None:
    started = begin(TRIP, message_id="m0", now=NOW)
    assert started.instance == Instance("booking", 1, (Outstanding("hotel.book", 1, 1, NOW + FIRST_RESEND, 1),))
    assert started.transition == Transition(1, "m0", "trip.asked", "booking", "booking", "", ("hotel.book",), NOW)


def test_an_answer_settles_its_command_and_moves_on(booking: Instance) -> None:
    moved = move(booking, "hotel.booked")
    assert moved.instance.status == "flying"
    assert [o.command for o in moved.instance.outstanding] == ["flight.book"]
    assert moved.transition.outputs == ("trip.flying", "flight.book")
    assert moved.instance.deadline == NOW + MINUTE


def test_leaving_a_state_ends_its_deadline(flying: Instance) -> None:
    assert move(flying, "flight.booked").instance.deadline is None


def test_a_rule_can_drop_a_command_that_nobody_waits_for_any_more(booking: Instance) -> None:
    moved = move(booking, "trip.stop")
    assert [o.command for o in moved.instance.outstanding] == ["hotel.cancel"]
    assert moved.transition.reason == "asked"


def test_a_compensation_is_settled_in_a_state_without_a_rule_for_it(booking: Instance) -> None:
    stopped = move(booking, "trip.stop").instance
    settled = move(stopped, "hotel.cancelled")
    assert settled.instance == Instance("stopped", 3)
    assert settled.transition.outputs == ()


def test_the_messages_own_reason_is_kept_where_the_rule_gives_none(booking: Instance) -> None:
    assert move(booking, "hotel.booked", reason="lucky").transition.reason == "lucky"


def test_a_message_of_a_state_ahead_is_early(booking: Instance) -> None:
    assert advance(TRIP, booking, message_type="flight.booked", message_id="x", now=NOW) == Early()


def test_an_answer_to_a_command_that_is_still_to_be_sent_is_early(booking: Instance) -> None:
    assert advance(TRIP, booking, message_type="hotel.cancelled", message_id="x", now=NOW) == Early()


def test_a_message_of_a_state_behind_is_stale(flying: Instance) -> None:
    assert advance(TRIP, flying, message_type="hotel.booked", message_id="x", now=NOW) == Stale()


def test_an_event_without_a_change_of_state(flying: Instance) -> None:
    done = move(flying, "flight.booked").instance
    assert move(done, "trip.stop").transition.outputs == ("trip.too_late",)


def test_a_failed_attempt_is_retried_with_growing_waits(flying: Instance) -> None:
    waits = []
    for _ in range(9):
        flying = move(flying, "flight.full").instance
        (retry,) = flying.outstanding
        assert retry.tries == 0
        waits.append(retry.due_at - NOW)
    assert waits[:3] == [FIRST_RETRY, FIRST_RETRY * 2, FIRST_RETRY * 4]
    assert waits[-1] == LONGEST_RETRY
    assert flying.outstanding[0].attempt == 10


def test_staying_keeps_the_deadline(flying: Instance) -> None:
    later = NOW + dt.timedelta(seconds=30)
    assert move(flying, "flight.full", at=later).instance.deadline == NOW + MINUTE


def test_a_retry_of_a_command_that_is_not_under_way_is_not_made_up(flying: Instance) -> None:
    quiet = Instance(flying.status, flying.sequence)
    assert move(quiet, "flight.full").instance.outstanding == ()


def test_due_sends_again_with_doubling_intervals_and_the_same_attempt(booking: Instance) -> None:
    now, instance, waits = NOW, booking, []
    for _ in range(6):
        assert instance.due_at is not None
        now = instance.due_at
        found = due(instance, now)
        assert [o.attempt for o in found.send] == [1]
        instance = found.instance
        assert instance.due_at is not None
        waits.append(instance.due_at - now)
    assert waits[:2] == [FIRST_RESEND * 2, FIRST_RESEND * 4]
    assert waits[-1] == LONGEST_RESEND
    assert not found.timed_out


def test_due_never_tires(booking: Instance) -> None:
    instance = booking
    for _ in range(200):
        assert instance.due_at is not None
        instance = due(instance, instance.due_at).instance
    assert instance.outstanding[0].tries == 201


def test_due_leaves_what_is_not_due(booking: Instance) -> None:
    found = due(booking, NOW)
    assert (found.instance, found.send, found.timed_out) == (booking, (), False)


def test_a_state_that_lasts_too_long_times_out_and_asks_again_if_nobody_hears(flying: Instance) -> None:
    found = due(flying, NOW + MINUTE)
    assert found.timed_out
    assert found.instance.deadline == NOW + MINUTE + FIRST_RESEND
    assert move(found.instance, "trip.time_out").instance.status == "stopped"


def test_an_instance_that_waits_for_nothing_is_never_due() -> None:
    assert Instance("done", 3).due_at is None


@pytest.mark.parametrize(
    ("states", "complaint"),
    [
        ({"a": State(on={"x": Go("nowhere")})}, "unknown state 'nowhere'"),
        ({"a": State(on={"x": Go("a", send=("shout",))})}, "'shout', which has no answers"),
        ({"a": State(on={"x": Go("a", retry="shout")})}, "'shout', which has no answers"),
        ({"a": State(on={}, time_out=MINUTE)}, "no rule for 'late'"),
        ({"a": State(on={}), "island": State(on={})}, r"nothing leads to \['island'\]"),
    ],
)
def test_a_table_that_is_not_whole_is_refused(states: dict[str, State], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Saga(name="s", start="go", begin=Go("a"), states=states, answers={}, time_out="late")

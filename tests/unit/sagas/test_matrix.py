"""The saga killed at every boundary of every step × every step failing: all of it, and proof that it would notice."""

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing import get_context

import pytest

from contracts.orders import OrderStatus
from sagas import batch
from sagas.engine import LONGEST_RESEND, LONGEST_RETRY, Outstanding, Saga
from sagas.matrix import WISHES, Cell, CellBroken, Failure, Kill, Life, Pace, Way, failures, kills, lives
from sagas.order import COMMANDS, SAGA
from sagas.world import SAGA_CLOCK, SAGA_GROUP, Moment
from tests.unit.sagas.test_simulator import without

Row = tuple[OrderStatus | None, Pace]
ROWS: list[Row] = list(itertools.product(WISHES, Pace))


@dataclass
class Lived:
    """What became of a row."""

    endings: Counter[str] = field(default_factory=Counter)
    failed: set[Failure] = field(default_factory=set)
    killed: set[tuple[str, str, Moment]] = field(default_factory=set)
    rules: set[tuple[str, str]] = field(default_factory=set)


def live(row: Row) -> Lived:
    lived = Lived()
    for cell, ending in lives(*row):
        lived.endings[ending.status] += 1
        lived.rules |= ending.rules
        if cell.failure is not None:
            lived.failed.add(cell.failure)
        if cell.kill is not None:
            step = ending.steps[cell.kill.step]
            lived.killed |= {(step.who, message, cell.kill.moment) for message in step.on}
    return lived


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[Row, Future[Lived]]]:
    """Every row, on every core, and out of sight of a coverage tracer."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield {row: pool.submit(live, row) for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0] or 'wanted'}, {row[1]}")
def test_every_order_ends_on_time(rows: dict[Row, Future[Lived]], row: Row) -> None:
    endings = rows[row].result().endings
    assert set(endings) <= {OrderStatus.DELIVERED, OrderStatus.CANCELLED}
    assert endings.total() > 200


def test_the_matrix_is_full(rows: dict[Row, Future[Lived]]) -> None:
    lived = [future.result() for future in rows.values()]
    assert set().union(*(row.failed for row in lived)) == set(failures())
    assert {failure.step for failure in failures()} == set(COMMANDS)

    rules = {(name, message) for name, state in SAGA.states.items() for message in state.on}
    assert set().union(*(row.rules for row in lived)) >= rules

    killed = set().union(*(row.killed for row in lived))
    answers = {SAGA.start, *(message for _, message in rules)}.union(*SAGA.answers.values())
    assert {message for who, message, _ in killed if who == SAGA_GROUP} == answers
    for message in answers:
        boundaries = {moment for who, on, moment in killed if (who, on) == (SAGA_GROUP, message)}
        assert boundaries >= {Moment.BEFORE_COMMIT, Moment.AFTER_COMMIT}, message
    sends_two = {message for who, message, moment in killed if moment is Moment.SENDING and who == SAGA_GROUP}
    assert sends_two >= {m for state in SAGA.states.values() for m, go in state.on.items() if go.send and state.emits}
    assert {moment for who, _, moment in killed if who == SAGA_CLOCK} == {Moment.SENDING, Moment.BEFORE_COMMIT}


def test_a_kill_takes_every_part_of_what_is_being_sent() -> None:
    steps = Life(Cell()).run().steps
    (confirmed,) = (n for n, step in enumerate(steps) if "payment.succeeded" in step.on)
    assert steps[confirmed].outputs == 2
    assert [kill for kill in kills(steps) if kill.step == confirmed] == [
        Kill(confirmed, Moment.BEFORE_COMMIT),
        Kill(confirmed, Moment.AFTER_COMMIT),
        Kill(confirmed, Moment.SENT),
        Kill(confirmed, Moment.SENDING, (0,)),
        Kill(confirmed, Moment.SENDING, (1,)),
    ]


@pytest.mark.parametrize(
    ("broken", "wish", "complaint"),
    [
        (without("awaiting_payment", "payment.failed", "inventory.release"), None, "its stock is held"),
        (without("awaiting_payment", "order.time_out", "payment.void"), None, "is still charged"),
        (without("cancelling", "shipment.cancelled", "payment.refund"), OrderStatus.PROCESSING, "is still charged"),
    ],
)
def test_a_broken_table_is_found_out(broken: Saga, wish: OrderStatus | None, complaint: str) -> None:
    with pytest.raises(CellBroken, match=complaint) as caught:
        list(lives(wish, Pace.SAGA, saga=broken))
    with pytest.raises(CellBroken, match=complaint) as again:
        Life(caught.value.cell, saga=broken).run()
    assert again.value.trace == caught.value.trace


def test_a_deadline_that_nobody_looks_at_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    away = Cell(failure=Failure("payment.charge", Way.LONG_AWAY))
    assert Life(away).run().status == OrderStatus.CANCELLED
    monkeypatch.setattr("sagas.world.World.saga_clock", lambda _: None)
    with pytest.raises(CellBroken, match="what was due at"):
        Life(away).run()


def test_a_lost_message_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a parked message leads to must survive a death between the commit and the sending."""

    def only_the_first(_: batch.Batch, __: str, step: batch.Transition) -> list[batch.Transition]:
        return [step]

    cell = Cell(failure=Failure("shipping.create", Way.DIES_AFTER))
    (retaking,) = (n for n, step in enumerate(Life(cell).run().steps) if "shipment.created" in step.on)
    killed = replace(cell, kill=Kill(retaking, Moment.AFTER_COMMIT))
    assert Life(killed).run().status == OrderStatus.DELIVERED
    monkeypatch.setattr(batch.Batch, "_taken_along", only_the_first)
    with pytest.raises(CellBroken, match=r"order\.shipped was never sent"):
        Life(killed).run()


def test_a_time_out_is_not_lost_with_the_process_that_noticed_it() -> None:
    cell = Cell(failure=Failure("payment.charge", Way.LONG_AWAY))
    steps = Life(cell).run().steps
    (noticed,) = (n for n, step in enumerate(steps) if "order.time_out" in step.on and step.who == SAGA_CLOCK)
    calm = Life(cell).run().seconds
    for moment in (Moment.SENDING, Moment.BEFORE_COMMIT):
        assert Life(replace(cell, kill=Kill(noticed, moment))).run().seconds <= calm + 5


def test_back_off_has_an_end_however_long_it_lasts() -> None:
    from sagas.engine import Instance, advance, due

    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    waiting = Instance("confirmed", 3, (Outstanding("shipping.create", 5_000, 5_000, now, 3),))
    (again,) = due(waiting, now).instance.outstanding
    assert again.due_at == now + LONGEST_RESEND
    moved = advance(SAGA, waiting, message_type="shipment.failed", message_id="m", now=now)
    (retried,) = moved.instance.outstanding  # type: ignore[union-attr]
    assert (retried.attempt, retried.due_at, retried.sent_by) == (5_001, now + LONGEST_RETRY, 3)

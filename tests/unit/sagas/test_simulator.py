"""Thousands of bad days, and proof that the simulator notices a saga that is wrong."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import pytest

from oltp.inventory.allotment import Allotment, SaleClaim
from sagas import simulator
from sagas.engine import Go, Saga, State
from sagas.order import SAGA
from sagas.simulator import BooksBroken, Odds, Run, simulate

ORDINARY = [seed for seed in range(1000) if seed % 3]
"""Seeds that are no flash sale, in which an order that is not released keeps others waiting."""
SCHEDULES = 5000
SLICES = 10


def run_slice(part: int) -> tuple[Counter[str], int]:
    size = SCHEDULES // SLICES
    results = simulate(range(part * size, (part + 1) * size))
    endings = Counter(status for result in results for status in result.statuses)
    return endings, sum(result.crashes for result in results)


@pytest.fixture(scope="module")
def slices() -> Iterator[list[Future[tuple[Counter[str], int]]]]:
    """All schedules, on every core, and out of sight of a coverage tracer that would make them five times as slow."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield [pool.submit(run_slice, part) for part in range(SLICES)]


@pytest.mark.parametrize("part", range(SLICES))
def test_the_books_hold_whatever_happens(slices: list[Future[tuple[Counter[str], int]]], part: int) -> None:
    endings, crashes = slices[part].result()
    assert set(endings) == {"delivered", "cancelled"}
    assert min(endings.values()) > SCHEDULES // SLICES / 4, "a schedule that always ends the same way tests little"
    assert crashes > SCHEDULES // SLICES


def test_a_seed_takes_the_same_steps_each_time() -> None:
    first, again = Run(42), Run(42)
    assert first.run() == again.run()
    assert first.trace == again.trace


def test_a_calm_world_delivers_what_is_in_stock() -> None:
    result = Run(7, odds=Odds.none()).run()
    assert result.crashes == 0


def changed(state: str, change: Callable[[dict[str, Go]], dict[str, Go]]) -> Saga:
    rules = change(dict(SAGA.states[state].on))
    old = SAGA.states[state]
    states = {**SAGA.states, state: State(on=rules, emits=old.emits, time_out=old.time_out)}
    return replace(SAGA, states=states)


def without(state: str, message: str, command: str) -> Saga:
    """The order saga, but a rule forgets to send a command."""

    def forget(rules: dict[str, Go]) -> dict[str, Go]:
        rules[message] = replace(rules[message], send=tuple(c for c in rules[message].send if c != command))
        return rules

    return changed(state, forget)


def ignoring(state: str, message: str) -> Saga:
    """The order saga, but a state has no rule for a message."""
    return changed(state, lambda rules: {name: go for name, go in rules.items() if name != message})


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        (without("awaiting_payment", "payment.failed", "inventory.release"), "its stock is held"),
        (without("awaiting_payment", "order.cancel", "payment.void"), "is still charged"),
        (without("cancelling", "shipment.cancelled", "payment.refund"), "is still charged"),
        (without("processing", "shipment.in_transit", "inventory.fulfil"), "its stock is held"),
        (ignoring("confirmed", "shipment.failed"), "nothing moves it"),
        (ignoring("cancelling", "shipment.cancelled"), "nothing moves it|are parked for ever"),
    ],
)
def test_a_broken_table_is_found_out(broken: Saga, complaint: str) -> None:
    with pytest.raises(BooksBroken, match=complaint) as caught:
        simulate(ORDINARY[:400], saga=broken)
    with pytest.raises(BooksBroken, match=complaint) as again:
        Run(caught.value.seed, saga=broken).run()
    assert again.value.trace == caught.value.trace
    assert f"--seed {caught.value.seed}" in str(caught.value)


def _last_come(allotment: Allotment) -> SaleClaim | None:
    queue = allotment.queue
    return queue[-1] if queue and (allotment.never_free(1) or allotment.free(1)) else None


@pytest.mark.parametrize(
    ("method", "broken", "complaint"),
    [
        ("next_claim", _last_come, "was served and passed"),
        ("free", lambda self, units: True, "oversold"),
        ("over_share", lambda self, customer, units: False, "oversold"),
        ("never_free", lambda self, units: False, "does not come to rest"),
    ],
)
def test_a_broken_sale_is_found_out(
    monkeypatch: pytest.MonkeyPatch, method: str, broken: Callable[..., object], complaint: str
) -> None:
    monkeypatch.setattr(Allotment, method, broken)
    monkeypatch.setattr(simulator, "MOST_STEPS_TO_REST", 1000)
    with pytest.raises(BooksBroken, match=complaint):
        simulate(range(0, 300, 3))

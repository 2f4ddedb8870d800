"""The nemesis's schedule follows from its seed, and keeps its bounds."""

import pytest

from stack.chaos.schedule import (
    AT_ONCE,
    BREATH,
    TARGETS,
    Fault,
    Kind,
    plan,
)
from stack.definitions import SHOP

TWENTY_MINUTES = 1200.0
SEEDS = range(20)


def _holding(faults: list[Fault], moment: float) -> list[Fault]:
    return [fault for fault in faults if fault.at <= moment < fault.over]


def test_the_same_seed_gives_the_same_faults() -> None:
    assert plan(7, TWENTY_MINUTES) == plan(7, TWENTY_MINUTES)
    assert plan(7, TWENTY_MINUTES) != plan(8, TWENTY_MINUTES)


def test_the_order_in_which_kinds_are_named_does_not_matter() -> None:
    assert plan(7, 60, [Kind.KILL, Kind.CUT]) == plan(7, 60, [Kind.CUT, Kind.KILL, Kind.CUT])


@pytest.mark.parametrize("seed", SEEDS)
def test_twenty_minutes_have_two_hundred_faults_of_every_kind_on_every_process(seed: int) -> None:
    faults = plan(seed, TWENTY_MINUTES)

    assert len(faults) >= 200
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.target for fault in faults} == set(SHOP)
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_overlap_within_bounds(seed: int) -> None:
    faults = plan(seed, TWENTY_MINUTES)
    most = max(len(_holding(faults, fault.at)) for fault in faults)

    assert 2 <= most <= AT_ONCE
    assert any(one.at < other.at < one.at + one.seconds for one in faults for other in faults)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_target_is_left_alone_until_it_has_had_its_breath(seed: int) -> None:
    last: dict[str, Fault] = {}
    for fault in plan(seed, TWENTY_MINUTES):
        if fault.target in last:
            assert fault.at >= last[fault.target].at + last[fault.target].seconds + BREATH
        last[fault.target] = fault


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fault_is_one_that_can_be_and_over_in_time(seed: int) -> None:
    for fault in plan(seed, 90):
        assert fault.target in TARGETS[fault.kind]
        assert fault.at + fault.seconds <= 90
        assert (fault.amount != 0) == (fault.kind in (Kind.SKEW, Kind.TWICE))


def test_only_the_kinds_asked_for_strike() -> None:
    assert {fault.kind for fault in plan(1, 300, [Kind.FLUSH])} == {Kind.FLUSH}

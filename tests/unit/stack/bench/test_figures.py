"""Percentiles, the JSON of a run, and what its parts are computed from."""

import pytest

from stack.bench.figures import Figures, Goal, described, percentile
from stack.bench.vegeta import Shot


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50.0), (0.95, 95.0), (0.99, 99.0), (0.001, 1.0), (1.0, 100.0)])
def test_a_percentile_is_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


def test_a_percentile_of_few_values_is_one_of_them() -> None:
    assert percentile([1.0, 2.0], 0.5) == 1.0
    assert percentile([1.0, 2.0], 0.99) == 2.0
    assert percentile([], 0.5) is None


def test_a_percentile_of_nothing_or_more_than_all_is_a_mistake() -> None:
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="share"):
            percentile([1.0], share)


def _shot(number: int, *, latency: float, code: int = 202, problem: str = "") -> Shot:
    return Shot(number=number, due=float(number), sent=float(number), latency=latency, code=code, problem=problem)


def test_only_accepted_checkouts_count_for_placement() -> None:
    figures = Figures(scenario="sustained")
    refused = [_shot(n, latency=9.0, code=503, problem="unavailable") for n in (8, 9)]

    figures.place([*(_shot(n, latency=0.010) for n in range(8)), *refused], 2.0)

    assert (figures.offered, figures.accepted, figures.refused) == (10, 8, {"unavailable": 2})
    assert (figures.offered_per_second, figures.accepted_per_second) == (5.0, 4.0)
    assert figures.placement_max_ms == pytest.approx(10.0)


def test_a_run_without_one_accepted_checkout_has_no_placement() -> None:
    figures = Figures(scenario="sustained")

    figures.place([_shot(0, latency=1.0, code=0, problem="no answer")], 1.0)

    assert figures.accepted == 0
    assert "placement_p99_ms" not in figures.document()


def test_the_json_is_flat_and_leaves_out_what_was_not_measured() -> None:
    figures = Figures(scenario="peak", accepted=3, lag_max={"order-saga": 7}, cpu_seconds={"kafka": 1.23456})
    figures.judge([Goal(key="audit", promise="the books balance", measured="clean", kept=True)])

    assert figures.document() == {
        "scenario": "peak",
        "passed": True,
        "accepted": 3,
        "lag_max.order-saga": 7,
        "cpu_seconds.kafka": 1.235,
        "goals.audit": True,
    }


def test_one_missed_goal_fails_a_run() -> None:
    figures = Figures(scenario="peak")
    figures.judge(
        [Goal(key=key, promise="", measured="", kept=kept) for key, kept in (("placement", True), ("lag", False))]
    )

    assert figures.passed is False


def test_every_field_says_what_it_means() -> None:
    meanings = dict(described())

    assert all(meanings.values())
    assert {"offered_per_second", "accepted_per_second", "completed_per_second", "lag_max.<…>"} <= meanings.keys()

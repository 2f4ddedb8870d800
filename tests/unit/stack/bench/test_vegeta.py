"""What the generator's results mean."""

import pytest

from stack.bench.vegeta import shots


def test_latency_counts_from_the_moment_a_request_was_due() -> None:
    # at 10 requests a second the third one is due 200 ms after the first; it went out 300 ms late
    found = shots([(0, 100.0, 0.010, 202, "", 0), (1, 100.1, 0.010, 202, "", 1), (2, 100.5, 0.010, 202, "", 2)], 10.0)

    assert [shot.latency for shot in found] == pytest.approx([0.010, 0.010, 0.310])
    assert found[2].due == pytest.approx(100.2)
    assert found[2].late == pytest.approx(0.3)


def test_a_request_that_went_out_early_was_not_late() -> None:
    found = shots([(0, 100.0, 0.010, 202, "", 0), (1, 100.05, 0.010, 202, "", 1)], 10.0)

    assert found[1].late == 0.0
    assert found[1].latency == pytest.approx(0.010)


def test_results_come_in_the_order_in_which_they_were_due() -> None:
    found = shots([(1, 100.1, 0.01, 202, "", 7), (0, 100.0, 0.01, 429, "too-many-requests", 3)], 10.0)

    assert [(shot.number, shot.code, shot.problem) for shot in found] == [
        (3, 429, "too-many-requests"),
        (7, 202, ""),
    ]
    assert shots([], 10.0) == []

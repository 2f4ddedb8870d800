"""The measures by which a seeded shop is judged."""

import math

import numpy as np
import pytest

from seed.taste import SEGMENTS
from seed.verify import SIGMA, Line, _exponent, _liking, _muted


def test_a_line_holds_within_its_slack() -> None:
    assert Line("x", 10.0, 10.5, 0.5).holds
    assert not Line("x", 10.0, 9.4, 0.5).holds


def test_an_elasticity_is_found_again() -> None:
    ratio, weight = np.array([0.7, 0.8, 0.9]), np.array([10.0, 20.0, 5.0])
    sold = float((weight * ratio**-1.7).sum())
    assert _exponent(ratio, weight, sold) == pytest.approx(1.7)
    assert _muted(1.7, 0.8) < 1.7
    assert _muted(1.7, 0.8) == pytest.approx(math.log((1 - 0.168) * 0.8**-1.7 + 0.168) / -math.log(0.8))


def test_segments_like_their_own_room_more_than_others_do() -> None:
    for segment in SEGMENTS:
        for group, weight in segment.likes.items():
            if weight >= 4:
                assert 1.3 < _liking(segment, group) < weight


def test_the_lognormal_has_the_specifications_mean_and_deviation() -> None:
    mean = 75.0
    assert math.sqrt(math.exp(SIGMA**2) - 1) * mean == pytest.approx(50.0)

"""A clock can be set wrong, for tests of wrong clocks."""

import datetime as dt
from pathlib import Path

import pytest

from kit import clock as clocks
from kit.clock import SkewedClock


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the monotonic clock shows."""
    shown = [100.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: shown[0])
    return shown


def _offset(clock: SkewedClock) -> float:
    return round((clock.now() - dt.datetime.now(dt.UTC)).total_seconds())


def test_its_offset_is_what_the_file_says_a_second_later(tmp_path: Path, moment: list[float]) -> None:
    file = tmp_path / "saga.clock"
    clock = SkewedClock(file)
    assert _offset(clock) == 0

    file.write_text("-300")
    assert _offset(clock) == 0
    moment[0] += SkewedClock.LOOK_SECONDS
    assert _offset(clock) == -300

    file.write_text("60.0")
    moment[0] += SkewedClock.LOOK_SECONDS
    assert _offset(clock) == 60


@pytest.mark.parametrize("text", ["", "soon"])
def test_a_file_without_a_number_skews_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "saga.clock").write_text(text)

    assert _offset(SkewedClock(tmp_path / "saga.clock")) == 0

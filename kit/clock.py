"""Time comes from here, so that tests and the simulator can hold it."""

import datetime as dt
import time
from pathlib import Path
from typing import Final, Protocol


class Clock(Protocol):
    """Tells the time as aware UTC."""

    def now(self) -> dt.datetime:
        """The present moment, aware, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> dt.datetime:
        """The present moment, aware, UTC."""
        return dt.datetime.now(dt.UTC)


class SkewedClock:
    """The machine's clock and an offset that a file holds (seconds, may be negative), for tests of wrong clocks.

    The file is read once a second; one that is missing or unreadable as a number counts as 0.
    """

    LOOK_SECONDS: Final = 1.0

    def __init__(self, file: Path) -> None:
        self._file = file
        self._offset = dt.timedelta()
        self._look_at = 0.0

    def now(self) -> dt.datetime:
        """The skewed present moment, aware, UTC."""
        if (moment := time.monotonic()) >= self._look_at:
            self._look_at = moment + self.LOOK_SECONDS
            try:
                self._offset = dt.timedelta(seconds=float(self._file.read_text()))
            except (OSError, ValueError):
                self._offset = dt.timedelta()
        return dt.datetime.now(dt.UTC) + self._offset


class FixedClock:
    """A clock that stands still until moved."""

    def __init__(self, now: dt.datetime) -> None:
        self._now = now

    def now(self) -> dt.datetime:
        """The moment it was set to."""
        return self._now

    def advance(self, by: dt.timedelta) -> None:
        """Moves it forward."""
        self._now += by

"""Time comes from here, so that tests and the simulator can hold it."""

import datetime as dt
from typing import Protocol


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

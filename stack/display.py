"""Progress of a command's steps: a live table on a terminal, one line a step elsewhere."""

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

_WIDE: Final = 160
"""Of output that goes to a file or a pipe."""

console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)
errors: Final = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else _WIDE)


@dataclass(slots=True)
class Step:
    """One line of the display."""

    title: str
    state: str = "waiting"
    detail: str = ""
    started: float = 0.0
    ended: float = 0.0

    @property
    def seconds(self) -> float:
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0


_MARKS: Final = {"waiting": ("·", "dim"), "done": ("✓", "green"), "failed": ("✗", "red"), "skipped": ("–", "dim")}


@dataclass
class Progress:
    """The steps of one command, shown while they run."""

    title: str
    steps: dict[str, Step] = field(default_factory=dict)
    _live: Live | None = None
    _started: float = field(default_factory=time.monotonic)
    _spinner: Spinner = field(default_factory=lambda: Spinner("dots"))

    def __enter__(self) -> Self:
        if console.is_terminal:
            self._live = Live(get_renderable=self._render, console=console, refresh_per_second=10, transient=False)
            self._live.start()
        else:
            console.print(self.title)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.refresh()
            self._live.stop()
            self._live = None

    def expect(self, titles: Iterable[tuple[str, str]]) -> None:
        """Announces steps, in the order in which they are shown."""
        for key, title in titles:
            self.steps.setdefault(key, Step(title))

    def begin(self, key: str, detail: str = "") -> None:
        """The step runs from now on."""
        step = self.steps[key]
        step.state, step.detail, step.started = "running", detail, time.monotonic()

    def note(self, key: str, detail: str) -> None:
        """What a running step is at."""
        self.steps[key].detail = detail

    def finish(self, key: str, detail: str = "", state: str = "done") -> None:
        """The step is over."""
        step = self.steps[key]
        step.started = step.started or time.monotonic()
        step.state, step.detail, step.ended = state, detail, time.monotonic()
        if self._live is None:
            mark, style = _MARKS[state]
            console.print(Text(f"{mark} ", style) + Text(f"{step.title:<20} {detail}  {step.seconds:.1f} s"))

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(min_width=20)
        table.add_column(ratio=1)
        table.add_column(justify="right", style="dim")
        for step in self.steps.values():
            mark: RenderableType = self._spinner
            if step.state != "running":
                sign, style = _MARKS[step.state]
                mark = Text(sign, style)
            table.add_row(
                mark,
                Text(step.title, "" if step.state == "running" else "dim" if step.state == "waiting" else ""),
                Text(step.detail[:100], "red" if step.state == "failed" else "dim"),
                f"{step.seconds:.1f} s" if step.started else "",
            )
        return Group(Text(f"{self.title}  {time.monotonic() - self._started:.0f} s", "bold"), table)

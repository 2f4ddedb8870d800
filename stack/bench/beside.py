"""What a build of the warehouse costs those who are just buying: placement without and with it, in one run."""

import asyncio
import signal
from dataclasses import asdict, dataclass
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stack import dbt
from stack.bench.figures import Figures
from stack.bench.run import Bench, schedules_held_off
from stack.errors import StackError
from stack.instance import ROOT

RATIO_GOAL: Final = 1.5

_HEAD_START: Final = 10.0
"""Seconds for dbt to read its project before its queries run."""


@dataclass(frozen=True, slots=True)
class Beside:
    """Placement in milliseconds, without (``alone``) and with a full build and refresh running."""

    rate: float
    seconds: float
    alone_p50_ms: float
    alone_p99_ms: float
    beside_p50_ms: float
    beside_p99_ms: float
    building: bool
    """Whether the build was still at work when the load ended."""

    @property
    def ratio(self) -> float:
        """The p99 with the build, as a multiple of that without."""
        return self.beside_p99_ms / self.alone_p99_ms

    @property
    def kept(self) -> bool:
        """Whether the goal is met, and the build lasted as long as the load."""
        return self.building and self.ratio <= RATIO_GOAL

    def document(self) -> dict[str, Any]:
        """As flat JSON."""
        return {**asdict(self), "ratio": self.ratio, "kept": self.kept}

    def render(self) -> RenderableType:
        """For people."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(justify="right", style="bold")
        grid.add_column(style="dim")
        load = f"p50; {self.rate:.0f} checkouts/s for {self.seconds:.0f} s"
        grid.add_row("alone", f"{self.alone_p50_ms:.0f} ms", load)
        grid.add_row("", f"{self.alone_p99_ms:.0f} ms", "p99")
        grid.add_row("beside a full build", f"{self.beside_p50_ms:.0f} ms", "p50")
        grid.add_row("", f"{self.beside_p99_ms:.0f} ms", "p99")
        grid.add_row("ratio of the p99", f"{self.ratio:.2f}", f"goal ≤ {RATIO_GOAL}")
        if not self.building:
            grid.add_row("the build", "ended", "before the load did: a larger warehouse is needed")
        return Group(grid, Text("✓ kept" if self.kept else "✗ missed", "green" if self.kept else "red"))


async def measure(bench: Bench, rate: float, seconds: float) -> Beside:
    """The load alone, then the same while `dbt build --full-refresh` runs, which is broken off afterwards.

    Dagster's own runs are held off meanwhile: runs of dbt must not overlap.

    Raises:
        StackError: if the load brings nothing in, or there is no warehouse.
    """
    with schedules_held_off(bench.instance):
        return await _measure(bench, rate, seconds)


async def _measure(bench: Bench, rate: float, seconds: float) -> Beside:
    command, environment = dbt.invocation(["build", "--full-refresh"], bench.instance)
    alone = await _placed(bench, rate, seconds)
    bench.note("starting a full build")
    log = bench.instance.logs / "bench-dbt.log"
    with log.open("w") as said:
        build = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            cwd=ROOT,
            stdout=said,
            stderr=said,
        )
        try:
            await asyncio.sleep(_HEAD_START)
            beside = await _placed(bench, rate, seconds)
            building = build.returncode is None
        finally:
            if build.returncode is None:
                build.send_signal(signal.SIGINT)  # dbt takes its queries back
                await build.wait()
    return Beside(rate, seconds, *alone, *beside, building)


async def _placed(bench: Bench, rate: float, seconds: float) -> tuple[float, float]:
    load = await bench.load(rate, seconds)
    figures = Figures(scenario="beside")
    figures.place(load.attack.shots, load.seconds)
    await bench.drain(load)
    if figures.placement_p50_ms is None or figures.placement_p99_ms is None:
        raise StackError("no checkout was accepted: `surge status`")
    return figures.placement_p50_ms, figures.placement_p99_ms

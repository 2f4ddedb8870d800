"""`surge bench`: measurements of the running shop."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer

from stack.bench.latency import draw, measure
from stack.display import console

app: Final = typer.Typer(
    help="Measure the running shop.", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)


@app.callback()
def bench() -> None:
    """Measure the running shop."""


@app.command()
def latency(
    orders: Annotated[int, typer.Option(min=10, max=2_000, help="Orders that are measured.")] = 100,
    warm_up: Annotated[int, typer.Option(min=0, max=500, help="Orders before those.")] = 20,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there.")] = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the distributions there.")] = None,
) -> None:
    """One order at a time: its placement, and from there to CONFIRMED. Exits with 1 if a goal is missed."""
    with console.status("measuring") as status:
        measured = asyncio.run(measure(orders, warm_up, lambda what: status.update(f"measuring: {what}")))
    console.print(measured.render())
    if json is not None:
        json.write_bytes(orjson.dumps(measured.document(), option=orjson.OPT_INDENT_2) + b"\n")
    if png is not None:
        draw(measured, str(png))
    raise typer.Exit(0 if measured.kept else 1)

"""`surge generate`."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kit import telemetry
from stack import instance as instances
from stack.display import console
from stack.generate.patterns import Pattern
from stack.generate.run import LATE_SECONDS, Outcome, Plan, View, generate
from stack.shoppers import percentile

app: Final = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_LINE_SECONDS: Final = 5.0


def _time_of_day(text: str) -> dt.time:
    try:
        return dt.time.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time of day, such as 19:30") from None


@app.command()
def main(
    rate: Annotated[float, typer.Option(min=0.01, max=20_000, help="Orders a second: the mean of an ordinary day.")],
    pattern: Annotated[Pattern, typer.Option(help="The day's curve; black-friday is diurnal, five times as high.")] = (
        Pattern.FLAT
    ),
    minutes: Annotated[float | None, typer.Option(min=0.01, help="How long; until Ctrl-C without it.")] = None,
    speed: Annotated[
        float, typer.Option(min=1, max=10_000, help="How fast the shop's day passes: 144 makes it ten minutes.")
    ] = 1.0,
    at: Annotated[
        str | None, typer.Option(metavar="HH:MM", help="The shop's time at the beginning; now (UTC).")
    ] = None,
    declines: Annotated[float, typer.Option(min=0, max=1, help="Part of the payments that is declined.")] = 0.05,
    conversion: Annotated[
        float, typer.Option(min=0, max=1, help="Part of the visits that ends with an order; 0: nobody looks around.")
    ] = 0.25,
    fraud: Annotated[float, typer.Option(min=0, max=1, help="Part of the orders that fraudsters place.")] = 0.02,
    seed: Annotated[int, typer.Option(help="The same seed makes the same arrivals.")] = 1,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the outcome there.")] = None,
) -> None:
    """Send live visits and orders straight to Kafka, at a rate and after a pattern.

    Arrivals are a Poisson process and don't wait for answers. Customers, addresses and products are the shop's own.
    Visitors look around, search, fill carts and leave them, or buy. Which orders are fraud is written to
    data/generate/fraud.jsonl in the instance's home, and nowhere else.
    Exits with 1 if an order was not acknowledged, or not taken up by the saga within a minute after the end.
    """
    now = dt.datetime.now(dt.UTC)
    start = now if at is None else dt.datetime.combine(now.date(), _time_of_day(at), dt.UTC)
    plan = Plan(
        rate=rate,
        pattern=pattern,
        seconds=None if minutes is None else minutes * 60,
        start=start,
        speed=speed,
        seed=seed,
        declines=declines,
        conversion=conversion,
        fraud=fraud,
        truth=instances.current().data / "generate" / "fraud.jsonl",
    )
    telemetry.configure("generate", level="ERROR", json=False)
    with _Line() as line:
        outcome = asyncio.run(generate(plan, line.show))
    console.print(_table(outcome))
    if json is not None:
        json.write_bytes(orjson.dumps(outcome.document(), option=orjson.OPT_INDENT_2) + b"\n")
    raise typer.Exit(0 if outcome.complete else 1)


class _Line:
    """One line that changes on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=True) if console.is_terminal else None
        self._next = 0.0

    def __enter__(self) -> "_Line":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, view: View) -> None:
        """Shows how it stands."""
        if self._live is not None:
            self._live.update(_line(view))
        elif view.elapsed >= self._next:
            self._next = view.elapsed + _LINE_SECONDS
            console.print(_line(view))


def _line(view: View) -> Text:
    tally = view.tally
    acknowledged = percentile(list(tally.acknowledged)[-2000:], 0.99) * 1000
    lag = "unknown" if view.lag is None else f"{view.lag:,}"
    line = Text.assemble(
        (f"{view.moment:%a %H:%M}", "bold"),
        f"  wanted {view.wanted:,.0f}/s  ",
        (f"produced {view.rate:,.0f}/s", "bold green"),
        f"  {tally.produced:,} in all, {tally.taken:,} taken up  lag {lag}  acknowledged p99 {acknowledged:.0f} ms",
    )
    if view.visits.visits:
        line.append(f"  {view.visits.visits:,} visits, {view.visits.events:,} events")
    for count, what in ((tally.unknown, "not acknowledged"), (tally.unserved, "found nothing to buy")):
        if count:
            line.append(f"  {count:,} {what}", "red")
    if view.late > LATE_SECONDS:
        line.append(f"  up to {view.late:.1f} s late", "red")
    return line


def _table(outcome: Outcome) -> Table:
    document = outcome.document()
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right", style="bold")
    table.add_column(style="dim")
    table.add_row("customers at the checkout", f"{outcome.offered:,}", f"in {outcome.seconds:.1f} s")
    table.add_row("orders produced", f"{outcome.tally.produced:,}", f"{document['produced_per_second']:,} a second")
    if outcome.visits.visits:
        left = f"{outcome.visits.carts_left:,} left a cart, {outcome.visits.checkouts_left:,} the checkout"
        table.add_row("visits", f"{outcome.visits.visits:,}", left)
        table.add_row("their events", f"{outcome.visits.events:,}", "")
    if outcome.fraudulent:
        table.add_row("orders of fraudsters", f"{outcome.fraudulent:,}", "named in data/generate/fraud.jsonl")
    table.add_row("taken up by the saga", f"{outcome.tally.taken:,}", "all" if outcome.drained else "NOT ALL")
    for key, what in (
        ("not_acknowledged", "sent, not known to be stored"),
        ("not_recorded", "in the log, unknown to Redis"),
        ("visit_events_lost", "visitors' events that the broker did not take"),
        ("found_nothing", "nothing in stock, or just taken off sale"),
    ):
        if document[key]:
            table.add_row(f"[red]{key.replace('_', ' ')}", f"{document[key]:,}", what)
    table.add_row(
        "acknowledged", f"{document['acknowledged_ms_p50']} ms", f"p50; p99 {document['acknowledged_ms_p99']} ms"
    )
    table.add_row("generator's CPU", f"{outcome.cpu_seconds:.1f} s", f"{_share(outcome):.0f} % of a core")
    if outcome.late_seconds > LATE_SECONDS:
        table.add_row("[red]late by up to", f"{outcome.late_seconds:.1f} s", "the generator could not keep up")
    return table


def _share(outcome: Outcome) -> float:
    return 100 * outcome.cpu_seconds / outcome.seconds if outcome.seconds else 0.0

"""`surge bench`: measurements of the running shop."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final

import orjson
import typer
from rich.table import Table

from kit import telemetry
from stack.bench.costs import measure as measure_costs
from stack.bench.figures import Figures, described, render, verdict
from stack.bench.latency import draw as draw_latency
from stack.bench.latency import measure
from stack.bench.run import Bench, Load, opened, running_instance
from stack.display import console

app: Final = typer.Typer(
    help="Measure the running shop.", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there.")]
Png = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw rate, lag and latency over time there.")]
Rate = Annotated[float, typer.Option(min=1, max=20_000, help="Checkouts a second.")]
Duration = Annotated[float, typer.Option(min=1, max=3600, help="Seconds of load.")]
Audit = Annotated[bool, typer.Option("--audit/--no-audit", help="Prove the books at the end.")]


@app.callback()
def bench() -> None:
    """Measure the running shop. Each scenario prints its figures and exits with 1 if one of its goals is missed."""
    telemetry.configure("bench", level="WARNING", json=False)


@app.command()
def sustained(
    rate: Rate = 100, duration: Duration = 60, json: Json = None, png: Png = None, audit: Audit = True
) -> None:
    """A normal day's rate: 100 orders a second."""
    _steady("sustained", rate, duration, json, png, audit)


@app.command()
def peak(rate: Rate = 500, duration: Duration = 60, json: Json = None, png: Png = None, audit: Audit = True) -> None:
    """The evening rush: 500 orders a second."""
    _steady("peak", rate, duration, json, png, audit)


@app.command("payment-storm")
def payment_storm(
    rate: Rate = 100,
    duration: Duration = 60,
    declines: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the payments that are declined.")] = 0.30,
    json: Json = None,
    png: Png = None,
    audit: Audit = True,
) -> None:
    """Three of ten payments are declined: every one has to be rolled back."""
    _steady("payment-storm", rate, duration, json, png, audit, declines=declines)


@app.command("max")
def maximum(
    rate: Annotated[
        float | None, typer.Option(min=1, max=20_000, help="Hold this rate instead of looking for the knee.")
    ] = None,
    duration: Duration = 180,
    limits: Annotated[
        bool,
        typer.Option("--limits/--no-limits", help="Measure afterwards what the machine can do at each thing alone."),
    ] = False,
    json: Json = None,
    png: Png = None,
    audit: Audit = True,
) -> None:
    """The most that the shop can do: finds the knee by steps of 12 s, then holds the best rate."""
    from stack.bench import scenarios
    from stack.bench.limits import limits as measure_limits

    async def run(bench: Bench) -> tuple[Figures, Load]:
        figures, load, steps = await scenarios.maximum(bench, rate, duration, audited=audit)
        for step in steps:
            console.print(str(step))
        if limits:
            alone = await measure_limits(bench)
            figures.limits = alone.document()
            console.print(alone.render(figures.completed_per_second))
        return figures, load

    _measured(run, json, png)


@app.command("flash-sale")
def flash_sale(
    rate: Rate = 2_000,
    customers: Annotated[int, typer.Option(min=10, max=200_000, help="Customers who want a unit.")] = 10_000,
    units: Annotated[int, typer.Option(min=1, max=10_000, help="Units in the sale.")] = 100,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="How many sales, one after the other.")] = 1,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there; of several sales, a list.")
    ] = None,
    png: Png = None,
    audit: Audit = True,
) -> None:
    """Ten thousand customers for a hundred units, at 2,000 requests a second, other checkouts beside them."""
    from stack.bench.sale import flash_sale as sell

    async def run(bench: Bench) -> tuple[Figures, Load]:
        return await sell(bench, rate, customers, units, audited=audit)

    runs: list[Figures] = []
    for number in range(1, repeat + 1):
        figures = asyncio.run(_run(run, png if number == repeat else None))
        runs.append(figures)
        if number == repeat:
            console.print(render(figures))
        else:
            console.print(f"{number}: {figures.units_sold} of {figures.units_offered} sold, {verdict(figures)}")
        documents = [figures.document() for figures in runs]
        _write(json, documents[0] if repeat == 1 else documents)
    raise typer.Exit(0 if all(figures.passed for figures in runs) else 1)


@app.command("db-failover")
def db_failover(
    rate: Rate = 100,
    outage: Annotated[float, typer.Option(min=1, max=600, help="Seconds without Postgres.")] = 30,
    json: Json = None,
    png: Png = None,
    audit: Audit = True,
) -> None:
    """Postgres is stopped for a while under load, later killed: checkouts go on, and nothing is lost."""
    from stack.bench.failover import failover

    async def run(bench: Bench) -> tuple[Figures, Load]:
        return await failover(bench, rate, outage, audited=audit)

    _measured(run, json, png)


@app.command()
def tracking(
    rate: Rate = 100,
    duration: Duration = 60,
    sockets: Annotated[int, typer.Option(min=1, max=15_000, help="Customers who watch.")] = 5_000,
    json: Json = None,
    png: Png = None,
    audit: Audit = True,
) -> None:
    """Thousands of customers watch their orders: from a transition to its customer's WebSocket."""
    from stack.bench.tracking import tracking as track

    async def run(bench: Bench) -> tuple[Figures, Load]:
        return await track(bench, rate, duration, sockets, audited=audit)

    _measured(run, json, png)


@app.command()
def gate(
    duration: Annotated[float, typer.Option(min=1, max=600, help="Seconds for each of eight cases.")] = 5,
    json: Json = None,
) -> None:
    """The Redis gate and the Postgres gate side by side: one contended product, and spread over 10,000."""
    from stack.bench.gates import gates
    from stack.demo import RushSettings

    running_instance()
    with Notes() as note:
        found = asyncio.run(gates(RushSettings(), duration, note))
    console.print(found.render())
    _write(json, found.document())
    raise typer.Exit(0 if found.passed else 1)


@app.command("limits")
def machine_limits(json: Json = None) -> None:
    """What the machine can do at each thing that an order needs, one at a time."""
    from stack.bench.limits import limits

    async def run() -> None:
        with Notes() as note:
            async with opened(note) as bench:
                found = await limits(bench)
        console.print(found.render())
        _write(json, found.document())

    asyncio.run(run())


@app.command()
def postgres(
    duration: Annotated[float, typer.Option(min=1, max=3600, help="Seconds for each of two modes.")] = 20,
    json: Json = None,
) -> None:
    """Postgres' own benchmark, pgbench, on this machine."""
    from stack.bench.pgbench import pgbench
    from stack.database import Server

    with Notes() as note:
        found = asyncio.run(pgbench(Server.of(running_instance()), duration, note))
    console.print(found.render())
    _write(json, found.document())


@app.command()
def latency(
    orders: Annotated[int, typer.Option(min=10, max=2_000, help="Orders that are measured.")] = 100,
    warm_up: Annotated[int, typer.Option(min=0, max=500, help="Orders before those.")] = 20,
    json: Json = None,
    png: Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the distributions there.")] = None,
) -> None:
    """One order at a time: its placement, and from there to CONFIRMED."""
    with console.status("measuring") as status:
        measured = asyncio.run(measure(orders, warm_up, lambda what: status.update(f"measuring: {what}")))
    console.print(measured.render())
    _write(json, measured.document())
    if png is not None:
        draw_latency(measured, str(png))
    raise typer.Exit(0 if measured.kept else 1)


@app.command()
def recovery(
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="PROCESS", help="Kill this one; repeat it.")
    ] = None,
    rate: Rate = 50,
    json: Json = None,
) -> None:
    """Kills each process with -9 under load: how soon it is healthy, and the backlog gone."""
    from stack.bench import recovery as recoveries

    with Notes() as note:
        measured = asyncio.run(
            recoveries.measure(only or recoveries.COMPONENTS, rate, note, lambda r: console.print(str(r)))
        )
    console.print(measured.render())
    if json is not None:
        json.write_bytes(orjson.dumps(measured.document(), option=orjson.OPT_INDENT_2) + b"\n")
    raise typer.Exit(0 if measured.kept else 1)


@app.command()
def costs(
    orders: Annotated[int, typer.Option(min=10, max=20_000, help="Orders that are placed.")] = 500,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there.")] = None,
) -> None:
    """What one order takes from checkout to delivery: messages, bytes, rows, write-ahead log, Redis."""
    with Notes() as note:
        measured = asyncio.run(measure_costs(orders, note))
    console.print(measured.render())
    _write(json, measured.document())


@app.command("cdc")
def change_data_capture(
    rate: Rate = 50,
    duration: Annotated[float, typer.Option(min=1, max=3600, help="Seconds of orders.")] = 30,
    latency: Annotated[bool, typer.Option("--latency/--no-latency", help="How long a change takes.")] = True,
    knee: Annotated[bool, typer.Option("--knee/--no-knee", help="How many changes a second it carries.")] = True,
    json: Json = None,
) -> None:
    """From COMMIT in the shop to the row in the warehouse: latency under orders, and the most changes a second."""
    from stack.bench.capture import measure as measure_capture

    instance = running_instance()
    with Notes() as note:
        found = asyncio.run(measure_capture(instance, rate, duration, note, console.print, latency=latency, knee=knee))
    console.print(found.render())
    _write(json, found.document())
    raise typer.Exit(0 if found.passed else 1)


@app.command()
def marts(
    repeats: Annotated[int, typer.Option(min=1, max=1_000, help="How often each query is asked.")] = 30,
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures there.")] = None,
) -> None:
    """What the dashboards ask of the warehouse's marts: how soon each query answers."""
    from stack.bench.marts import measure as measure_marts
    from stack.warehouse import Warehouse

    async def run(note: Callable[[str], None]) -> Any:
        async with Warehouse.of(running_instance()).analyst() as connection:
            return await measure_marts(connection, repeats, note)

    with Notes() as note:
        measured = asyncio.run(run(note))
    console.print(measured.render())
    _write(json, measured.document())
    raise typer.Exit(0 if measured.kept else 1)


@app.command()
def dbt(
    changed: Annotated[int, typer.Option(min=1, max=10_000_000, help="Orders that are changed.")] = 100_000,
    days: Annotated[int, typer.Option(min=1, max=3_660, help="How old they may be.")] = 30,
    full: Annotated[bool, typer.Option("--full/--no-full", help="Build in full, too.")] = True,
    equal: Annotated[bool, typer.Option("--compare/--no-compare", help="Prove that both come to the same.")] = True,
    json: Json = None,
) -> None:
    """A run of dbt after orders have changed, against a full build, and whether both come to the same rows."""
    from stack.bench.builds import measure as measure_builds

    with Notes() as note:
        measured = measure_builds(running_instance(), changed, days, note, full=full, equal=equal)
    console.print(measured.render())
    _write(json, measured.document())
    raise typer.Exit(0 if measured.kept else 1)


@app.command("beside-dbt")
def beside_dbt(rate: Rate = 20, duration: Duration = 60, json: Json = None) -> None:
    """Checkouts without and with a full build of the warehouse beside them: what the build costs who buys."""
    from stack.bench.beside import measure as measure_beside

    async def run(note: Callable[[str], None]) -> Any:
        async with opened(note) as bench:
            return await measure_beside(bench, rate, duration)

    with Notes() as note:
        measured = asyncio.run(run(note))
    console.print(measured.render())
    _write(json, measured.document())
    raise typer.Exit(0 if measured.kept else 1)


@app.command()
def live(rate: Rate = 100, duration: Duration = 60, json: Json = None) -> None:
    """How soon orders show in the live metrics, in which windows, and what that takes of a core."""
    from stack.bench.live import measure as measure_live

    with Notes() as note:
        measured = asyncio.run(measure_live(rate, duration, note))
    console.print(measured.render())
    _write(json, measured.document())
    raise typer.Exit(0 if measured.kept else 1)


@app.command("admin-list")
def admin_list(
    requests: Annotated[int, typer.Option(min=1, max=10_000, help="How often each list is asked for.")] = 30,
    json: Json = None,
) -> None:
    """The admins' order list: how soon each filter and sort answers."""
    from stack.bench.admin_list import measure as measure_lists

    with Notes() as note:
        measured = asyncio.run(measure_lists(requests, note))
    console.print(measured.render())
    _write(json, measured.document())
    raise typer.Exit(0 if measured.kept else 1)


@app.command()
def fields() -> None:
    """List the fields of the JSON with their meaning."""
    table = Table(box=None, pad_edge=False, header_style="bold dim")
    table.add_column("field", no_wrap=True)
    table.add_column("meaning")
    for name, meaning in described():
        table.add_row(name, meaning)
    console.print(table)


def _write(file: Path | None, document: dict[str, Any] | list[dict[str, Any]]) -> None:
    if file is not None:
        file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def _steady(
    scenario: str,
    rate: float,
    duration: float,
    json: Path | None,
    png: Path | None,
    audit: bool,
    *,
    declines: float = 0.0,
) -> None:
    from stack.bench import scenarios

    async def run(bench: Bench) -> tuple[Figures, Load]:
        return await scenarios.steady_rate(bench, scenario, rate, duration, declines=declines, audited=audit)

    _measured(run, json, png)


def _measured(
    scenario: Callable[[Bench], Awaitable[tuple[Figures, Load]]], json: Path | None, png: Path | None
) -> None:
    figures = asyncio.run(_run(scenario, png))
    console.print(render(figures))
    _write(json, figures.document())
    raise typer.Exit(0 if figures.passed else 1)


async def _run(scenario: Callable[[Bench], Awaitable[tuple[Figures, Load]]], png: Path | None) -> Figures:
    with Notes() as note:
        async with opened(note) as bench:
            figures, load = await scenario(bench)
            if png is not None:
                from stack.bench.picture import draw

                await asyncio.to_thread(draw, figures, load, await bench.fates(load), png)
    return figures


class Notes:
    """What is going on: one line that changes on a terminal, a line for each stage elsewhere."""

    def __init__(self) -> None:
        self._status = console.status("measuring")
        self._stage = ""

    def __enter__(self) -> Callable[[str], None]:
        if console.is_terminal:
            self._status.start()
        return self._note

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _note(self, what: str) -> None:
        if console.is_terminal:
            self._status.update(what)
            return
        words = what.split()
        stage = words[-1] if words[0][0].isdigit() else words[0]
        if stage != self._stage:
            self._stage = stage
            console.print(f"· {what}")

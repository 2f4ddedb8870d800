"""`surge cdc`: the shop's changes on their way into the warehouse."""

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import typer
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from cdc import backfill, catalogue, run, sink, status, verify
from cdc.catalogue import CatalogueError, Table
from cdc.connect import ConnectClient, ConnectError
from cdc.settings import CdcSettings
from cdc.tables import BY_NAME, BY_RAW
from cdc.topics import TopicError
from cdc.verify import VerifyError
from cdc.views import ViewError

T = TypeVar("T")

console: Final = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
app: Final = typer.Typer(
    help="The shop's changes on their way into the warehouse.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_EXPECTED: Final = (
    CatalogueError,
    ConnectError,
    TopicError,
    VerifyError,
    ViewError,
    asyncpg.PostgresError,
    OSError,
)


@app.callback()
def cdc() -> None:
    """Keep the warehouse's raw tables equal to the shop's, and prove it."""


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Runs to the end; what a person can act on is told without a traceback."""
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as failures:
        expected, others = failures.split(_EXPECTED)
        if others is not None or expected is None:
            raise
        error: BaseException = expected
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        _fail(error)
    except _EXPECTED as error:
        _fail(error)
    raise AssertionError("unreachable")


def _fail(error: BaseException) -> None:
    Console(stderr=True, highlight=False).print(Text.assemble(("✗ ", "red"), str(error) or repr(error)))
    raise typer.Exit(1)


class _Notes:
    """A line that changes on a terminal; elsewhere one every few seconds."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._status = console.status(what)
        self._told = time.monotonic()

    def __enter__(self) -> Callable[[object], None]:
        if console.is_terminal:
            self._status.start()
        return self._note

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def _note(self, progress: object) -> None:
        if console.is_terminal:
            self._status.update(f"{self._what}: {progress}")
        elif time.monotonic() > self._told + 5:
            self._told = time.monotonic()
            console.print(f"· {self._what}: {progress}")


@app.command()
def up() -> None:
    """Have every captured table flow into the warehouse; copy what never was copied. Safe to repeat."""
    with _Notes("capture") as note:
        console.print(_run(run.ensure(CdcSettings(), note)))


@app.command("status")
def show(as_json: Json = False) -> None:
    """Show each table's lag, the bytes of log held back, connectors and dead letters. Exits 1 if something is wrong."""
    found = _run(status.gather(CdcSettings()))
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        for part in _rendered(found):
            console.print(part)
    if found.problems:
        raise typer.Exit(1)


def _rendered(found: status.Status) -> Sequence[Any]:
    grid = Grid(box=None, pad_edge=False, header_style="bold dim")
    for column, justify in (("table", "left"), ("copied", "right"), ("lag rows", "right"), ("lag ms", "right")):
        grid.add_column(column, justify=justify)  # type: ignore[arg-type]
    grid.add_column("rows/s", justify="right")
    for table in found.tables:
        grid.add_row(
            table.table,
            f"{table.copied_rows:,}" if table.copied_rows is not None else Text("no", "red"),
            f"{table.lag_rows:,}",
            f"{table.lag_ms:,}",
            f"{table.rows_per_second:,.0f}",
        )
    parts: list[Any] = [grid, Text()]
    if found.slot is not None:
        keeps = f" of {found.slot.keeps / 2**20:,.0f} MB at most" if found.slot.keeps >= 0 else ""
        parts.append(
            Text.assemble(
                "shop's log held back: ",
                (f"{found.slot.retained / 2**20:,.1f} MB", "red" if found.slot.alarming else "bold"),
                f"{keeps} (alert at {found.slot.alert / 2**20:,.0f} MB); not confirmed: {found.slot.behind:,} bytes",
            )
        )
    parts.append(
        f"behind: {found.lag_rows:,} rows, {found.lag_ms:,} ms; {found.rows_per_second:,.0f} rows/s;"
        f" dead letters: {found.dead_letters}"
    )
    for connector in found.connectors:
        state = "/".join((connector.state, *connector.tasks)).lower()
        parts.append(Text.assemble(f"{connector.name}: ", (state, "green" if connector.healthy else "red")))
    parts += [Text.assemble(("✗ ", "red"), problem) for problem in found.problems]
    return parts


@app.command("verify")
def check(
    table: Annotated[list[str] | None, typer.Option("--table", help="Only this one; repeat it.")] = None,
    as_json: Json = False,
) -> None:
    """Compare every row of the shop with raw at one point of the log, by count and checksum. Exits 1 if one differs."""
    from dataclasses import asdict

    async def compare(note: Callable[[str], None]) -> verify.Report:
        settings = CdcSettings()
        return await verify.verify(settings, await _chosen(settings, table), note)

    with _Notes("verify") as note:
        report = _run(compare(note))
    if as_json:
        print(json.dumps({**asdict(report), "equal": report.equal}, indent=2))
    else:
        _print_report(report)
    if not report.equal:
        raise typer.Exit(1)


def _print_report(report: verify.Report) -> None:
    grid = Grid(box=None, pad_edge=False, header_style="bold dim")
    for column in ("table", "shop", "raw", "of it in the tail", "ranges", "differences", "s"):
        grid.add_column(column, justify="left" if column == "table" else "right")
    for one in report.findings:
        grid.add_row(
            one.table,
            f"{one.rows:,}",
            f"{one.raw_rows:,}",
            f"{one.tail:,}",
            str(one.ranges),
            Text(f"{one.differences:,}", "green" if one.equal else "red"),
            f"{one.seconds:.1f}",
        )
    console.print(grid)
    for one in report.findings:
        for row in one.shown:
            console.print(Text.assemble(("✗ ", "red"), f"{row.table} {row.key}: {row.kind}"))
    verdict = "equal" if report.equal else f"{report.differences:,} rows differ"
    at = f"{report.lsn >> 32:X}/{report.lsn & 0xFFFFFFFF:X}"
    console.print(f"{verdict}: {report.rows:,} rows at {at} of the shop's log, in {report.seconds:.1f} s")


async def _chosen(settings: CdcSettings, names: list[str] | None) -> list[Table]:
    async with settings.shop() as shop:
        tables = await catalogue.read(shop)
    if not names:
        return tables
    known = {table.name: table for table in tables}
    chosen = []
    for name in names:
        captured = BY_NAME.get(name) or BY_RAW.get(name.removeprefix("raw."))
        if captured is None or captured.name not in known:
            raise CatalogueError(f"there is no captured table {name}; there are: {', '.join(known)}")
        chosen.append(known[captured.name])
    return chosen


@app.command("backfill")
def fill(as_json: Json = False) -> None:
    """Copy every captured table whole, past Kafka, while the shop goes on; then stream from exactly there."""
    _copy(None, as_json)


@app.command()
def resync(
    table: Annotated[list[str], typer.Argument(help="As orders.orders or orders_orders.")], as_json: Json = False
) -> None:
    """Copy some tables anew. The others wait meanwhile."""
    _copy(table, as_json)


def _copy(names: list[str] | None, as_json: bool) -> None:
    async def copy(note: Callable[[object], None]) -> backfill.Result:
        settings = CdcSettings()
        prepared = await run.prepare(settings)
        result = await backfill.copy(settings, await _chosen(settings, names), prepared.tables, note)
        await run.ensure(settings)
        return result

    with _Notes("copying") as note:
        result = _run(copy(note))
    if as_json:
        tables = {one.raw: {"rows": one.rows, "seconds": one.seconds} for one in result.copies}
        print(json.dumps({"rows": result.rows, "seconds": round(result.seconds, 1), "tables": tables}, indent=2))
        return
    grid = Grid(box=None, pad_edge=False, header_style="bold dim")
    for column in ("table", "rows", "s"):
        grid.add_column(column, justify="left" if column == "table" else "right")
    for one in sorted(result.copies, key=lambda one: -one.rows):
        grid.add_row(one.raw, f"{one.rows:,}", f"{one.seconds:.1f}")
    console.print(grid)
    console.print(f"{result.rows:,} rows in {result.seconds:.1f} s")


@app.command()
def pause() -> None:
    """Have the sinks wait: changes gather in Kafka, for three days at most."""
    _each(ConnectClient.pause, "paused")


@app.command()
def resume() -> None:
    """Have the sinks go on."""
    _each(ConnectClient.resume, "running")


def _each(act: Callable[[ConnectClient, str], Coroutine[Any, Any, None]], said: str) -> None:
    async def work() -> None:
        async with ConnectClient(CdcSettings().sink_url) as worker:
            for name in (sink.TABLES, sink.EVENTS):
                await act(worker, name)
                console.print(f"{name}: {said}")

    _run(work())

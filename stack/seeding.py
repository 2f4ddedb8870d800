"""`surge seed`: fills the shop, and for that brings its stack into the state that a large load needs."""

import asyncio
import datetime as dt
from pathlib import Path
from typing import Annotated, Final

import asyncpg
import typer
from redis.exceptions import RedisError
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cdc import capture
from kit.clock import SystemClock
from seed import loading
from seed.loading import Note, Seeded, SeedError
from seed.plan import Plan, Scale, scaled
from seed.settings import SeedSettings
from stack import database, environment
from stack import instance as instances
from stack.definitions import POSTGRES, REDIS
from stack.display import Progress as Steps
from stack.display import console
from stack.errors import StackError
from stack.instance import Instance
from stack.supervision import Supervisor
from stack.up import Start, down, wipe

app: Final = typer.Typer(
    help="Fill the shop with customers, products and a year of orders.",
    add_completion=False,
    invoke_without_command=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def seed(
    context: typer.Context,
    scale: Annotated[
        Scale,
        typer.Option(
            help="demo: 20,000 orders of 1,000 customers. 1m: 1,000,000 of 20,000. full: 10,000,000 of 100,000."
        ),
    ] = Scale.DEMO,
    orders: Annotated[int | None, typer.Option(min=0, help="Another number of orders.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed number: the same number makes the same shop.")] = 6,
    until: Annotated[
        dt.datetime | None, typer.Option(help="When the history ends, UTC (default: now, at a whole second).")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Delete all data of the stack first.")] = False,
) -> None:
    """Fill an empty shop; a run that was broken off is gone on with. The stack stops meanwhile."""
    if context.invoked_subcommand is not None:
        return
    instance = instances.current()
    environment.apply(instance)
    now = until.replace(tzinfo=dt.UTC) if until is not None else SystemClock().now()
    plan = scaled(scale, now, orders=orders, seed=seed)
    with instance.alone():
        seeded = asyncio.run(_fill(instance, plan, replace=replace))
    console.print(f"{seeded} ({seeded.seconds:.1f} s)")
    console.print(checksums(seeded))


@app.command()
def verify(
    page: Annotated[
        Path | None, typer.Option(help="Where the page of plots goes (default: seed.html in the data folder).")
    ] = None,
) -> None:
    """Target against found, line by line; exits 1 if a line is out of tolerance. The stack must run."""
    from seed import plots
    from seed.verify import NotSeeded
    from seed.verify import verify as look

    environment.apply(instances.current())
    settings = SeedSettings()
    target = page or settings.folder / "seed.html"
    try:
        with console.status("looking") as status:
            verdict = asyncio.run(look(settings, lambda what: status.update(f"looking at {what}")))
            plots.page(verdict, target)
    except (NotSeeded, OSError, asyncpg.PostgresError) as error:
        raise StackError(f"the seed cannot be verified: {error}") from error
    table = Table(show_edge=False)
    table.add_column("what")
    for heading in ("target", "found", "may differ by"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for line in verdict.lines:
        figures = (f"{value:,.2f} {line.unit}" for value in (line.target, line.found, line.slack))
        table.add_row(line.subject, *figures, "✓" if line.holds else Text("✗", "red"))
    console.print(table)
    console.print(f"plots: {target}")
    if not verdict.holds:
        raise typer.Exit(1)


@app.command(name="import")
def import_(
    file: Annotated[Path, typer.Argument(help="Order lines: CSV (also compressed) or Parquet.")],
    mapping: Annotated[Path, typer.Option(help="How to read them (YAML): see docs/seed.md.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only judge the lines and report.")] = False,
) -> None:
    """A real shop's order lines become customers, products, orders and items. The stack must run."""
    from seed import importing, imports

    environment.apply(instances.current())
    settings = SeedSettings()
    try:
        with console.status("reading") as status:
            chosen = importing.read_mapping(mapping)
            imported = importing.understand(importing.read_lines(file, chosen), chosen)
            quarantine = settings.folder / "quarantine" / f"{file.name.partition('.')[0]}.csv"
            quarantine.parent.mkdir(parents=True, exist_ok=True)
            imported.quarantine.write_csv(quarantine)
            if not dry_run:
                status.update(f"writing {imported.orders.height:,} orders")
                asyncio.run(imports.write(settings, imported))
    except importing.ImportRefused as error:
        raise StackError(str(error)) from None
    except (OSError, asyncpg.PostgresError, RedisError) as error:
        raise StackError(f"{file} could not be imported: {error}") from error
    table = Table(show_edge=False, show_header=False)
    table.add_column("what")
    table.add_column("how many", justify="right")
    for what, figure in importing.report(imported):
        table.add_row(what, f"{figure:,.2f}" if isinstance(figure, float) else f"{figure:,}")
    console.print(table)
    console.print(f"set aside, with the reason: {quarantine}")


async def _fill(instance: Instance, plan: Plan, *, replace: bool) -> Seeded:
    settings, supervisor = SeedSettings(), Supervisor(instance)
    ran = [name for name, state in supervisor.states().items() if state.pid] if supervisor.alive() else []
    try:
        if POSTGRES in ran and not replace:
            # nothing is stopped for what would be refused
            async with loading.connected(settings) as connection:
                await loading.check(connection, settings, plan)
        await asyncio.to_thread(down, instance)
        if replace:
            await asyncio.to_thread(wipe, instance)
        return await _load(instance, settings, plan, ran)
    except SeedError as error:
        raise StackError(str(error)) from None


async def _load(instance: Instance, settings: SeedSettings, plan: Plan, ran: list[str]) -> Seeded:
    """Fills the shop of a stack that is down, and starts again what ran before."""
    try:
        if (instance.data / "postgres").exists():
            with Steps(f"surge seed ({instance.name}): is the shop empty?") as progress:
                await Start(instance, progress, [POSTGRES], seeded=False).run()
            await _clear_way(instance, settings, plan)
            await asyncio.to_thread(down, instance)
        with Steps(f"surge seed ({instance.name})") as progress:
            await Start(instance, progress, [POSTGRES, REDIS], seeded=False, loading=True).run()
        with _Bars() as bars:
            try:
                seeded = await loading.fill(settings, plan, bars.show)
            except (OSError, asyncpg.PostgresError, RedisError) as error:
                raise StackError(f"the shop could not be seeded: {error}") from error
    finally:
        await asyncio.to_thread(down, instance)
    if ran:
        with Steps(f"surge up ({instance.name})") as progress:
            await Start(instance, progress, ran, seeded=False).run()
    return seeded


async def _clear_way(instance: Instance, settings: SeedSettings, plan: Plan) -> None:
    """Drops the replication slots of a shop that is empty or half filled; whoever reads from them makes them anew.

    They have nothing to tell yet, would decode all that is loaded, and forbid the settings to load it fast.
    """
    server = database.Server.of(instance)
    await database.ensure_roles(server)
    await database.migrate(server)
    async with loading.connected(settings) as connection:
        await loading.check(connection, settings, plan)
        # what is loaded passes no slot: the warehouse has to copy it
        await capture.withdraw(connection)
    async with server.superuser(environment.DATABASE) as connection:
        await connection.execute(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()"
        )


class _Bars:
    """A bar with the time left on a terminal, a line a step elsewhere."""

    def __init__(self) -> None:
        self._live = console.is_terminal
        self._bar = Progress(
            TextColumn("{task.description:<34}"),
            BarColumn(40),
            TextColumn("{task.completed:>12,.0f} of {task.total:,.0f}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=None, visible=False)
        self._said = ""

    def __enter__(self) -> "_Bars":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, note: Note) -> None:
        """How far it is."""
        kind = note.what.partition(":")[0] if note.total else note.what
        if kind != self._said:
            self._said = kind
            if not self._live:
                console.print(f"· {note.what}")
            self._bar.reset(self._task, total=note.total or None, visible=True, description=note.what)
        self._bar.update(self._task, completed=note.done, description=note.what)


def checksums(seeded: Seeded) -> Table:
    """One checksum for each table: the same seed, scale and end make the same ones."""
    plan = seeded.plan
    title = f"seed {plan.seed}, history until {plan.now:%Y-%m-%dT%H:%M:%SZ}" if plan is not None else ""
    table = Table(title=title, title_justify="left", show_edge=False)
    table.add_column("table")
    table.add_column("checksum")
    for name, digest in seeded.digests.items():
        table.add_row(name, digest)
    return table

"""The `surge` command line."""

import asyncio
import importlib
import os
import shutil
import signal
import sys
import time
from dataclasses import replace
from typing import Annotated, Any, Final, NamedTuple, NoReturn

import typer
from rich.text import Text

from stack import instance as instances
from stack.display import Progress, console, errors
from stack.errors import StackError

app: Final = typer.Typer(
    name="surge",
    help="Surge: a shop that takes orders. Everything it creates lies in .surge/.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


class Delegate(NamedTuple):
    """A group of commands that another package owns; imported when it is used. ``own``: on a stack of its own."""

    name: str
    target: str
    help: str
    own: bool = False


DELEGATES: Final = (
    Delegate("audit", "audit.cli:app", "Prove the books: stock, money, orders, history."),
    Delegate("cdc", "cdc.cli:app", "The shop's changes on their way into the warehouse: lag, copies, proof."),
    Delegate("saga", "sagas.cli:app", "Look into an order's saga, its dead letters, its simulator."),
    Delegate("seed", "stack.seeding:app", "Fill the shop with customers, products and a year of orders.", own=True),
    Delegate(
        "chaos", "stack.chaos.cli:app", "Hurt a stack of its own under load; check what customers were told.", own=True
    ),
    Delegate(
        "generate",
        "stack.generate.cli:app",
        "Send live visits and orders straight to Kafka, at a rate and after a pattern.",
    ),
    Delegate("live", "stack.live:app", "What the shop does right now: orders, payments, carts, lag, errors."),
    Delegate("bench", "stack.bench.cli:app", "Measure the running shop."),
    Delegate("dbt", "stack.dbt:app", "Build, test and document the warehouse's models."),
)


def _delegate(entry: Delegate) -> None:
    @app.command(
        entry.name,
        help=entry.help,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def run(context: typer.Context) -> None:
        from stack import environment

        if not entry.own:
            environment.apply(instances.current())
        module, _, attribute = entry.target.partition(":")
        target: Any = getattr(importlib.import_module(module), attribute)
        typer.main.get_command(target).main(args=list(context.args), prog_name=f"surge {entry.name}")


def _running() -> Any:
    from stack.supervision import Supervisor

    supervisor = Supervisor(instances.current())
    if not supervisor.alive():
        raise StackError("the stack does not run: start it with `surge up`")
    return supervisor


@app.command()
def up(
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Place the demo's 500 orders afterwards.")] = True,
    servers_only: Annotated[
        bool, typer.Option("--servers", help="Only Postgres, Redis, Kafka, Connect and the document store.")
    ] = False,
    platform: Annotated[
        bool | None,
        typer.Option(
            "--platform/--no-platform", help="With or without the data platform; remembered. With it unless told."
        ),
    ] = None,
) -> None:
    """Set up and start everything; heal what is down. Safe to repeat.

    The shop comes first, then the demo's orders, then the data platform.
    SURGE_REPLICAS=gateway=2,saga=2 runs several processes of a role, and is remembered until it is given again.
    """
    from stack.definitions import SERVERS, Part
    from stack.up import Start

    instance = instances.current()
    if platform is not None:
        instance = replace(instance, platform=platform)
    began = time.monotonic()
    names = SERVERS if servers_only else instance.names(Part.SHOP)
    with instance.alone(), Progress(f"surge up ({instance.name}, ports {instance.port_base}…)") as progress:
        start = Start(instance, progress, names, seeded=not servers_only)
        asyncio.run(start.run())
    console.print(f"up after {time.monotonic() - began:.1f} s")
    if servers_only:
        return
    placed = demo and start.launched
    if placed:
        from stack.demo import rush

        asyncio.run(rush())
        console.print(f"done after {time.monotonic() - began:.1f} s")
    if instance.platform:
        with instance.alone(), Progress("data platform") as progress:
            asyncio.run(Start(instance, progress, instance.names(Part.PLATFORM), seeded=False).run())
        console.print(f"data platform up after {time.monotonic() - began:.1f} s")
    if not placed:
        from stack.welcome import welcome

        console.print(welcome(instance))


@app.command()
def down() -> None:
    """Stop every process of the stack. Data stays."""
    from stack.up import down as stop

    instance = instances.current()
    began = time.monotonic()
    with instance.alone(), console.status("stopping"):
        forced = stop(instance)
    console.print(f"down after {time.monotonic() - began:.1f} s")
    if forced:
        console.print(f"ended by force: {', '.join(forced)}")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Each process with its state, port and memory; each consumer group with its lag. Exits 1 if not all is ready."""
    import json

    from stack.status import gather, tables

    report = asyncio.run(gather(instances.current()))
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    elif not report.running:
        console.print("the stack does not run: start it with `surge up`")
    else:
        for table in tables(report):
            console.print(table)
            console.print()
    if not report.healthy:
        raise typer.Exit(1)


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(help="A process; all of them without it.")] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until interrupted.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many of the last lines.")] = 50,
) -> None:
    """Print the last lines of the logs."""
    instance = instances.current()
    known = [*instance.processes, "supervisord"]
    if name is not None and name not in known:
        raise StackError(f"there is no process {name}", f"There are: {', '.join(known)}")
    files = [instance.log_file(process) for process in ([name] if name else known)]
    files = [file for file in files if file.exists()]
    if not files:
        raise StackError("there are no logs yet")
    arguments = ["tail", "-n", str(lines if name else min(lines, 10)), *(["-F"] if follow else [])]
    os.execvp("tail", [*arguments, *map(str, files)])  # noqa: S606


@app.command()
def restart(name: Annotated[str, typer.Argument(help="A process, as `surge status` names it.")]) -> None:
    """Stop a process and start it again, with the settings as they are now."""
    from stack.up import Start

    supervisor = _running()
    if name not in supervisor.instance.processes:
        raise StackError(f"there is no process {name}", f"There are: {', '.join(supervisor.instance.processes)}")
    with supervisor.instance.alone(), Progress(f"surge restart {name}") as progress:
        supervisor.stop([name])
        asyncio.run(Start(supervisor.instance, progress, [name]).start_one(name))


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop the stack and delete all its data. Secrets and downloads stay."""
    from stack.up import down as stop
    from stack.up import wipe

    instance = instances.current()
    if not yes:
        typer.confirm(f"Delete all orders, customers and products of '{instance.name}' ({instance.data})?", abort=True)
    with instance.alone():
        stop(instance)
        wipe(instance)
    console.print("reset; `surge up` begins anew")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(
    context: typer.Context,
    warehouse: Annotated[bool, typer.Option("--warehouse", help="The warehouse instead, as its transformer.")] = False,
) -> None:
    """Open psql on the shop's database; further arguments go to psql."""
    from stack import tools
    from stack.definitions import POSTGRES, PROCESSES, WAREHOUSE
    from stack.environment import DATABASE, OWNER, WAREHOUSE_DATABASE, ensure_secrets

    instance = instances.current()
    beside = tools.need(tools.postgres_bin(), "PostgreSQL") / "psql"
    program = str(beside) if beside.exists() else shutil.which("psql")
    if program is None:
        raise StackError("psql is missing: install PostgreSQL's client")
    password = "SURGE_TRANSFORMER_PASSWORD" if warehouse else "SURGE_DATABASE_PASSWORD"
    os.environ["PGPASSWORD"] = ensure_secrets(instance)[password]
    port = str(instance.port(PROCESSES[WAREHOUSE if warehouse else POSTGRES].port))
    user, database = ("transformer", WAREHOUSE_DATABASE) if warehouse else (OWNER, DATABASE)
    os.execv(program, [program, "-h", "127.0.0.1", "-p", port, "-U", user, "-d", database, *context.args])  # noqa: S606


@app.command()
def migrate() -> None:
    """Bring every service's tables to their newest revision, and the warehouse's raw tables after them.

    Nothing is lost on the way: changes wait in Kafka until the raw tables have followed.
    """
    from stack import database, environment

    instance = _running().instance
    server = database.Server.of(instance)
    if not instance.platform:
        console.print(asyncio.run(database.migrate(server, always=True)))
        return
    environment.apply(instance)
    from cdc.migration import migrate as holding
    from cdc.settings import CdcSettings

    console.print(asyncio.run(holding(CdcSettings(), lambda: database.migrate(server, always=True))))


@app.command()
def token(email: Annotated[str, typer.Argument(help="A user's email address.")]) -> None:
    """Print an access token for a user, for `Authorization: Bearer`."""
    from stack import environment
    from stack.token import issue

    environment.apply(_running().instance)
    print(asyncio.run(issue(email)))


@app.command()
def tokens(count: Annotated[int, typer.Argument(min=1, max=1_000_000, help="How many customers.")]) -> None:
    """Print access tokens of many customers, one a line, for load tests (tests/load). They last for six hours.

    The shop's own customers come first; beyond them, the tokens are of customers that nobody has registered.
    """
    from stack import environment
    from stack.token import issue_many

    environment.apply(_running().instance)
    print("\n".join(asyncio.run(issue_many(count))))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Examples: surge test unit · surge test integration -k outbox · surge test tests/e2e/test_checkout.py -x",
)
def test(
    context: typer.Context,
) -> None:
    """Run the tests, or some kinds of them, on a stack of their own. What else is given goes to pytest."""
    from stack.testing import run

    raise typer.Exit(run(list(context.args)))


def main() -> NoReturn:
    """Runs the command line; errors that a person can act on are told without a traceback."""
    for entry in DELEGATES:
        _delegate(entry)
    # asyncio ends its tasks in order on SIGINT alone, and not even that where a shell's background job ignores it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        app(prog_name="surge")
    except StackError as error:
        errors.print(Text.assemble(("✗ ", "red"), str(error)))
        if error.detail:
            errors.print(Text(error.detail, "dim"))
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    sys.exit(1)

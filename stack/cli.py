"""The `surge` command line."""

import asyncio
import importlib
import sys
import time
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
    """A group of commands that another package owns; imported when it is used."""

    name: str
    target: str
    help: str


DELEGATES: Final = (
    Delegate("audit", "audit.cli:app", "Prove the books: stock, money, orders, history."),
    Delegate("saga", "sagas.cli:app", "Look into an order's saga, its dead letters, its simulator."),
    Delegate("seed", "seed.cli:app", "Fill the shop with demo data."),
    Delegate("bench", "stack.bench.cli:app", "Measure the running shop."),
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
) -> None:
    """Set up and start everything; heal what is down. Safe to repeat."""
    from stack.definitions import PROCESSES, SERVERS
    from stack.up import Start

    instance = instances.current()
    began = time.monotonic()
    names = tuple(name for name in PROCESSES if name in SERVERS) if servers_only else tuple(PROCESSES)
    with Progress(f"surge up ({instance.name}, ports {instance.port_base}…)") as progress:
        asyncio.run(Start(instance, progress, names).run())
    console.print(f"up after {time.monotonic() - began:.1f} s")


@app.command()
def down() -> None:
    """Stop every process of the stack. Data stays."""
    from stack.up import down as stop

    instance = instances.current()
    began = time.monotonic()
    with console.status("stopping"):
        forced = stop(instance)
    console.print(f"down after {time.monotonic() - began:.1f} s")
    if forced:
        console.print(f"ended by force: {', '.join(forced)}")


def main() -> NoReturn:
    """Runs the command line; errors that a person can act on are told without a traceback."""
    for entry in DELEGATES:
        _delegate(entry)
    try:
        app()
    except StackError as error:
        errors.print(Text.assemble(("✗ ", "red"), str(error)))
        if error.detail:
            errors.print(Text(error.detail, "dim"))
    except KeyboardInterrupt:
        errors.print("interrupted")
        sys.exit(130)
    sys.exit(1)

"""`surge dbt`: dbt with the warehouse's address and this project; all that it writes lies in the instance's home."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import typer

from stack import instance as instances
from stack.definitions import PROCESSES
from stack.display import console
from stack.docs import FOLDER
from stack.errors import StackError
from stack.instance import ROOT, Instance

PROJECT: Final = ROOT / "dbt_project"

app: Final = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def variables(instance: Instance) -> dict[str, str]:
    """What dbt is given besides the instance's environment: where its project lies, and where it may write."""
    home = instance.home / "dbt"
    return {
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(home / "target"),
        "DBT_LOG_PATH": str(home / "logs"),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }


def invocation(
    arguments: list[str], instance: Instance, *, folder: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """The command that runs dbt, and its environment. The instance's environment must have been applied.

    ``folder`` keeps the artefacts of this run apart from those of ordinary ones, which state and partial parsing use.

    Raises:
        StackError: if the environment names no warehouse.
    """
    if "SURGE_WAREHOUSE_PORT" not in os.environ:
        raise StackError("there is no warehouse in this environment: SURGE_WAREHOUSE_PORT is not set")
    extra = variables(instance)
    if folder is not None:
        extra["DBT_TARGET_PATH"] = str(instance.home / "dbt" / folder)
    return [str(Path(sys.executable).with_name("dbt")), *arguments], {**os.environ, **extra}


def run(arguments: list[str], instance: Instance, *, folder: str | None = None) -> int:
    """Runs dbt and returns its exit code; see :func:`invocation`."""
    command, environment = invocation(arguments, instance, folder=folder)
    return subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode


def _docs(instance: Instance) -> int:
    code = run(["docs", "generate", "--static"], instance)
    if code == 0:
        page = Path(variables(instance)["DBT_TARGET_PATH"]) / "static_index.html"
        target = instance.home / FOLDER / "dbt" / "index.html"
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_suffix(".new")
        fresh.write_bytes(page.read_bytes())
        fresh.replace(target)
        console.print(f"written: {target}, served at http://127.0.0.1:{instance.port(PROCESSES['docs'].port)}/dbt/")
    return code


_TWINS: Final = ("--vars", "{suffix: __full}")


def compare(instance: Instance) -> int:
    """Brings the incremental models up to date, builds each of them in full beside itself, and compares row by row.

    Rows that reach ``raw`` meanwhile are in the twin alone: pause the sinks for the time that this takes. Returns 0 if
    all are equal.
    """
    code = run(["run"], instance)
    if code == 0:
        incremental = ("--select", "+config.materialized:incremental")
        code = run(["run", "--full-refresh", *_TWINS, *incremental], instance, folder="full")
    if code == 0:
        code = run(["run-operation", "compare_with_full", "--args", _TWINS[1]], instance)
    dropped = run(["run-operation", "drop_full", "--args", _TWINS[1]], instance)
    return code or dropped


@app.command(
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def main(context: typer.Context) -> None:
    """Run dbt on the warehouse. Exits with dbt's code: 1 if a model or test failed, 2 if dbt could not run."""
    instance = instances.current()
    arguments = list(context.args)
    if arguments in ([], ["--help"], ["-h"]):
        console.print(USAGE)
        raise typer.Exit(0 if arguments else 2)
    own = {"docs": _docs, "compare": compare}.get(arguments[0]) if len(arguments) == 1 else None
    raise typer.Exit(own(instance) if own else run(arguments, instance))


USAGE: Final = """\
surge dbt ARGUMENTS...   dbt itself, on the warehouse of this instance

  surge dbt build                   models, snapshots, views and their tests; what fails stops what depends on it
  surge dbt build --full-refresh    everything anew, as the first run after a backfill or a resync does
  surge dbt build -s +fct_orders    one model and what it is made of
  surge dbt compare                 are the incremental models what a full build makes of raw? exits with 1 if not
  surge dbt docs                    write the documentation's site
  surge dbt source freshness        how old what arrived last is
  surge dbt build --help            dbt's own help\
"""

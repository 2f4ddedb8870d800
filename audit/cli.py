"""`surge audit`: the books, figure by figure."""

import asyncio
from typing import Annotated, Final

import asyncpg
import orjson
import typer
from rich.console import Console

from audit.run import WAIT, run

app: Final = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def audit(
    json: Annotated[bool, typer.Option("--json", help="Print the report as flat JSON.")] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for the shop to be quiet.")
    ] = WAIT,
) -> None:
    """Prove the books: stock, money, orders, history. Exits with 1 if anything breaks.

    What holds at any moment is judged at once. What compares two stores is judged once nothing is under way, or when
    a difference has stood for seconds; otherwise it is listed as not judged.
    """
    console = Console(highlight=False)
    try:
        if json:
            report = asyncio.run(run(wait=wait))
            typer.echo(orjson.dumps(report.document(), option=orjson.OPT_INDENT_2).decode())
        else:
            with console.status("auditing") as status:
                report = asyncio.run(run(wait=wait, note=lambda what: status.update(f"waiting: {what}")))
            console.print(report.render())
    except (OSError, asyncpg.PostgresError) as error:
        Console(stderr=True, highlight=False).print(f"✗ Postgres is away, there are no books without it: {error}")
        raise typer.Exit(2) from None
    raise typer.Exit(0 if report.clean else 1)

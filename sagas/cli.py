"""``surge saga``: look into an order's saga, handle dead letters, run the simulator."""

import asyncio
import itertools
from collections import Counter
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from kit.ids import is_uuid
from kit.resources import open_resources
from kit.settings import Settings
from sagas import dead_letters, simulator, store
from sagas import matrix as every_cell
from sagas.dead_letters import DeadLetter

app = typer.Typer(help="The order saga: what happened to an order, dead letters, the simulator.", no_args_is_help=True)
letters = typer.Typer(help="Messages that a consumer gave up on.", no_args_is_help=True)
app.add_typer(letters, name="dead-letters")
console = Console()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
def show(order: Annotated[str, typer.Argument(help="The order's id.")], json: JsonOption = False) -> None:
    """Every transition of an order: what caused it, its message id, what it sent, and when."""
    if not is_uuid(order):
        raise typer.BadParameter(f"{order!r} is not an order id (a UUID)")
    asyncio.run(_show(order, json))


async def _show(order_id: str, json: bool) -> None:
    async with open_resources(Settings()) as resources, resources.database.read() as session:
        order = await store.find(session, order_id)
        steps = await store.history(session, order_id)
        parked = await store.parked(session, order_id)
    if order is None:
        console.print(f"There is no order {order_id}; if it was just placed, the saga has not taken it yet.")
        raise typer.Exit(1)
    if json:
        document = {"order": order, "transitions": steps, "parked": parked}
        typer.echo(orjson.dumps(document, default=store.plain, option=orjson.OPT_INDENT_2).decode())
        return
    table = Table(title=f"Order {order_id}: {order.instance.status}", title_justify="left")
    for column in ("#", "at (UTC)", "from", "to", "because of", "message id", "sent", "reason"):
        table.add_column(column, overflow="fold")
    for step in steps:
        at = step.occurred_at.strftime("%F %T.%f")[:-3]
        cells = (str(step.sequence), at, step.previous_status, step.status, step.message_type)
        table.add_row(*cells, step.message_id, ", ".join(step.outputs), escape(step.reason))
    console.print(table)
    for command in order.instance.outstanding:
        console.print(
            f"waiting for an answer to [bold]{command.command}[/] (attempt {command.attempt}, sent {command.tries}×, "
            f"again at {command.due_at:%T})"
        )
    for envelope in parked:
        console.print(f"parked, came early: {envelope.type} {envelope.id}")


@letters.command("list")
def list_letters(
    json: JsonOption = False, everything: Annotated[bool, typer.Option("--all", help="Also replayed ones.")] = False
) -> None:
    """Lists dead letters that were not replayed yet."""
    found = [letter for letter in asyncio.run(_read()) if everything or not letter.replayed]
    if json:
        typer.echo(orjson.dumps([_plain(letter) for letter in found], option=orjson.OPT_INDENT_2).decode())
        return
    if not found:
        console.print("No dead letters.")
        return
    table = Table("number", "failed at (UTC)", "group", "topic", "error", "replayed")
    for letter in found:
        at = f"{letter.failed_at:%F %T}"
        table.add_row(
            str(letter.offset), at, letter.group, letter.topic, escape(letter.error), "yes" if letter.replayed else ""
        )
    console.print(table)


@letters.command("show")
def show_letter(number: Annotated[int, typer.Argument(help="The dead letter's number.")]) -> None:
    """Shows one dead letter whole."""
    typer.echo(orjson.dumps(_plain(_pick(asyncio.run(_read()), number)), option=orjson.OPT_INDENT_2).decode())


@letters.command("replay")
def replay_letters(
    numbers: Annotated[list[int] | None, typer.Argument(help="Their numbers.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that were not replayed yet.")] = False,
) -> None:
    """Sends dead letters to their own topics again."""
    if bool(numbers) == everything:
        raise typer.BadParameter("give numbers, or --all")
    asyncio.run(_replay(numbers or []))


async def _replay(numbers: list[int]) -> None:
    settings = Settings()
    found = await dead_letters.read_all(settings)
    chosen = [_pick(found, n) for n in numbers] if numbers else [letter for letter in found if not letter.replayed]
    async with open_resources(settings) as resources:
        for letter in chosen:
            await dead_letters.replay(resources.producer, letter)
            console.print(f"replayed {letter.offset} to {letter.topic}")
    console.print(f"{len(chosen)} replayed")


@app.command()
def simulate(
    runs: Annotated[int, typer.Option(min=1, help="How many schedules to run.")] = 5000,
    seed: Annotated[int | None, typer.Option(help="Run this schedule alone.")] = None,
    first: Annotated[int, typer.Option(help="The first seed.")] = 0,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print the steps of --seed, or of the run that breaks.")
    ] = False,
) -> None:
    """Runs the saga and its participants through crashes, duplicates, delays and disorder, and checks the books."""
    seeds = [seed] if seed is not None else range(first, first + runs)
    endings: Counter[str] = Counter()
    crashes = messages = 0
    try:
        for number in track(seeds, description="Schedules", console=console, transient=True):
            run = simulator.Run(number)
            result = run.run()
            endings.update(result.statuses)
            crashes += result.crashes
            messages += result.messages
    except simulator.BooksBroken as broken:
        if trace:
            typer.echo("\n".join(broken.trace))
        console.print(f"[red]The books are broken.[/] {escape(str(broken))}")
        raise typer.Exit(1) from None
    if trace and seed is not None:
        typer.echo("\n".join(run.trace))
    ended = ", ".join(f"{count:,} {status}" for status, count in sorted(endings.items()))
    console.print(
        f"{len(seeds):,} schedules, {messages:,} messages, {crashes:,} crashes: the books hold in all ({ended})."
    )


@app.command()
def matrix() -> None:
    """Kills the saga at every boundary of every step while every step fails in every way, and checks each ending."""
    table = Table("cancelled when", "who is quicker", "cells", "delivered", "cancelled", "longest", box=None)
    total = 0
    for cancel_in, pace in itertools.product(every_cell.WISHES, every_cell.Pace):
        endings: Counter[str] = Counter()
        longest = 0.0
        try:
            for _, ending in track(
                every_cell.lives(cancel_in, pace),
                description=f"{cancel_in or 'wanted'}, {pace}",
                total=None,
                console=console,
                transient=True,
            ):
                endings[ending.status] += 1
                longest = max(longest, ending.seconds)
        except every_cell.CellBroken as broken:
            console.print(f"[red]The books are broken.[/] {escape(str(broken))}")
            raise typer.Exit(1) from None
        total += endings.total()
        delivered, cancelled = (str(endings[status]) for status in ("delivered", "cancelled"))
        table.add_row(cancel_in or "(wanted)", pace, str(endings.total()), delivered, cancelled, f"{longest:.0f} s")
    console.print(table)
    console.print(f"{total:,} lives of an order: each came to its end in time, and the books hold.")


async def _read() -> list[DeadLetter]:
    return await dead_letters.read_all(Settings())


def _pick(found: list[DeadLetter], number: int) -> DeadLetter:
    for letter in found:
        if letter.offset == number:
            return letter
    raise typer.BadParameter(f"there is no dead letter {number}; `surge saga dead-letters list --all` shows them")


def _plain(letter: DeadLetter) -> dict[str, object]:
    return {
        "number": letter.offset,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.original_offset,
        "group": letter.group,
        "error": letter.error,
        "failed_at": letter.failed_at,
        "replayed": letter.replayed,
        "key": (letter.key or b"").decode(errors="replace"),
        "value": letter.value.decode(errors="replace"),
    }

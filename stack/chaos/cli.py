"""`surge chaos`: hurts a stack of its own under load, and proves that nobody was lied to."""

import asyncio
import logging
import random
import shlex
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Annotated, Final

import orjson
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stack.chaos import disks
from stack.chaos.checker import RULES
from stack.chaos.run import Outcome, Run, Wish, doubles
from stack.chaos.schedule import MEANING, Kind
from stack.display import Progress, console
from stack.errors import StackError
from stack.instance import chaos_instance

app: Final = typer.Typer(
    help="Hurt a stack of its own under load, and check what customers were told.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

_NAMED: Final = 20


@app.command(epilog="Kinds: " + "; ".join(f"{kind}: {what}" for kind, what in MEANING.items()))
def chaos(
    minutes: Annotated[float, typer.Option(min=0.2, max=240, help="How long customers come and faults strike.")] = 5,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the schedule; drawn and printed without it.")] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=500, help="Customers a second, each with one checkout.")] = 50,
    kinds: Annotated[
        str, typer.Option(metavar="KIND,…", help="Only these kinds of faults; by default all that are possible here.")
    ] = "",
    json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the verdict there, too.")] = None,
) -> None:
    """Start a stack of its own, let customers in, strike it with faults, let it heal, and check everything.

    A fault strikes every five seconds; some overlap. Afterwards nobody lends a hand: the shop has to heal by itself.
    Then what the customers were told is held against the books, and `surge audit` runs in full. Exits with 1 on a
    violation. Verdict, faults and history stay in .surge/chaos/runs/.
    """
    # clients that lost their server leave a word of it as they are collected; it is not this command's news
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    wish = Wish(minutes, seed if seed is not None else random.SystemRandom().randrange(10**6), rate, _kinds(kinds))
    instance = chaos_instance()
    title = f"surge chaos, seed {wish.seed}, {minutes:g} minutes at {rate:g}/s (ports {instance.port_base}…)"
    with instance.alone(), Progress(title) as progress:
        outcome = asyncio.run(Run(instance, wish, progress).run())
    console.print(closing(outcome))
    if json is not None:
        json.write_bytes(orjson.dumps(outcome.document(), option=orjson.OPT_INDENT_2) + b"\n")
    raise typer.Exit(0 if outcome.sound else 1)


def _kinds(asked: str) -> tuple[Kind, ...]:
    """The kinds that are asked for; without any, those that this machine can do.

    Raises:
        StackError: for a kind that there is not, or that can't be done here.
    """
    here = [kind for kind in Kind if kind is not Kind.FULL_DISK or disks.possible()]
    if not asked:
        return tuple(here)
    try:
        wanted = [Kind(name.strip()) for name in asked.split(",") if name.strip()]
    except ValueError as error:
        raise StackError(f"{error}", f"Kinds: {', '.join(Kind)}") from None
    if missing := [kind for kind in wanted if kind not in here]:
        raise StackError(
            f"not possible here: {', '.join(missing)}", "full-disk needs root, loop devices and mkfs.ext4."
        )
    return tuple(dict.fromkeys(wanted))


def replay(wish: Wish) -> str:
    """The command that makes the same schedule again."""
    kinds = ",".join(wish.kinds)
    arguments = ["--minutes", f"{wish.minutes:g}", "--seed", str(wish.seed), "--rate", f"{wish.rate:g}"]
    return shlex.join(["./surge", "chaos", *arguments, "--kinds", kinds])


def closing(outcome: Outcome) -> RenderableType:
    """The closing tables: faults by kind and target with recovery times, orders by outcome, the verdict."""
    parts: list[RenderableType] = [Text(), _faults(outcome), Text(), _figures(outcome)]
    parts += [Text(f"✗ {violation}", "red") for violation in outcome.violations[:_NAMED]]
    if len(outcome.violations) > _NAMED:
        parts.append(Text(f"… and {len(outcome.violations) - _NAMED} more in verdict.json", "red"))
    if outcome.report is not None and (outcome.report.broken or outcome.report.not_judged):
        parts.append(outcome.report.render())
    if not outcome.sound:
        parts += [Text(), Text(f"again: {replay(outcome.wish)}", "bold")]
    return Group(*parts)


def _faults(outcome: Outcome) -> Table:
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("target")
    used = [kind for kind in Kind if any(one.fault.kind is kind for one in outcome.injected)]
    for name in (*used, "faults", "recovery median", "longest"):
        table.add_column(name, justify="right")
    by_target: dict[str, list[int]] = defaultdict(lambda: [0] * len(used))
    recoveries: dict[str, list[float]] = defaultdict(list)
    for one in outcome.injected:
        by_target[one.fault.target][used.index(one.fault.kind)] += 1
        if one.recovery is not None:
            recoveries[one.fault.target].append(one.recovery)
    for target, counts in sorted(by_target.items()):
        times = recoveries[target]
        shown = [f"{statistics.median(times):.1f} s", f"{max(times):.1f} s"] if times else ["", ""]
        table.add_row(target, *(str(count or "") for count in counts), str(sum(counts)), *shown)
    totals = [sum(counts[n] for counts in by_target.values()) for n in range(len(used))]
    every = [time for times in recoveries.values() for time in times]
    shown = [f"{statistics.median(every):.1f} s", f"{max(every):.1f} s"] if every else ["", ""]
    table.add_row("all", *map(str, totals), str(sum(totals)), *shown, style="bold")
    return table


def _figures(outcome: Outcome) -> Table:
    figures = Table.grid(padding=(0, 2))
    figures.add_column(style="dim")
    figures.add_column(justify="right", style="bold")
    figures.add_column(style="dim")
    failed = [one for one in outcome.faults if one.failed]
    why = f"{len(failed)} could not be injected: {failed[0].failed}" if failed else ""
    figures.add_row("faults", str(len(outcome.injected)), f"{doubles(outcome.injected)} while another held; {why}")
    figures.add_row("customers", str(outcome.arrived), f"{outcome.turned_away} turned away at the door")
    for name, count in sorted(outcome.answers.items()):
        figures.add_row(f"  checkouts {name}", str(count), "")
    figures.add_row("orders", str(sum(outcome.statuses.values())), "in the books")
    for name, count in sorted(outcome.statuses.items()):
        figures.add_row(f"  {name}", str(count), "")
    figures.add_row("healthy", _seconds(outcome.healthy), "after the last fault")
    figures.add_row("drained", _seconds(outcome.drained), "after the last fault")
    if outcome.report is not None:
        figures.add_row("audit", "clean" if outcome.report.clean else "BROKEN", outcome.report.verdict)
    style = "green" if outcome.sound else "red"
    verdict = f"{len(outcome.violations)} violations" if outcome.violations else "sound" if outcome.sound else "UNSOUND"
    figures.add_row("verdict", Text(verdict, style), f"{len(RULES)} rules over {outcome.entries} entries of history")
    figures.add_row("kept", "", str(outcome.folder))
    return figures


def _seconds(value: float | None) -> str:
    return f"{value:.1f} s" if value is not None else "NEVER"

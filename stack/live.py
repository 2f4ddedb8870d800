"""`surge live`: what the shop does right now, from the windows that the live metrics keep in Redis."""

import asyncio
import datetime as dt
import time
from typing import Annotated, Final

import typer
from redis.exceptions import RedisError
from rich.console import Group, RenderableType
from rich.live import Live as Screen
from rich.table import Table
from rich.text import Text

from kit import redis as kit_redis
from kit.settings import Settings
from oltp.metrics.domain import Point, Window
from oltp.metrics.reader import MOST_POINTS, Live, LiveReader
from oltp.metrics.schemas import LiveMetrics, WindowLength
from stack.display import console
from stack.errors import StackError

app: Final = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

_BARS: Final = " ▁▂▃▄▅▆▇█"
_STALE_SECONDS: Final = 5


@app.command()
def main(
    window: Annotated[WindowLength, typer.Option(help="Length of the windows that --json prints.")] = (
        WindowLength.SECOND
    ),
    points: Annotated[int, typer.Option(min=1, max=MOST_POINTS, help="How many windows --json prints.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print the windows once, as GET /api/admin/live does.")] = (
        False
    ),
    once: Annotated[bool, typer.Option("--once", help="Show it once instead of until Ctrl-C.")] = False,
) -> None:
    """What the shop does right now: orders, payments, carts, checkouts, lag, errors. Twice a second until Ctrl-C."""
    try:
        asyncio.run(_json(window.window, points) if as_json else _show(once or not console.is_terminal))
    except RedisError as error:
        raise StackError(f"Redis can't be read: {error}", "See `surge status`.") from error


async def _json(window: Window, points: int) -> None:
    settings = Settings()
    async with kit_redis.connect(settings) as redis:
        now = dt.datetime.now(dt.UTC)
        live = await LiveReader(redis).read(window, points, int(now.timestamp()))
    print(LiveMetrics.of(live, now, settings.currency).model_dump_json(indent=2))


async def _show(once: bool) -> None:
    settings = Settings()
    async with kit_redis.connect(settings) as redis:
        reader = LiveReader(redis)
        if once:
            console.print(await _picture(reader, settings.currency))
            return
        with Screen(console=console, refresh_per_second=4, screen=True) as screen:
            while True:
                screen.update(await _picture(reader, settings.currency))
                await asyncio.sleep(0.5)


async def _picture(reader: LiveReader, currency: str) -> RenderableType:
    now = int(time.time())
    seconds = await reader.read(Window.SECOND, 61, now)
    minutes = await reader.read(Window.MINUTE, 60, now)
    five = await reader.read(Window.FIVE_MINUTES, 1, now)
    return picture(seconds, minutes, five, currency)


def picture(seconds: Live, minutes: Live, five: Live, currency: str) -> RenderableType:
    """The screen. The last second is left out of rates: it is not over."""
    over = seconds.points[:-1]
    present, latest = five.points[-1], _latest(seconds.points)
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True, min_width=16)
    table.add_column(justify="right", style="bold", no_wrap=True, min_width=14)
    table.add_column(overflow="fold")
    last_ten = sum(point.orders for point in over[-10:]) / 10
    table.add_row("orders a second", f"{last_ten:,.1f}", _line([point.orders for point in over]))
    table.add_row("  a minute", f"{minutes.points[-1].orders:,}", _line([point.orders for point in minutes.points]))
    table.add_row(
        "revenue, 5 min", _money(present.revenue, currency), f"of which paid {_money(present.paid, currency)}"
    )
    rate = present.payment_success_rate
    table.add_row("payments, 5 min", "none" if rate is None else f"{rate:.1%}", f"{present.confirmed:,} succeeded")
    table.add_row("cancelled, 5 min", f"{present.cancelled:,}", _parts(present.cancelled_by_reason))
    table.add_row("carts in use", _gauge(latest.active_carts), f"{present.cart_adds:,} additions in 5 min")
    table.add_row("at the checkout", _gauge(latest.checkout_sessions), f"{present.checkouts:,} begun in 5 min")
    table.add_row("views, searches", f"{present.views:,}, {present.searches:,}", "in 5 min")
    table.add_row("lag", _gauge(latest.lag), _parts(latest.lag_by_group))
    style = "red" if present.errors else ""
    table.add_row("errors, 5 min", Text(f"{present.errors:,}", style), _parts(present.errors_by_kind))
    progress = seconds.progress
    age = seconds.at - progress.sampled_at
    state = Text(
        f"{progress.counted:,} events counted, {progress.late:,} of them late; {progress.repeated:,} came again"
    )
    if age > _STALE_SECONDS:
        told = "has not looked yet" if not progress.sampled_at else f"last looked {age:,} s ago"
        state = Text(f"the live-metrics process {told}: see `surge status`", "red")
    moment = dt.datetime.fromtimestamp(seconds.at, dt.UTC)
    return Group(Text(f"{moment:%H:%M:%S} UTC", "bold"), table, state)


def _latest(points: tuple[Point, ...]) -> Point:
    """The last window that a sample was taken in."""
    return next((point for point in reversed(points) if point.active_carts is not None), points[-1])


def _line(values: list[int]) -> Text:
    """The values as a row of bars."""
    most = max(values, default=0)
    return Text("".join(_BARS[-(-value * (len(_BARS) - 1) // most) if most else 0] for value in values), "green")


def _money(minor: int, currency: str) -> str:
    return f"{minor / 100:,.2f} {currency}"


def _gauge(value: int | None) -> str:
    return "unknown" if value is None else f"{value:,}"


def _parts(parts: object) -> str:
    assert isinstance(parts, dict)
    return ", ".join(f"{name} {count:,}" for name, count in sorted(parts.items()) if count)

"""The demo shop that `surge up` opens: its seed, and the orders that show it at work.

Settings come from the environment, which the caller has set.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import httpx
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from audit.report import Report
from audit.run import run as audit
from cdc.settings import CdcSettings
from contracts.orders import OrderStatus
from kit.clock import SystemClock
from seed import loading, visits
from seed.people import Customer, people
from seed.settings import SeedSettings
from stack.definitions import PROCESSES
from stack.display import console
from stack.errors import StackError
from stack.shoppers import (
    BEYOND_CONFIRMATION,
    Offer,
    Refused,
    ShopAway,
    Shopper,
    Tracked,
    choose_cart,
    choose_payment,
    offers,
    percentile,
    watching,
)

ORDERS: Final = 500
ORDERS_A_CUSTOMER: Final = 3
"""The shop takes three checkouts of a customer in a minute."""

CONCURRENCY: Final = 12
SIGN_INS: Final = 6
DECLINES: Final = 0.08

_LAST_UNITS: Final = 3
"""Products whose last units three customers want at once."""

_RIVALS: Final = 3
_SETTLE_SECONDS: Final = 60.0
_chance: Final = random.Random()


class RushSettings(SeedSettings):
    """Where the running shop is, and who may sign in."""

    port_base: int = 18000

    def url(self, process: str) -> str:
        """A process's HTTP address."""
        return f"http://{self.host}:{self.port_base + PROCESSES[process].port}"


@dataclass
class Result:
    """What became of the orders. Times are seconds."""

    orders: list[Tracked] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    placing_seconds: float = 0.0
    report: Report | None = None

    @property
    def confirmed(self) -> list[Tracked]:
        """The orders that were reserved and paid."""
        return [order for order in self.orders if order.confirmed_at is not None]

    @property
    def reasons(self) -> Counter[str]:
        """Why orders were cancelled."""
        return Counter(order.reason for order in self.orders if order.status == OrderStatus.CANCELLED)

    @property
    def unsettled(self) -> list[Tracked]:
        """The orders that are neither under way nor over."""
        return [order for order in self.orders if not order.settled.is_set()]

    @property
    def passed(self) -> bool:
        """Whether every order came to its end and the books are clean."""
        return not self.unsettled and self.report is not None and self.report.clean


async def seed(progress: Callable[[str], None] | None = None) -> str:
    """Customers, products, stock and order history, if the shop is empty; returns what is there in a few words."""
    say = progress or (lambda _: None)
    seeded = await loading.ensure(progress=lambda note: say(note.what))
    return str(seeded)


async def tell_visits() -> int:
    """Copies the visits that were seeded with the shop into the warehouse, once; returns how many events that were."""
    file = SeedSettings().folder / visits.FILE
    if not file.exists():
        return 0
    async with CdcSettings().warehouse() as connection:
        return await visits.load(connection, file)


async def rush(orders: int = ORDERS) -> Result:
    """The main job: checkouts through the public API, followed to their end. Prints its own closing table.

    Raises:
        StackError: if the shop can't be used, or an order does not come to its end, or the books break.
    """
    settings = RushSettings()
    display = _Display(orders)
    with display:
        result = await run(settings, orders=orders, display=display)
    console.print(closing(settings, result))
    if result.unsettled:
        stuck = ", ".join(f"{order.order_id} ({order.status})" for order in result.unsettled[:5])
        raise StackError(f"{len(result.unsettled)} orders did not come to their end: {stuck}")
    if result.report is None or not result.report.clean:
        raise StackError("the books do not balance: see `surge audit`")
    return result


class _Display:
    """Bars on a terminal, a line a stage elsewhere."""

    def __init__(self, orders: int) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<22}"),
            BarColumn(40),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._orders = orders
        self._live: Live | None = None

    def __enter__(self) -> None:
        if console.is_terminal:
            self._live = Live(self._bars, console=console, refresh_per_second=10)
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def stage(self, name: str, total: int | None = None) -> None:
        """A stage begins."""
        self._tasks[name] = self._bars.add_task(name, total=total if total is not None else self._orders)
        if self._live is None:
            console.print(f"· {name}")

    def at(self, name: str, done: int) -> None:
        """How far a stage is."""
        self._bars.update(self._tasks[name], completed=done)


async def run(
    settings: RushSettings, *, orders: int = ORDERS, concurrency: int = CONCURRENCY, display: _Display | None = None
) -> Result:
    """Places orders of many customers at once and follows each to its end, then audits.

    Raises:
        StackError: if the shop can't be used.
    """
    display = display or _Display(orders)
    result = Result()
    began = time.perf_counter()
    limits = httpx.Limits(max_connections=concurrency * 2, max_keepalive_connections=concurrency * 2)
    try:
        async with httpx.AsyncClient(base_url=settings.url("gateway"), timeout=10, limits=limits) as http:
            shelf = await offers(http)
            if len(shelf) < 20:
                raise StackError(f"only {len(shelf)} products are in stock: the demo shop is not seeded, or not ready")
            contested = _contested(shelf, orders)
            rivals = len(contested) * _RIVALS
            count = rivals + -(-(orders - rivals) // ORDERS_A_CUSTOMER)
            shoppers = await _sign_in(settings, http, count, display)
            async with watching(shoppers):
                placing = time.perf_counter()
                display.stage("orders placed")
                display.stage("confirmed or cancelled")
                display.stage("shipped or over")
                counting = asyncio.create_task(_count(result, display))
                await _place(shoppers, shelf, contested, result, orders, concurrency)
                result.placing_seconds = time.perf_counter() - placing
                await _follow(shoppers, result)
                counting.cancel()
                _show(result, display)
    except (httpx.HTTPError, Refused, ShopAway) as error:
        raise StackError(f"the shop can't be used: {error}") from error
    result.seconds = time.perf_counter() - began
    display.stage("books", 1)
    try:
        result.report = await audit(rest=False)
    except (OSError, asyncpg.PostgresError) as error:
        raise StackError(f"the books can't be read: {error}") from error
    display.at("books", 1)
    return result


def customers(settings: RushSettings) -> Sequence[Customer]:
    """The demo customers, as the seed number makes them; their ids depend on when the shop was seeded."""
    return people(settings.plan(SystemClock().now()), first_email=settings.demo_email).customers


async def _sign_in(settings: RushSettings, http: httpx.AsyncClient, count: int, display: _Display) -> list[Shopper]:
    known = customers(settings)
    chosen = [known[0], *_chance.sample(known[1:], min(count, len(known)) - 1)]
    display.stage("customers signed in", len(chosen))
    websocket_url = settings.url("gateway").replace("http", "ws", 1)
    password = settings.demo_password.get_secret_value()
    slots = asyncio.Semaphore(SIGN_INS)
    done = 0

    async def sign_in(customer: Customer) -> Shopper:
        nonlocal done
        shopper = Shopper(http, customer.address, websocket_url=websocket_url)
        async with slots:
            await shopper.sign_in(customer.email, password)
        done += 1
        display.at("customers signed in", done)
        return shopper

    return list(await asyncio.gather(*map(sign_in, chosen)))


def _contested(shelf: list[Offer], orders: int) -> list[Offer]:
    """Products whose last units several customers want at the same moment."""
    scarce = sorted((offer for offer in shelf if offer.stock <= 20), key=lambda offer: offer.stock)
    return _chance.sample(scarce, min(_LAST_UNITS, len(scarce))) if orders >= 100 else []


async def _place(
    shoppers: list[Shopper],
    shelf: list[Offer],
    contested: list[Offer],
    result: Result,
    orders: int,
    concurrency: int,
) -> None:
    rivals = shoppers[: len(contested) * _RIVALS]
    plenty = [offer for offer in shelf if offer.stock > 20] or shelf
    others = shoppers[len(rivals) :]
    _chance.shuffle(others)
    left = orders - len(rivals)
    turns = [shopper for _ in range(ORDERS_A_CUSTOMER) for shopper in others][:left]
    if len(turns) < left:
        raise StackError(f"{orders} orders need more than {len(shoppers)} customers")
    queues: dict[int, list[Shopper]] = {}
    for shopper in turns:
        queues.setdefault(id(shopper), []).append(shopper)
    slots = asyncio.Semaphore(concurrency)

    async def shop(visits: list[Shopper]) -> None:
        for shopper in visits:
            async with slots:
                await _buy(shopper, choose_cart(_chance, plenty), result)

    async def compete(offer: Offer, group: list[Shopper]) -> None:
        for shopper in group:
            await shopper.fill_cart({offer.product_id: offer.stock})
        await asyncio.gather(*(_check_out(shopper, result, declines=0.0) for shopper in group))

    groups = [rivals[n * _RIVALS : (n + 1) * _RIVALS] for n in range(len(contested))]
    async with asyncio.TaskGroup() as tasks:
        for offer, group in zip(contested, groups, strict=True):
            tasks.create_task(compete(offer, group))
        for visits in queues.values():
            tasks.create_task(shop(visits))


async def _buy(shopper: Shopper, cart: dict[str, int], result: Result) -> None:
    await shopper.fill_cart(cart)
    await _check_out(shopper, result, declines=DECLINES)


async def _check_out(shopper: Shopper, result: Result, *, declines: float) -> None:
    method, token = choose_payment(_chance, declines=declines)
    try:
        result.orders.append(await shopper.check_out(method, token))
    except Refused as refused:
        if refused.status != 409:
            raise
        result.refused[refused.type] += 1
        await shopper.empty_cart()


async def _follow(shoppers: list[Shopper], result: Result) -> None:
    """Waits for the news of every order; asks for those that had none for long."""
    owners = {order_id: shopper for shopper in shoppers for order_id in shopper.orders}
    deadline = time.perf_counter() + _SETTLE_SECONDS
    while (open_ := result.unsettled) and time.perf_counter() < deadline:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(*(order.settled.wait() for order in open_))
                return
        for order in result.unsettled:
            await owners[order.order_id].look_at(order.order_id)


async def _count(result: Result, display: _Display) -> None:
    while True:
        _show(result, display)
        await asyncio.sleep(0.1)


def _show(result: Result, display: _Display) -> None:
    decided = sum(o.confirmed_at is not None or o.status == OrderStatus.CANCELLED for o in result.orders)
    display.at("orders placed", len(result.orders) + result.refused.total())
    display.at("confirmed or cancelled", decided + result.refused.total())
    display.at("shipped or over", len(result.orders) - len(result.unsettled) + result.refused.total())


def closing(settings: RushSettings, result: Result) -> RenderableType:
    """The closing table: what became of the orders, how fast, whether the books balance, and where to look."""
    placements = [order.placement for order in result.orders]
    confirmations = [c for order in result.orders if (c := order.confirmation) is not None]
    statuses = Counter(order.status for order in result.orders)
    gone = statuses[OrderStatus.SHIPPED] + statuses[OrderStatus.DELIVERED]
    figures = Table.grid(padding=(0, 2))
    figures.add_column(style="dim")
    figures.add_column(justify="right", style="bold")
    figures.add_column(style="dim")
    rate = len(result.orders) / result.placing_seconds if result.placing_seconds else 0.0
    figures.add_row("placed", str(len(result.orders)), f"in {result.placing_seconds:.1f} s, {rate:.0f} a second")
    for kind, count in sorted(result.refused.items()):
        figures.add_row("refused at checkout", str(count), kind)
    figures.add_row("confirmed", str(len(result.confirmed)), "stock reserved, payment captured")
    figures.add_row("shipped", str(gone), f"{statuses[OrderStatus.DELIVERED]} of them delivered already")
    figures.add_row("cancelled", str(statuses[OrderStatus.CANCELLED]), "everything rolled back")
    for reason, count in result.reasons.most_common():
        figures.add_row(f"  {reason or 'unknown'}", str(count), "")
    if result.unsettled:
        figures.add_row("[red]unsettled", str(len(result.unsettled)), "see `surge saga show ORDER`")
    figures.add_row("placement", *_times(placements))
    figures.add_row("time to confirmed", *_times(confirmations))
    if result.report is not None:
        style = "green" if result.report.clean else "red"
        figures.add_row("books", Text("balance" if result.report.clean else "BROKEN", style), result.report.verdict)
    places = Table.grid(padding=(0, 2))
    places.add_column(style="dim")
    places.add_column(style="cyan", no_wrap=True)
    places.add_column(style="dim")
    places.add_row("API", f"{settings.url('gateway')}/docs", "")
    places.add_row("mail", settings.url("mailsink"), "every message that the shop sent")
    places.add_row("customer", settings.demo_email, settings.demo_password.get_secret_value())
    places.add_row("admin", settings.admin_email, settings.admin_password.get_secret_value())
    shipped = sum(statuses[status] for status in BEYOND_CONFIRMATION)
    title = Text(f"{len(result.orders)} orders, {shipped} served", style="bold")
    return Group(Text(), title, figures, Text(), places)


def _times(seconds: Sequence[float]) -> tuple[str, str]:
    p50, p99 = percentile(seconds, 0.50) * 1000, percentile(seconds, 0.99) * 1000
    return f"{p50:.0f} ms", f"p50; p99 {p99:.0f} ms"

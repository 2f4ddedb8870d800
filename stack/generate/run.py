"""The loop that lets visitors in when their time has come, whether or not those before them are done."""

import asyncio
import contextlib
import datetime as dt
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from aiokafka.errors import KafkaError

from kit.resources import open_resources
from kit.tasks import running
from oltp.catalog.state import lifespan as catalog_lifespan
from oltp.gateway.admission import Admission
from oltp.gateway.order_log import OrderLog
from oltp.gateway.settings import GatewaySettings
from oltp.sales.state import lifespan as sales_lifespan
from stack.errors import StackError
from stack.generate.fraud import Fraudsters, Truth
from stack.generate.orders import Orders, Tally
from stack.generate.patterns import Pattern, ShopTime, arrivals
from stack.generate.shop import Shelf, load
from stack.generate.visits import Visits, VisitTally
from stack.shoppers import percentile

TICK_SECONDS: Final = 0.005
"""Visitors who come within one are served as one batch."""

LATE_SECONDS: Final = 1.0
"""A visitor let in later than that was not offered when the pattern said: the generator can't keep up."""

_FOLLOW_SECONDS: Final = 0.25
_DRAIN_SECONDS: Final = 60.0


class Activity(Protocol):
    """What visitors do: buying (:mod:`stack.generate.orders`), visiting (:mod:`stack.generate.visits`)."""

    async def perform(self, visitors: int) -> None:
        """So many visitors do it now; failures that pass are counted, not raised."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be generated. ``rate`` is orders a second on an average of the pattern's ordinary day.

    ``conversion`` is the part of the visits that ends with an order, 0: nobody visits. ``fraud`` is the part of the
    orders that fraudsters place; ``truth`` is the file that says which.
    """

    rate: float
    pattern: Pattern
    seconds: float | None
    start: dt.datetime
    speed: float
    seed: int
    declines: float
    conversion: float = 0.25
    fraud: float = 0.02
    truth: Path | None = None


@dataclass(frozen=True, slots=True)
class View:
    """How it stands. Rates are of the last second; ``lag`` is None while Kafka does not tell."""

    moment: dt.datetime
    elapsed: float
    wanted: float
    offered: int
    rate: float
    lag: int | None
    late: float
    tally: Tally
    visits: VisitTally


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was generated."""

    plan: Plan
    seconds: float
    offered: int
    late_seconds: float
    drained: bool
    cpu_seconds: float
    tally: Tally
    visits: VisitTally
    fraudulent: int

    @property
    def complete(self) -> bool:
        """Whether every order was acknowledged, can be read, and was taken up by the saga."""
        return self.drained and not self.tally.unknown and not self.tally.unrecorded

    def document(self) -> dict[str, Any]:
        """The outcome as flat JSON; see ``docs/generate.md``."""
        times = list(self.tally.acknowledged)
        return {
            "pattern": self.plan.pattern.value,
            "rate": self.plan.rate,
            "speed": self.plan.speed,
            "seed": self.plan.seed,
            "seconds": round(self.seconds, 2),
            "offered": self.offered,
            "produced": self.tally.produced,
            "produced_per_second": round(self.tally.produced / self.seconds, 1) if self.seconds else 0.0,
            "units": self.tally.units,
            "taken_up": self.tally.taken,
            "not_acknowledged": self.tally.unknown,
            "not_recorded": self.tally.unrecorded,
            "found_nothing": self.tally.unserved,
            "acknowledged_ms_p50": round(percentile(times, 0.50) * 1000, 1),
            "acknowledged_ms_p99": round(percentile(times, 0.99) * 1000, 1),
            "visits": self.visits.visits,
            "visit_events": self.visits.events,
            "visit_events_lost": self.visits.events_lost,
            "carts_left": self.visits.carts_left,
            "checkouts_left": self.visits.checkouts_left,
            "fraudulent": self.fraudulent,
            "late_seconds": round(self.late_seconds, 3),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "complete": self.complete,
        }


class Entrance:
    """Lets visitors in after a list of arrivals."""

    def __init__(self, activity: Activity, times: Iterator[float], *, seconds: float | None) -> None:
        self.offered = 0
        self.late = 0.0
        self.stopped = asyncio.Event()
        self._activity = activity
        self._times = times
        self._seconds = float("inf") if seconds is None else seconds
        self._inside: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def open(self) -> float:
        """Serves until the time is up or ``stopped`` is set, then lets everybody finish; returns the seconds.

        Raises:
            Exception: what an activity raised; the entrance closes.
        """
        loop = asyncio.get_running_loop()
        began, upcoming = loop.time(), next(self._times)
        while not self.stopped.is_set():
            now = loop.time() - began
            due = 0
            while upcoming <= min(now, self._seconds):
                self.late = max(self.late, now - upcoming)
                due, upcoming = due + 1, next(self._times)
            if due:
                self._let_in(due)
            if now >= self._seconds:
                break
            pause = min(max(TICK_SECONDS, upcoming - now), max(0.0, self._seconds - now))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), pause)
        elapsed = loop.time() - began
        await asyncio.gather(*self._inside, return_exceptions=True)
        if self._failure is not None:
            raise self._failure
        return elapsed

    def _let_in(self, visitors: int) -> None:
        self.offered += visitors
        visit = asyncio.create_task(self._activity.perform(visitors))
        self._inside.add(visit)
        visit.add_done_callback(self._out)

    def _out(self, visit: asyncio.Task[None]) -> None:
        self._inside.discard(visit)
        if not visit.cancelled() and (failure := visit.exception()) is not None:
            self._failure = failure
            self.stopped.set()


@dataclass(frozen=True, slots=True)
class _Shop:
    orders: Orders
    visits: Visits
    truth: Truth
    order_log: OrderLog


@asynccontextmanager
async def _opened(plan: Plan) -> AsyncIterator[_Shop]:
    settings = GatewaySettings()
    shop = await load(settings)
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings))
        state: dict[str, Any] = {}
        for opened in (catalog_lifespan, sales_lifespan):
            state |= await stack.enter_async_context(opened(resources))
        order_log = OrderLog(settings)
        stack.push_async_callback(order_log.close)
        shelf = Shelf(resources.redis, shop.products)
        try:
            await shelf.look()
            await resources.producer.start()
            await order_log.refresh()
        except (KafkaError, OSError, TimeoutError) as error:
            raise StackError(f"the shop can't be used: {error}") from error
        if not shelf.offers:
            raise StackError("nothing is in stock: restock, or `surge reset` and `surge up`")
        visits = Visits(
            buyers=shop.buyers,
            shelf=shelf,
            producer=resources.producer,
            clock=resources.clock,
            chance=random.Random(plan.seed + 2),
            conversion=plan.conversion,
        )
        truth = Truth(plan.truth)
        await stack.enter_async_context(running([shelf, visits]))
        orders = Orders(
            buyers=shop.buyers,
            shelf=shelf,
            products=state["products"],
            sales=state["sales"],
            producer=resources.producer,
            admission=Admission(resources.shared_redis, settings),
            order_log=order_log,
            clock=resources.clock,
            chance=random.Random(plan.seed + 1),
            declines=plan.declines,
            visits=visits,
            fraudsters=Fraudsters(random.Random(plan.seed + 3), shop.buyers, shop.newest, plan.fraud),
            truth=truth,
        )
        yield _Shop(orders, visits, truth, order_log)


class _Follower:
    """Keeps an eye on the log and tells how it stands."""

    def __init__(self, plan: Plan, time_: ShopTime, shop: _Shop, show: Callable[[View], None]) -> None:
        self._plan = plan
        self._time = time_
        self._orders = shop.orders
        self._visits = shop.visits.tally
        self._order_log = shop.order_log
        self._show = show
        self._lag: int | None = None

    async def look(self) -> None:
        """Asks the log how far the saga is."""
        try:
            ends, committed = await self._order_log.refresh()
        except (KafkaError, TimeoutError, OSError):
            self._lag = None
            return
        self._lag = sum(max(0, end - done) for end, done in zip(ends, committed, strict=True))
        self._orders.taken_up(committed)

    async def run(self, entrance: Entrance) -> None:
        """Looks and shows until cancelled."""
        began = then = time.monotonic()
        before, rate = 0, 0.0
        while True:
            await self.look()
            now = time.monotonic()
            tally = self._orders.tally
            if now - then >= 1:
                rate, before, then = (tally.produced - before) / (now - then), tally.produced, now
            moment = self._time.at(now - began)
            wanted = self._plan.rate * self._plan.pattern.intensity(moment)
            self._show(
                View(moment, now - began, wanted, entrance.offered, rate, self._lag, entrance.late, tally, self._visits)
            )
            await asyncio.sleep(_FOLLOW_SECONDS)

    async def drained(self) -> bool:
        """Waits for the saga to take up every order; false if it does not within a minute."""
        deadline = time.monotonic() + _DRAIN_SECONDS
        while True:
            await self.look()
            if self._orders.tally.taken == self._orders.tally.produced:
                return True
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_FOLLOW_SECONDS)


async def generate(plan: Plan, show: Callable[[View], None]) -> Outcome:
    """Generates until the time is up, or SIGINT or SIGTERM comes; then waits for the saga to take up every order.

    Raises:
        StackError: if the shop can't be used.
    """
    time_ = ShopTime(plan.start, plan.speed)
    cpu = time.process_time()
    async with _opened(plan) as shop:
        times = arrivals(plan.pattern, plan.rate, time_, random.Random(plan.seed))
        entrance = Entrance(shop.orders, times, seconds=plan.seconds)
        doors = [entrance]
        if plan.conversion:
            coming = arrivals(plan.pattern, plan.rate / plan.conversion, time_, random.Random(plan.seed + 4))
            doors.append(Entrance(shop.visits, coming, seconds=plan.seconds))
        follower = _Follower(plan, time_, shop, show)

        def close() -> None:
            for door in doors:
                door.stopped.set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, close)
        following = asyncio.create_task(follower.run(entrance))
        try:
            seconds, *_ = await asyncio.gather(*(door.open() for door in doors))
        finally:
            close()
            following.cancel()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
        drained = await follower.drained()
    spent = time.process_time() - cpu
    return Outcome(
        plan,
        seconds,
        entrance.offered,
        entrance.late,
        drained,
        spent,
        shop.orders.tally,
        shop.visits.tally,
        shop.truth.orders,
    )

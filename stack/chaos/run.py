"""One run: a stack of its own, customers, the nemesis, then peace, the books and the verdict."""

import asyncio
import contextlib
import datetime as dt
import platform
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import orjson

from audit.report import Report
from audit.run import run as audit
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from kit.settings import Settings
from stack import environment, probes
from stack.chaos import books as book_reader
from stack.chaos import disks as file_systems
from stack.chaos import proxies as toxiproxy
from stack.chaos.checker import Books, Violation, check
from stack.chaos.customers import Crowd, Door
from stack.chaos.history import Entry, History, read
from stack.chaos.nemesis import Injected, Nemesis
from stack.chaos.schedule import Fault, Kind, plan
from stack.definitions import GATEWAY, PROCESSES
from stack.display import Progress, console
from stack.errors import StackError
from stack.instance import Instance
from stack.shoppers import Offer, offers
from stack.up import Start, down, wipe
from stack.variables import write_private

SETTINGS: Final = {
    "SURGE_DEMO_CUSTOMERS": "2000",
    "SURGE_DEMO_PRODUCTS": "200",
    "SURGE_DEMO_ORDERS": "0",
    "SURGE_ACCESS_TOKEN_SECONDS": "14400",
}
"""How the stack differs from a shop: enough customers for three checkouts a minute each, tokens that outlast a run."""

SHELF: Final = 60
"""Products that are bought."""

UNITS: Final = 20_000
"""Units of each of them that are delivered before the run."""

PEACE_SECONDS: Final = 240.0
"""Most time, after the last fault and the last customer, for the shop to heal and carry every order to its end."""

_REQUEST_SECONDS: Final = 8.0
_TELL_SECONDS: Final = 15.0
_CLIENTS: Final = 40
"""Each with connections of its own: with one for all, httpx compares every waiting request with every connection each
time that one ends, which took four fifths of this process at 700 customers."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for."""

    minutes: float
    seed: int
    rate: float
    kinds: tuple[Kind, ...]


@dataclass(slots=True)
class Outcome:
    """What came of a run. Times are seconds; ``healthy`` and ``drained`` count from the last fault's end.

    ``healthy``: every process served. ``drained``: every order had come to its end, and no command was open. None: not
    within :data:`PEACE_SECONDS`.
    """

    wish: Wish
    folder: Path
    faults: list[Injected] = field(default_factory=list)
    arrived: int = 0
    turned_away: int = 0
    answers: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    entries: int = 0
    healthy: float | None = None
    drained: float | None = None
    violations: list[Violation] = field(default_factory=list)
    report: Report | None = None

    @property
    def injected(self) -> list[Injected]:
        """The faults that were done; others could not be."""
        return [one for one in self.faults if not one.failed]

    @property
    def sound(self) -> bool:
        """Whether no rule was broken, the books balance, and the shop healed by itself."""
        report = self.report
        books = report is not None and report.clean and not report.not_judged
        return not self.violations and books and self.healthy is not None and self.drained is not None

    def document(self) -> dict[str, Any]:
        """The verdict as flat JSON; ``docs/chaos.md`` describes the fields."""
        recoveries = sorted(one.recovery for one in self.injected if one.recovery is not None)
        return {
            "sound": self.sound,
            "seed": self.wish.seed,
            "minutes": self.wish.minutes,
            "rate": self.wish.rate,
            "kinds": list(self.wish.kinds),
            "machine": platform.platform(),
            "faults": len(self.injected),
            "faults_failed": len(self.faults) - len(self.injected),
            "double_faults": doubles(self.injected),
            "customers_arrived": self.arrived,
            "customers_turned_away": self.turned_away,
            **{f"checkouts_{name}": count for name, count in sorted(self.answers.items())},
            **{f"orders_{name}": count for name, count in sorted(self.statuses.items())},
            "history_entries": self.entries,
            "healthy_seconds": self.healthy,
            "drained_seconds": self.drained,
            "recovery_median_seconds": recoveries[len(recoveries) // 2] if recoveries else None,
            "recovery_max_seconds": recoveries[-1] if recoveries else None,
            "violations": len(self.violations),
            "violated": [str(violation) for violation in self.violations[:100]],
            "audit_clean": self.report is not None and self.report.clean,
            "audit": self.report.verdict if self.report is not None else "not made",
        }


def doubles(faults: list[Injected]) -> int:
    """Faults that began while another one held."""
    return sum(
        any(other is not one and other.began <= one.began < (other.ended or other.began) for other in faults)
        for one in faults
    )


@dataclass(slots=True)
class _Field:
    """The running stack, and what a run holds open on it."""

    instance: Instance
    settings: Settings
    proxies: toxiproxy.Proxies
    disks: file_systems.Disks | None
    clients: tuple[httpx.AsyncClient, ...]
    url: str

    @property
    def http(self) -> httpx.AsyncClient:
        """One of the clients."""
        return self.clients[0]

    def token(self, user: str, role: Role = Role.CUSTOMER) -> str:
        """An access token, as the shop itself would issue it."""
        return issue_access_token(self.settings, Principal(user, role), SystemClock().now())


class Run:
    """A run under way."""

    def __init__(self, instance: Instance, wish: Wish, progress: Progress) -> None:
        self.instance = instance
        self.wish = wish
        self.faults: list[Fault] = plan(wish.seed, wish.minutes * 60, wish.kinds)
        started = dt.datetime.now(dt.UTC)
        folder = instance.home / "runs" / f"{started:%Y%m%dT%H%M%S}-seed-{wish.seed}"
        folder.mkdir(parents=True)
        self.outcome = Outcome(wish, folder)
        self._progress = progress
        self._began = 0.0
        self.crowd: Crowd | None = None
        self.nemesis: Nemesis | None = None

    def now(self) -> float:
        """Seconds since the first customer came."""
        return time.monotonic() - self._began

    async def run(self) -> Outcome:
        """Everything, from an empty machine to the verdict; what it started is gone afterwards.

        Raises:
            StackError: if the stack can't be started or hurt; not for violations.
        """
        async with self._stack() as stack:
            shelf, users = await self._stock(stack)
            before = await book_reader.stock(stack.url)
            await self._storm(stack, shelf, users)
            await self._peace(stack)
            await self._judge(stack, before)
        return self.outcome

    @asynccontextmanager
    async def _stack(self) -> AsyncIterator[_Field]:
        instance = self.instance
        instance.create()
        down(instance)
        file_systems.release(instance)
        wipe(instance)
        instance.create()
        write_private(instance.home / "settings.env", "".join(f"{name}={value}\n" for name, value in SETTINGS.items()))
        async with contextlib.AsyncExitStack() as stack:
            disks = None
            if Kind.FULL_DISK in self.wish.kinds:
                disks = stack.enter_context(file_systems.mounted(instance))
            stack.enter_context(self._logs_kept())
            self._progress.expect([("toxiproxy", "Toxiproxy")])
            self._progress.begin("toxiproxy")
            self._progress.finish("toxiproxy", await asyncio.to_thread(toxiproxy.ensure))
            proxies = await stack.enter_async_context(toxiproxy.running(instance))
            stack.callback(down, instance)
            await Start(instance, self._progress).run()
            environment.apply(instance)
            settings = Settings()
            gateway = f"http://127.0.0.1:{instance.dial_base + PROCESSES[GATEWAY].port}"
            clients = [httpx.AsyncClient(base_url=gateway, timeout=_REQUEST_SECONDS) for _ in range(_CLIENTS)]
            for client in clients:
                await stack.enter_async_context(client)
            url = settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
            yield _Field(instance, settings, proxies, disks, tuple(clients), url)

    @contextlib.contextmanager
    def _logs_kept(self) -> Iterator[None]:
        """Keeps the processes' logs with a run that went wrong."""
        try:
            yield
        finally:
            if not self.outcome.sound:
                kept = self.outcome.folder / "logs"
                if self.instance.logs.exists() and not kept.exists():
                    self.instance.logs.rename(kept)

    async def _stock(self, field: _Field) -> tuple[list[Offer], list[str]]:
        """Fills the shelf through the admin's API, and names its customers."""
        self._progress.expect([("shelf", "shelf")])
        self._progress.begin("shelf")
        shelf = sorted(await offers(field.http), key=lambda offer: offer.product_id)
        chosen = random.Random(self.wish.seed).sample(shelf, min(SHELF, len(shelf)))
        [warehouse, *_] = (await field.http.get("/api/warehouses")).json()
        headers = {"Authorization": f"Bearer {field.token(new_id(), Role.ADMIN)}"}
        body = {"warehouse_id": warehouse["id"], "quantity": UNITS, "reason": "for the storm"}
        for offer in chosen:
            path = f"/api/admin/inventory/{offer.product_id}/restock"
            answer = await field.http.post(path, json=body, headers={**headers, "Idempotency-Key": new_id()})
            if not answer.is_success:
                raise StackError(f"the shelf could not be filled: {answer.status_code} {answer.text[:300]}")
        users = await book_reader.customers(field.url)
        self._progress.finish("shelf", f"{len(chosen)} products, {len(users)} customers")
        return chosen, users

    async def _storm(self, field: _Field, shelf: list[Offer], users: list[str]) -> None:
        seconds, outcome = self.wish.minutes * 60, self.outcome
        gateway = f"ws://127.0.0.1:{self.instance.dial_base + PROCESSES[GATEWAY].port}"
        history = History(outcome.folder / "history.jsonl")
        chance = random.Random(self.wish.seed)
        chance.shuffle(users)
        self._progress.expect([("storm", "storm"), ("customers", "last customers")])
        self._progress.begin("storm")
        self._began = time.monotonic()
        door = Door(field.clients, gateway, field.token)
        crowd = self.crowd = Crowd(door, history, self.now, users, shelf, chance)
        nemesis = self.nemesis = Nemesis(
            self.instance, field.proxies, field.disks, self.now, field.settings.kafka_bootstrap
        )
        outcome.faults = nemesis.injected
        shown = asyncio.create_task(self._show())
        try:
            async with crowd.listening(), asyncio.TaskGroup() as group:
                self._began = time.monotonic()
                group.create_task(nemesis.run(self.faults))
                group.create_task(crowd.come(self.wish.rate, seconds))
            self._progress.finish("storm", f"{len(outcome.injected)} faults, {crowd.arrived} customers")
            self._progress.begin("customers")
            async with asyncio.TaskGroup() as group:
                group.create_task(crowd.gone())
                group.create_task(self._healthy())
            self._progress.finish("customers", f"{len(history.entries)} entries of history")
        finally:
            shown.cancel()
            history.close()
            outcome.arrived, outcome.turned_away = crowd.arrived, crowd.turned_away
            outcome.answers, outcome.entries = dict(crowd.outcomes), len(history.entries)
            self._save_faults()

    async def _show(self) -> None:
        tell_at = _TELL_SECONDS
        while True:
            assert self.crowd is not None
            assert self.nemesis is not None
            holding = ", ".join(f"{one.fault.kind} {one.fault.target}" for one in self.nemesis.holding)
            done = len(self.nemesis.injected)
            text = f"{self.now():.0f} s: {done} of {len(self.faults)} faults, {self.crowd.arrived} customers, "
            step = "storm" if self._progress.steps["storm"].state == "running" else "customers"
            text += f"{self.crowd.inside} inside{f'; {holding}' if holding else ''}"
            self._progress.note(step, text)
            if not console.is_terminal and self.now() >= tell_at:
                console.print(f"  {text}")
                tell_at += _TELL_SECONDS
            await asyncio.sleep(0.5)

    @property
    def _last_end(self) -> float:
        """When the last fault ended."""
        return max((one.ended or 0.0 for one in self.outcome.faults), default=0.0)

    async def _healthy(self) -> None:
        """Waits, without lending a hand, until everything serves at once."""
        until = self.now() + PEACE_SECONDS
        while self.now() < until and self.outcome.healthy is None:
            serving = await asyncio.gather(*(_serves(self.instance, name) for name in self.instance.processes))
            if all(serving):
                self.outcome.healthy = round(self.now() - self._last_end, 1)
            await asyncio.sleep(0.5)

    async def _peace(self, field: _Field) -> None:
        """Waits until every order has come to its end."""
        assert self.nemesis is not None
        self._progress.expect([("peace", "healing")])
        self._progress.begin("peace")
        until = self.now() + PEACE_SECONDS
        while self.now() < until and self.outcome.drained is None:
            open_: dict[str, int] | None = None
            with contextlib.suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                open_ = await book_reader.unsettled(field.url)
            if open_ == {}:
                self.outcome.drained = round(self.now() - self._last_end, 1)
            self._progress.note("peace", f"orders on their way: {open_}")
            await asyncio.sleep(0.5)
        await self.nemesis.watched()
        state = "done" if self.outcome.healthy is not None and self.outcome.drained is not None else "failed"
        told = [
            f"healthy after {self.outcome.healthy} s" if self.outcome.healthy is not None else "not healthy",
            f"drained after {self.outcome.drained} s" if self.outcome.drained is not None else "not drained",
        ]
        self._progress.finish("peace", ", ".join(told), state)
        self._save_faults()

    async def _judge(self, field: _Field, before: dict[str, int]) -> None:
        self._progress.expect([("books", "books")])
        self._progress.begin("books")
        outcome = self.outcome
        try:
            outcome.report = await audit(wait=90, note=lambda text: self._progress.note("books", text))
            dead = int(str(outcome.report.finding("messages.dead").figures.get("dead letters", 0)))
            books: Books = await book_reader.read(field.url, stock_before=before, dead_letters=dead)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StackError(f"the books can't be read: {error!r}") from error
        entries: list[Entry] = await asyncio.to_thread(lambda: list(read(outcome.folder / "history.jsonl")))
        outcome.violations = await asyncio.to_thread(check, entries, books)
        for order in books.orders.values():
            outcome.statuses[order.status] = outcome.statuses.get(order.status, 0) + 1
        verdict = {**outcome.document(), "audit_report": outcome.report.document()}
        (outcome.folder / "verdict.json").write_bytes(orjson.dumps(verdict, option=orjson.OPT_INDENT_2) + b"\n")
        self._progress.finish("books", outcome.report.verdict, "done" if outcome.sound else "failed")

    def _save_faults(self) -> None:
        lines = b"".join(orjson.dumps(_plain(one)) + b"\n" for one in self.outcome.faults)
        (self.outcome.folder / "faults.jsonl").write_bytes(lines)


def _plain(injected: Injected) -> dict[str, Any]:
    document = asdict(injected)
    return {**document.pop("fault"), **document}


async def _serves(instance: Instance, name: str) -> bool:
    try:
        await probes.ask(instance, name)
    except probes.NotReadyError:
        return False
    return True

"""Fills an empty shop, in one process or several, and goes on where a run was broken off."""

import asyncio
import dataclasses
import datetime as dt
import hashlib
import json
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from kit.clock import SystemClock
from kit.resources import open_resources
from oltp.accounts.passwords import hash_password
from oltp.catalog import directory
from oltp.inventory import reconciler
from oltp.shipping.carriers import CarrierNetwork
from oltp.shipping.settings import ShippingSettings
from seed import bare, marks, visits
from seed.plan import Plan
from seed.rendered import Rendered
from seed.settings import SeedSettings
from seed.world import world
from seed.writing import BULK, Writer

_LOCK: Final = 7_405_311_842_002
_BARE_FROM: Final = 200_000
"""From so many orders on, taking the indexes away and putting them back is faster than keeping them."""

BYTES_AN_ORDER: Final = 2_700
"""Disk that an order takes with everything that belongs to it."""

LOG_BYTES: Final = 4_000_000_000
"""Disk that Postgres's log takes meanwhile, at most."""

TRUTH: Final = "fraud_truth.parquet"


class SeedError(Exception):
    """The shop cannot be filled; says why."""


@dataclass(frozen=True, slots=True)
class Note:
    """How far it is: what is being done, and how much of how much if that is known."""

    what: str
    done: int = 0
    total: int = 0


Progress = Callable[[Note], None]


@dataclass(frozen=True, slots=True)
class Seeded:
    """What is there. ``fresh`` says whether this call made it; ``digests`` is one hash for each table then.

    A shop that only others' orders were brought into has no plan, but ``imports``.
    """

    plan: Plan | None
    fresh: bool
    seconds: float
    digests: Mapping[str, str]
    imports: tuple[str, ...] = ()

    def __str__(self) -> str:
        plan = self.plan
        if plan is None:
            return f"the orders of {', '.join(self.imports)}, as before"
        there = f"{plan.customers:,} customers, {plan.products:,} products, {plan.orders:,} orders"
        return there if self.fresh else f"{there}, as before"


async def ensure(settings: SeedSettings | None = None, progress: Progress | None = None) -> Seeded:
    """Fills an empty shop as the settings say; a shop that was seeded stays as it is.

    Raises:
        OSError, asyncpg.PostgresError: if Postgres is away, or the tables are not the newest ones.
        RedisError: if Redis is away.
    """
    settings = settings or SeedSettings()
    return await fill(settings, settings.plan(SystemClock().now()), progress, keep=True)


async def fill(settings: SeedSettings, plan: Plan, progress: Progress | None = None, *, keep: bool = False) -> Seeded:
    """Fills an empty shop after a plan, or ends what a broken-off run of the same plan began.

    Args:
        settings: logins, and where the stores are.
        plan: what to make.
        progress: told how far it is.
        keep: whether a shop that was seeded before is left as it is, whatever the plan, instead of refused.

    Raises:
        SeedError: if there is something else in the shop already, or not enough room on the disk.
        OSError, asyncpg.PostgresError: if Postgres is away, or the tables are not the newest ones.
        RedisError: if Redis is away.
    """
    say = progress or (lambda _: None)
    began = time.monotonic()
    async with connected(settings) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await marks.prepare(connection)
        mark = await marks.read(connection)
        if keep and mark is not None and mark.complete:
            return Seeded(mark.plan, fresh=False, seconds=time.monotonic() - began, digests={})
        if keep and mark is None and (others := await marks.imports(connection)):
            return Seeded(None, fresh=False, seconds=time.monotonic() - began, digests={}, imports=tuple(others))
        if mark is None:
            await check(connection, settings, plan)
            await marks.begin(connection, plan)
        else:
            if not keep:
                await check(connection, settings, plan)
            plan = mark.plan
        digests = await _fill(connection, settings, plan, say)
    say(Note("product cards and stock into Redis"))
    async with open_resources(settings) as resources:
        await directory.warm(resources.shared_redis, resources.database)
        await reconciler.rebuild(resources)
    return Seeded(plan, fresh=True, seconds=time.monotonic() - began, digests=digests)


async def check(connection: asyncpg.Connection, settings: SeedSettings, plan: Plan) -> None:
    """Whether the shop can be filled after a plan.

    Raises:
        SeedError: if there is something else in it already, or not enough room on the disk.
    """
    await marks.prepare(connection)
    mark = await marks.read(connection)
    if mark is not None:
        if mark.complete:
            raise SeedError(f"the shop was seeded already ({mark.plan.orders:,} orders); --replace makes it anew")
        if dataclasses.replace(plan, now=mark.plan.now) != mark.plan:
            raise SeedError("another data set was begun in this shop and not ended; --replace makes it anew")
        return
    for name in ("orders.orders", "accounts.users", "catalog.products"):
        if await connection.fetchval(f"SELECT EXISTS (SELECT FROM {name})"):  # noqa: S608
            raise SeedError(f"the shop is not empty: there are rows in {name}; --replace makes it anew")
    settings.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(settings.folder).free
    needed = plan.orders * BYTES_AN_ORDER + (LOG_BYTES if plan.orders >= _BARE_FROM else 0)
    if free < needed:
        raise SeedError(f"{needed / 1e9:.0f} GB of disk are needed, {free / 1e9:.0f} GB are free")


async def _fill(connection: asyncpg.Connection, settings: SeedSettings, plan: Plan, say: Progress) -> dict[str, str]:
    tables = [str(table) for table in BULK]
    is_large = plan.orders >= _BARE_FROM
    if is_large:
        say(Note("taking indexes away"))
        if not await marks.chunks(connection):
            await bare.strip(connection, tables)
    written = await marks.chunks(connection)
    waiting = [n for n in range(-(-plan.orders // plan.chunk)) if n not in written]
    say(Note("drawing customers and products"))
    crew = [await _Hand.hire(plan) for _ in range(settings.seed_processes if is_large and len(waiting) > 1 else 0)]
    try:
        rendered = await asyncio.to_thread(renderer, settings, plan)
        writer = Writer(connection, rendered, network(), settings.folder)
        if marks.BASE not in written:
            say(Note(f"{plan.customers:,} customers, {plan.products:,} products"))
            admin_hash, customer_hash = await asyncio.gather(
                asyncio.to_thread(hash_password, settings.admin_password.get_secret_value()),
                asyncio.to_thread(hash_password, settings.demo_password.get_secret_value()),
            )
            await writer.base(settings, admin_hash=admin_hash, customer_hash=customer_hash)
        await _orders(plan, writer, crew, waiting, say)
    finally:
        for hand in crew:
            await hand.dismiss()
    if marks.STOCK not in written:
        say(Note("stock and its ledger"))
        await writer.stock()
    if await connection.fetchval("SELECT EXISTS (SELECT FROM seed.rebuilds)"):
        async with connected(settings, bulk=True) as first, connected(settings, bulk=True) as second:
            await bare.rebuild([first, second], lambda what, done, total: say(Note(what, done, total)))
    if plan.orders:
        say(Note("visits"))
        seen = await asyncio.to_thread(visits.events, rendered.world, visits.LARGE if is_large else visits.SMALL)
        await asyncio.to_thread(seen.write_parquet, settings.folder / visits.FILE)
        writer.join_truth(settings.folder / TRUTH)
    say(Note("statistics"))
    for schema in ("accounts", "catalog", "inventory", "orders", "payments", "shipping", "experiments"):
        names = await connection.fetch("SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = $1", schema)
        await connection.execute(f"ANALYZE {', '.join(f'{schema}.{row[0]}' for row in names)}")
    digests = _joined(await marks.chunks(connection))
    await marks.finish(connection)
    return digests


async def _orders(plan: Plan, writer: Writer, crew: list["_Hand"], waiting: list[int], say: Progress) -> None:
    """Writes the chunks that are not in yet, oldest first."""
    chunks = list(plan.chunks())
    left = sum(len(chunks[number]) for number in waiting)
    done = plan.orders - left
    rows = 0

    def tell(number: int, written: int) -> None:
        nonlocal done, rows
        done += len(chunks[number])
        rows += written
        say(Note("orders", done, plan.orders))

    say(Note("orders", done, plan.orders))
    if not crew:
        for number in waiting:
            tell(number, await writer.chunk(chunks[number]))
        return
    ahead = iter(waiting)

    async def keep_busy(hand: "_Hand") -> None:
        for number in ahead:
            tell(number, await hand.write(number))

    async with asyncio.TaskGroup() as group:
        for hand in crew:
            group.create_task(keep_busy(hand))


class _Hand:
    """A process that writes chunks (see :mod:`seed.worker`)."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def hire(cls, plan: Plan) -> "_Hand":
        """Starts one."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "seed.worker"), stdin=pipe, stdout=pipe, stderr=pipe
        )
        hand = cls(process)
        hand._say(json.dumps(plan_fields(plan)))
        return hand

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def write(self, number: int) -> int:
        """Has a chunk written; returns how many rows it has.

        Raises:
            SeedError: if the process ended instead; with what it said.
        """
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._say(str(number))
        answer = (await self._process.stdout.readline()).decode().split()
        if len(answer) != 2 or int(answer[0]) != number:
            said = (await self._process.stderr.read()).decode().strip()
            raise SeedError(f"a process that writes orders ended: {said.splitlines()[-1] if said else 'no word'}")
        return int(answer[1])

    async def dismiss(self) -> None:
        """Ends it; one that is at work is broken off."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


def _joined(chunks: Mapping[int, Mapping[str, str]]) -> dict[str, str]:
    """One hash for each table: that of its chunks' hashes in their order."""
    tables: dict[str, Any] = {}
    for number in sorted(chunks):
        for name, digest in chunks[number].items():
            tables.setdefault(name, hashlib.blake2b(digest_size=8)).update(bytes.fromhex(digest))
    return {name: tables[name].hexdigest() for name in sorted(tables)}


@asynccontextmanager
async def connected(settings: SeedSettings, *, bulk: bool = False) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the shop's database; ``bulk``: one that need not wait for the disk, and may sort in memory."""
    url = settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
    server = {"application_name": f"{settings.instance}.seed", "timezone": "UTC", "jit": "off"}
    if bulk:
        server |= {
            "synchronous_commit": "off",
            "maintenance_work_mem": "640MB",
            "max_parallel_maintenance_workers": "0",
        }
    connection = await asyncpg.connect(url, timeout=10, server_settings=server)
    try:
        yield connection
    finally:
        await connection.close()


def renderer(settings: SeedSettings, plan: Plan) -> Rendered:
    """The world of a plan, and what its rows say again and again."""
    return Rendered(world(plan, first_email=settings.demo_email), settings.currency)


def network() -> CarrierNetwork:
    """The carriers as set."""
    return ShippingSettings().carriers()


def plan_fields(plan: Plan) -> dict[str, object]:
    """A plan as JSON."""
    fields: dict[str, Any] = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    return {**fields, "now": plan.now.isoformat(), "recorded": plan.recorded.total_seconds()}


def plan_of(fields: Mapping[str, Any]) -> Plan:
    """:func:`plan_fields` back."""
    recorded = dt.timedelta(seconds=fields["recorded"])
    return Plan(**{**fields, "now": dt.datetime.fromisoformat(fields["now"]), "recorded": recorded})

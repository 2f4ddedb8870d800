"""The demo shop: made once, in one transaction, then left alone."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import numpy as np

from kit.clock import SystemClock
from kit.resources import open_resources
from oltp.accounts.passwords import hash_password
from oltp.catalog import directory
from oltp.inventory import reconciler
from oltp.shipping.settings import ShippingSettings
from seed import history, stock
from seed.copy import Table, copy, without_checks
from seed.goods import Goods, goods
from seed.history import Shelves
from seed.ids import uuid7s
from seed.people import Customer, People, people
from seed.placed import placed
from seed.places import WAREHOUSES
from seed.plan import BASE, Plan, demo
from seed.rows import accounts, catalog, inventory, notifications, orders, payments, shipping
from seed.settings import SeedSettings
from seed.stock import Stock
from seed.words import CATEGORIES

Progress = Callable[[str], None]
"""Told what is being done."""

_LOCK: Final = 7_405_311_842_002
_LOADED: Final = ["orders", "inventory", "payments", "shipping"]
_MARKER: Final = """
    CREATE SCHEMA IF NOT EXISTS seed;
    CREATE TABLE IF NOT EXISTS seed.datasets (
        name text PRIMARY KEY,
        seed bigint NOT NULL,
        customers integer NOT NULL,
        products integer NOT NULL,
        orders bigint NOT NULL,
        history_ends_at timestamptz NOT NULL,
        seeded_at timestamptz NOT NULL DEFAULT now()
    )
"""

Rows = Iterator[tuple[Table, list[tuple[Any, ...]]]]


@dataclass(frozen=True, slots=True)
class Seeded:
    """What is there. ``fresh`` says whether this call made it."""

    customers: int
    products: int
    orders: int
    fresh: bool
    seconds: float

    def __str__(self) -> str:
        there = f"{self.customers:,} customers, {self.products:,} products, {self.orders:,} orders"
        return there if self.fresh else f"{there}, as before"


async def ensure(settings: SeedSettings | None = None, progress: Progress | None = None) -> Seeded:
    """Fills an empty shop; a shop that was seeded stays as it is.

    Everything is written in one transaction with the note that it was done: it is there whole or not at all.

    Afterwards Redis is filled from it, which the services would also do by themselves.

    Raises:
        OSError, asyncpg.PostgresError: if Postgres is away, or the tables are not the newest ones.
        RedisError: if Redis is away.
    """
    settings = settings or SeedSettings()
    say = progress or (lambda _: None)
    began = time.monotonic()
    async with _connected(settings) as connection:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await connection.execute(_MARKER)
            found = await connection.fetchrow(
                "SELECT customers, products, orders FROM seed.datasets WHERE name = 'demo'"
            )
            if found is not None:
                there, elapsed = dict(found.items()), time.monotonic() - began
                return Seeded(**there, fresh=False, seconds=elapsed)
            plan = demo(
                SystemClock().now(),
                customers=settings.demo_customers,
                products=settings.demo_products,
                orders=settings.demo_orders,
                seed=settings.demo_seed,
            )
            written = await _fill(connection, plan, settings, say)
            await connection.execute(
                """
                INSERT INTO seed.datasets (name, seed, customers, products, orders, history_ends_at)
                VALUES ('demo', $1, $2, $3, $4, $5)
                """,
                plan.seed,
                plan.customers,
                plan.products,
                plan.orders,
                plan.now,
            )
        say("statistics")
        await connection.execute(f"ANALYZE {', '.join(sorted(written))}")
    say("product cards and stock into Redis")
    async with open_resources(settings) as resources:
        await directory.warm(resources.redis, resources.database)
        await reconciler.rebuild(resources)
    return Seeded(plan.customers, plan.products, plan.orders, fresh=True, seconds=time.monotonic() - began)


@asynccontextmanager
async def _connected(settings: SeedSettings) -> AsyncIterator[asyncpg.Connection]:
    url = settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
    server = {"application_name": f"{settings.instance}.seed", "timezone": "UTC", "synchronous_commit": "on"}
    connection = await asyncpg.connect(url, timeout=10, server_settings=server)
    try:
        yield connection
    finally:
        await connection.close()


@dataclass(frozen=True)
class _Shop:
    """What all chunks share."""

    plan: Plan
    people: People
    goods: Goods
    shelves: Shelves
    stock: Stock
    warehouses: list[uuid.UUID]
    categories: list[uuid.UUID]
    admin_id: uuid.UUID


def _shop(plan: Plan, settings: SeedSettings) -> _Shop:
    customers = people(plan, first_email=settings.demo_email)
    products = goods(plan)
    shelves = stock.shelves(plan, customers, products)
    generator = plan.generator(BASE)
    opened = np.full(len(WAREHOUSES) + len(CATEGORIES) + 1, int(plan.start.timestamp() * 1000) - 3 * 365 * 86_400_000)
    ids = uuid7s(opened, generator)
    return _Shop(
        plan=plan,
        people=customers,
        goods=products,
        shelves=shelves,
        stock=stock.stock(plan, customers, products, shelves),
        warehouses=ids[: len(WAREHOUSES)],
        categories=ids[len(WAREHOUSES) : -1],
        admin_id=ids[-1],
    )


async def _fill(connection: asyncpg.Connection, plan: Plan, settings: SeedSettings, say: Progress) -> set[str]:
    """Writes everything; returns the tables that it wrote."""
    say("drawing customers, products and a year of orders")
    shop = await asyncio.to_thread(_shop, plan, settings)
    admin_hash, customer_hash = await asyncio.gather(
        asyncio.to_thread(hash_password, settings.admin_password.get_secret_value()),
        asyncio.to_thread(hash_password, settings.demo_password.get_secret_value()),
    )
    say(f"{plan.customers:,} customers, {plan.products:,} products")
    admin = accounts.admin(shop.admin_id, settings.admin_email.lower(), admin_hash, plan.start)
    written = set[str]()

    async def write(target: Table, rows: list[tuple[Any, ...]]) -> None:
        await copy(connection, target, rows)
        written.add(f"{target.schema}.{target.name}")

    for target, rows in (admin, *_base(shop, settings, customer_hash)):
        await write(target, rows)
    batches = _chunks(shop, settings)
    done = 0
    async with without_checks(connection, _LOADED):
        batch = await asyncio.to_thread(next, batches, None)
        while batch is not None:
            # the next chunk is drawn while this one is on its way to Postgres
            upcoming = asyncio.create_task(asyncio.to_thread(next, batches, None))
            for target, rows in batch.tables:
                await write(target, rows)
            done += batch.orders
            say(f"{done:,} of {plan.orders:,} orders")
            batch = await upcoming
        say("indexes and foreign keys")
    return written


def _base(shop: _Shop, settings: SeedSettings, password_hash: str) -> Rows:
    yield from accounts.rows(shop.people, password_hash=password_hash)
    yield from catalog.rows(shop.goods, categories=shop.categories, currency=settings.currency, actor_id=shop.admin_id)
    yield from inventory.base(shop.goods, shop.stock, shop.warehouses, now=shop.plan.now)
    yield from shipping.base(shop.warehouses)
    yield from notifications.base(shop.people)


@dataclass(frozen=True, slots=True)
class _Batch:
    orders: int
    tables: list[tuple[Table, list[tuple[Any, ...]]]]


def _chunks(shop: _Shop, settings: SeedSettings) -> Iterator[_Batch]:
    """The rows of each chunk, in the order in which they may be written."""
    balances = inventory.Balances(shop.goods, shop.stock, shop.warehouses)
    warehouses = [str(warehouse) for warehouse in shop.warehouses]
    network = ShippingSettings().carriers()
    for numbers in shop.plan.chunks():
        part = history.chunk(shop.plan, numbers, shop.people, shop.goods, shop.shelves)
        bought = list(placed(part, shop.people, shop.goods))
        yield _Batch(
            len(numbers),
            [
                *orders.rows(bought, currency=settings.currency, warehouses=warehouses),
                *inventory.rows(bought, balances),
                *payments.rows(bought, currency=settings.currency),
                *shipping.rows(bought, shop.warehouses, now=shop.plan.now, network=network),
                *notifications.rows(bought),
            ],
        )


def customers(settings: SeedSettings) -> list[Customer]:
    """The demo customers, as the seed number makes them; their ids depend on when the shop was seeded."""
    plan = demo(SystemClock().now(), customers=settings.demo_customers, seed=settings.demo_seed)
    return people(plan, first_email=settings.demo_email).customers

"""What is there before the clock starts: customers, their tokens and carts, and enough on the shelves.

Everything is written in bulk and in the form in which the shop itself would write it. None of it is measured.
"""

import asyncio
import base64
import math
import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import orjson
from redis.asyncio import Redis

from contracts import redis_keys
from contracts.orders import Address
from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from kit.resources import Resources
from kit.settings import Settings
from oltp.accounts.passwords import hash_password
from oltp.accounts.service import principal_of
from oltp.cart.settings import CartSettings
from oltp.catalog.directory import Directory
from oltp.catalog.settings import CatalogSettings
from oltp.inventory.repository import InventoryReads
from oltp.inventory.schemas import LedgerKind
from oltp.inventory.service import StockService
from seed.copy import copy
from seed.goods import LINES, QUANTITIES
from seed.people import Customer, people
from seed.plan import Plan
from seed.rows import accounts, notifications
from stack.demo import RushSettings
from stack.errors import StackError

Note = Callable[[str], None]

EMAIL: Final = "bench-{number:07d}@bench.example"
"""Marks the customers that exist for measurements alone."""

UNITS_AN_ORDER: Final = sum(n * share for n, share in enumerate(LINES, 1)) * sum(
    n * share for n, share in enumerate(QUANTITIES, 1)
)
TOKEN_SECONDS: Final = 6 * 3600
REDIS_BYTES_AN_ORDER: Final = 10 * 1024
"""Bound on what Redis keeps of an order: cart, idempotency record, acceptance record."""

_SEED: Final = 7_000
_CHUNK: Final = 10_000
_PIPELINE: Final = 1_000
_SUPPLY_SECONDS: Final = 60.0

_SET_CART: Final = """
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""

_CUSTOMERS: Final = "SELECT id::text FROM accounts.users WHERE email LIKE 'bench-%@bench.example' ORDER BY email"
_PRODUCTS: Final = "SELECT id::text FROM catalog.products WHERE active AND currency = $1 ORDER BY id"


@dataclass(frozen=True, slots=True)
class Payments:
    """How the orders are paid: with a token that is captured, but for a share that is declined."""

    declines: float = 0.0
    captured: str = "tok_ok"
    declined: tuple[str, ...] = ("tok_card_declined", "tok_insufficient_funds", "tok_expired_card")

    def token(self, chance: random.Random) -> str:
        """The next order's token."""
        return chance.choice(self.declined) if chance.random() < self.declines else self.captured


@dataclass(frozen=True, slots=True)
class Targets:
    """A file of checkouts. Their idempotency keys are ``{prefix}{number}``, numbers counting from 0."""

    file: Path
    prefix: str
    count: int
    customers: Sequence[str]


class Preparation:
    """Prepares loads of one shop. Consecutive loads have different customers, as long as there are enough."""

    def __init__(self, settings: RushSettings, resources: Resources, folder: Path, note: Note) -> None:
        self._settings = settings
        self._resources = resources
        self._folder = folder
        self._note = note
        self._chance = random.Random()
        self._customers: list[str] = []
        self._next = 0
        self._products: list[str] = []
        self._bodies: dict[str, list[str]] = {}
        self._signing = settings.model_copy(update={"access_token_seconds": TOKEN_SECONDS})

    async def checkouts(self, count: int, payments: Payments | None = None, *, without: str = "") -> Targets:
        """Everything that so many checkouts need, and the file that asks for them; ``without`` one product.

        Raises:
            StackError: if the shop has no products, or Redis no room.
        """
        await self._check_room(count)
        customers = await self.customers(count)
        products = [product for product in await self.products() if product != without]
        await self.restock(dict.fromkeys(products, plenty(count, len(products))))
        await self._fill_carts(customers, lambda: self._cart(products))
        return await self._write(customers, payments or Payments())

    async def sale(self, count: int, product: str) -> Targets:
        """The same for so many customers who all want one unit of one product.

        Raises:
            StackError: if Redis has no room.
        """
        await self._check_room(count)
        customers = await self.customers(count)
        await self._fill_carts(customers, lambda: [product, 1])
        return await self._write(customers, Payments())

    async def _check_room(self, count: int) -> None:
        memory: dict[str, Any] = await self._resources.redis.info("memory")
        room = int(memory["maxmemory"]) - int(memory["used_memory"])
        if memory["maxmemory"] and room < count * REDIS_BYTES_AN_ORDER:
            raise StackError(
                f"Redis has room for {max(0, room) // REDIS_BYTES_AN_ORDER:,} more orders, {count:,} are to be placed",
                "It remembers the keys of a day's orders. Start from an empty shop: surge reset, then surge up.",
            )

    async def customers(self, count: int) -> list[str]:
        """Ids of so many customers; those that are missing are made."""
        if len(self._customers) < count:
            self._note(f"{count:,} customers")
            self._customers = await self._pool(count)
            self._next = self._chance.randrange(len(self._customers))
        pool, first = self._customers, self._next
        self._next = (first + count) % len(pool)
        return [pool[(first + n) % len(pool)] for n in range(count)]

    async def _pool(self, count: int) -> list[str]:
        connection = await asyncpg.connect(database_url(self._settings))
        try:
            known = [row[0] for row in await connection.fetch(_CUSTOMERS)]
            if len(known) >= count:
                return known
            password = await asyncio.to_thread(hash_password, self._settings.demo_password.get_secret_value())
            for chunk in range(len(known) // _CHUNK, -(-count // _CHUNK)):
                crowd = await asyncio.to_thread(_crowd, chunk)
                async with connection.transaction():
                    for table, rows in accounts.rows(crowd, password_hash=password):
                        await copy(connection, table, rows)
                    for table, rows in notifications.base(crowd):
                        await copy(connection, table, rows)
                self._note(f"{(chunk + 1) * _CHUNK:,} customers")
            await connection.execute("ANALYZE accounts.users, accounts.addresses, notifications.contacts")
            return [row[0] for row in await connection.fetch(_CUSTOMERS)]
        finally:
            await connection.close()

    async def products(self) -> list[str]:
        """Ids of everything that is for sale."""
        if not self._products:
            connection = await asyncpg.connect(database_url(self._settings))
            try:
                rows = await connection.fetch(_PRODUCTS, self._settings.currency)
            finally:
                await connection.close()
            self._products = [row[0] for row in rows]
        if len(self._products) < 10:
            raise StackError("the shop has no products: is it seeded?")
        return self._products

    async def restock(self, wanted: dict[str, int]) -> None:
        """Has at least so many units of each product available, by deliveries that the ledger shows.

        Raises:
            StackError: if the gate does not follow the books.
        """
        short = {product: units for product, units in (await self._gate(wanted)).items() if units < wanted[product]}
        if not short:
            return
        resources, now = self._resources, new_id()
        async with resources.database.read() as session:
            admin = await principal_of(session, self._settings.admin_email)
            [site, *_] = await InventoryReads(session).warehouses()
        if admin is None:
            raise StackError(f"the shop has no administrator {self._settings.admin_email}")
        directory = Directory(resources.shared_redis, resources.database, CatalogSettings.beside(self._settings))
        ordered = sorted(short)
        for at in range(0, len(ordered), 100):
            self._note(f"delivering {at:,} of {len(ordered):,} products")
            async with resources.database.write() as session:
                stock = StockService(session, resources.clock, directory)
                for product in ordered[at : at + 100]:
                    # twice what is missing, so that the next run finds its own
                    await stock.change(
                        product_id=product,
                        warehouse_id=site.warehouse.warehouse_id,
                        kind=LedgerKind.RESTOCK,
                        delta=2 * wanted[product] - max(0, short[product]),
                        reason="delivery for a measurement",
                        actor_id=admin.user_id,
                        idempotency_key=f"bench-{now}-{product}",
                    )
        await self._supplied({product: wanted[product] for product in short})

    async def _supplied(self, wanted: dict[str, int]) -> None:
        deadline = asyncio.get_running_loop().time() + _SUPPLY_SECONDS
        while any(units < wanted[product] for product, units in (await self._gate(wanted)).items()):
            self._note("waiting until the gate knows of the deliveries")
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(f"the stock gate did not learn of deliveries within {_SUPPLY_SECONDS:.0f} s")
            await asyncio.sleep(0.2)

    async def _gate(self, products: Sequence[str] | dict[str, int]) -> dict[str, int]:
        ids = list(products)
        values = await self._resources.redis.mget([redis_keys.stock(product) for product in ids])
        return {product: int(value or 0) for product, value in zip(ids, values, strict=True)}

    async def _fill_carts(self, customers: Sequence[str], cart: Callable[[], list[str | int]]) -> None:
        redis: Redis = self._resources.redis
        idle = CartSettings.beside(self._settings).cart_idle_seconds
        set_cart = await redis.script_load(_SET_CART)
        for at in range(0, len(customers), _PIPELINE):
            self._note(f"{at:,} of {len(customers):,} carts")
            async with redis.pipeline(transaction=False) as pipeline:
                for customer in customers[at : at + _PIPELINE]:
                    pipeline.evalsha(set_cart, 1, redis_keys.cart(customer), idle, *cart())
                await pipeline.execute()

    def _cart(self, products: Sequence[str]) -> list[str | int]:
        chance = self._chance
        [lines] = chance.choices(range(1, len(LINES) + 1), weights=LINES)
        units = chance.choices(range(1, len(QUANTITIES) + 1), weights=QUANTITIES, k=lines)
        return [part for line in zip(chance.sample(products, lines), units, strict=True) for part in line]

    async def _write(self, customers: Sequence[str], payments: Payments) -> Targets:
        self._folder.mkdir(parents=True, exist_ok=True)
        prefix = f"bench-{uuid.uuid4().hex[:10]}-"
        targets = Targets(self._folder / f"{prefix}targets", prefix, len(customers), customers)
        url = f"{self._settings.url('gateway')}/api/orders/checkout"
        now = SystemClock().now()
        with targets.file.open("wb") as file:
            for number, customer in enumerate(customers):
                if number % 2_000 == 0:
                    self._note(f"{number:,} of {len(customers):,} tokens")
                    await asyncio.sleep(0)
                token = issue_access_token(self._signing, Principal(customer, Role.CUSTOMER), now)
                # a fragment is not sent: it tells which target a result is of
                target = {
                    "method": "POST",
                    "url": f"{url}#{number}",
                    "body": self._body(payments.token(self._chance)),
                    "header": {
                        "Authorization": [f"Bearer {token}"],
                        "Content-Type": ["application/json"],
                        "Idempotency-Key": [f"{prefix}{number}"],
                    },
                }
                file.write(orjson.dumps(target, option=orjson.OPT_APPEND_NEWLINE))
        return targets

    def _body(self, token: str) -> str:
        if token not in self._bodies:
            addresses = [customer.address for customer in _crowd(0, 1_000)]
            self._bodies[token] = [_checkout(address, token) for address in addresses]
        return self._chance.choice(self._bodies[token])


def plenty(orders: int, products: int) -> int:
    """Units of each product that so many orders, drawn evenly, practically never use up."""
    mean = orders * UNITS_AN_ORDER / products
    return math.ceil(mean + 6 * math.sqrt(mean)) + 6


def _checkout(address: Address, token: str) -> str:
    fields = {name: getattr(address, name) for name in address.__struct_fields__}
    body = {"shipping_address": fields, "payment_method": {"type": "wallet", "token": token}}
    return base64.b64encode(orjson.dumps(body)).decode()


def _crowd(chunk: int, size: int = _CHUNK) -> list[Customer]:
    """The customers of one chunk: like the demo's, with emails that mark them."""
    plan = Plan(customers=size, products=1, orders=0, now=SystemClock().now(), seed=_SEED + chunk)
    return [
        Customer(c.user_id, c.name, EMAIL.format(number=chunk * _CHUNK + n), c.phone, c.registered_at, c.address)
        for n, c in enumerate(people(plan).customers)
    ]


def database_url(settings: Settings) -> str:
    """The shop's database, as asyncpg takes it."""
    return settings.database_url.get_secret_value().replace("+asyncpg", "", 1)

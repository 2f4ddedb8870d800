"""A load on the running shop, the means to hurt it, and what must be true afterwards."""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx
import pytest

from audit.report import Report
from audit.run import run as audit
from stack import instance
from stack.chaos.customers import HOME
from stack.shoppers import GOOD_TOKENS, METHODS, SETTLED, Offer, Shopper, Tracked, choose_cart, offers
from stack.supervision import ProcessState, Supervisor
from tests.shop import Shop

Payment = Callable[[random.Random], tuple[str, str]]
"""Chooses method and token of an order."""


def good_payment(chance: random.Random) -> tuple[str, str]:
    """A method whose charge goes through."""
    method = chance.choices(list(METHODS), weights=list(METHODS.values()))[0]
    return method, GOOD_TOKENS[method]


@dataclass(frozen=True, slots=True)
class Bought:
    """An accepted order: what it was for, and how it was to be paid."""

    order: Tracked
    units: dict[str, int]
    token: str


@dataclass
class Rig:
    """The running shop as those see it who test its faults."""

    shop: Shop
    http: httpx.AsyncClient
    database: asyncpg.Pool
    shelf: list[Offer]
    supervisor: Supervisor
    chance: random.Random = field(default_factory=lambda: random.Random(20_261_123))

    async def buy(
        self, payment: Payment = good_payment, cart: dict[str, int] | None = None, *, patience: float = 60
    ) -> Bought:
        """One order of a customer who goes on trying for so many seconds.

        Raises:
            Refused, ShopAway: if the shop doesn't take it.
        """
        shopper = Shopper(self.http, HOME, patience=patience)
        shopper.token = self.shop.issue().token
        units = cart or choose_cart(self.chance, self.shelf)
        method, token = payment(self.chance)
        await shopper.fill_cart(units)
        return Bought(await shopper.check_out(method, token), units, token)

    async def load(
        self, *, rate: float, seconds: float, payment: Payment = good_payment, patience: float = 60
    ) -> list[Bought]:
        """Orders at a steady rate, each one whether or not those before it were answered."""
        tasks = []
        began = time.monotonic()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            tasks.append(asyncio.create_task(self.buy(payment, patience=patience)))
        return list(await asyncio.gather(*tasks))

    async def rush(self, count: int, *, concurrency: int = 24, payment: Payment = good_payment) -> list[Bought]:
        """So many orders, so many at a time."""
        slots = asyncio.Semaphore(concurrency)

        async def buy() -> Bought:
            async with slots:
                return await self.buy(payment)

        return list(await asyncio.gather(*(buy() for _ in range(count))))

    def state(self, process: str) -> ProcessState:
        """A process as its supervisor sees it."""
        return self.supervisor.states()[process]

    def kill(self, process: str) -> int:
        """Ends a process by SIGKILL and returns the id that it had."""
        pid = self.state(process).pid
        assert pid, f"{process} does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    async def statuses(self, order_ids: Sequence[str]) -> dict[str, tuple[str, str | None]]:
        """Status and cancel reason of orders, as far as they are written; nothing while Postgres is away."""
        query = "SELECT id::text, status, cancel_reason FROM orders.orders WHERE id = ANY($1::uuid[])"
        try:
            rows = await self.database.fetch(query, list(order_ids))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return {}
        return {row["id"]: (row["status"], row["cancel_reason"]) for row in rows}

    async def settled(
        self, order_ids: Sequence[str], *, within: float, ends: frozenset[str] = SETTLED
    ) -> "Counter[str]":
        """How the orders ended, as ``status`` or ``cancelled: reason``.

        Fails if any of them has not come to one of ``ends`` when the time is up.
        """
        deadline = time.monotonic() + within
        while True:
            found = await self.statuses(order_ids)
            open_ = [order_id for order_id in order_ids if found.get(order_id, ("unwritten",))[0] not in ends]
            if not open_:
                return Counter(f"{status}: {reason}" if reason else status for status, reason in found.values())
            if time.monotonic() > deadline:
                where = Counter(found.get(order_id, ("unwritten",))[0] for order_id in open_)
                raise AssertionError(f"{len(open_)} of {len(order_ids)} orders after {within:.0f} s: {dict(where)}")
            await asyncio.sleep(0.25)

    async def available(self) -> dict[str, int]:
        """Units of each product that can be bought, by the books."""
        rows = await self.database.fetch(
            "SELECT product_id::text AS id, sum(quantity - reserved_quantity)::int AS units "
            "FROM inventory.inventory GROUP BY 1"
        )
        return {row["id"]: row["units"] for row in rows}

    async def counters(self) -> dict[str, int]:
        """Units of each product that can be bought, by Redis."""
        from redis.asyncio import Redis

        from contracts import redis_keys

        client = Redis.from_url(self.shop.settings.redis_url.get_secret_value(), decode_responses=True)
        try:
            products = list(await self.available())
            values = await client.mget([redis_keys.stock(product_id) for product_id in products])
            return {product_id: int(value) for product_id, value in zip(products, values, strict=True)}
        finally:
            await client.aclose()


async def open_rig(shop: Shop, http: httpx.AsyncClient, database: asyncpg.Pool) -> Rig:
    """The rig of a seeded shop, whose well-stocked products are bought."""
    shelf = [offer for offer in await offers(http) if offer.stock >= 50]
    return Rig(shop, http, database, shelf, Supervisor(instance.current()))


async def clean_audit(wait: float = 30, *, rest: bool = True) -> Report:
    """The audit of the shop; fails with what is broken, or if the shop finds no rest but should."""
    report = await audit(wait=wait, rest=rest)
    broken: dict[str, Any] = {f.key: [str(offender) for offender in f.offenders[:5]] for f in report.broken}
    assert not broken, broken
    assert report.quiet or not rest, report.unrest
    assert not report.not_judged, [f"{finding.key}: {finding.note}" for finding in report.not_judged]
    return report


@pytest.fixture
async def rig(shop: Shop) -> AsyncIterator[Rig]:
    """The running shop under test, quiet at the start."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=50)
    url = shop.settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
    async with (
        httpx.AsyncClient(base_url=shop.base_url, timeout=8, limits=limits) as http,
        asyncpg.create_pool(url, min_size=0, max_size=4, timeout=5) as database,
    ):
        yield await open_rig(shop, http, database)

"""What visitors are drawn from: the shop's customers, and what lies on its shelves right now."""

import asyncio
import random
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import structlog
from redis.asyncio import Redis

from contracts import redis_keys
from contracts.orders import Address
from kit.settings import Settings
from kit.transient import is_transient
from stack.errors import StackError
from stack.shoppers import Offer

log = structlog.get_logger()

MOST: Final = 20_000
"""Customers and products that are drawn from; a larger shop's are the first by id."""

_LOOK_SECONDS: Final = 1.0

NEWEST: Final = 200
"""The customers who registered last, as many."""

_CUSTOMERS: Final = """
    SELECT u.id::text AS user_id, a.name, a.line1, a.line2, a.city, a.region, a.postal_code, a.country, a.phone,
           a.latitude, a.longitude, coalesce(o.client_ip, '') AS client_ip
    FROM (
        SELECT id, created_at FROM accounts.users WHERE role = 'customer' AND status = 'active'
        ORDER BY {order} LIMIT $1
    ) AS u
    JOIN accounts.addresses AS a ON a.user_id = u.id AND a.is_default
    LEFT JOIN LATERAL (
        SELECT client_ip FROM orders.orders WHERE user_id = u.id ORDER BY created_at DESC LIMIT 1
    ) AS o ON true
    ORDER BY u.{order}
"""
_PRODUCTS: Final = "SELECT id::text FROM catalog.products WHERE active ORDER BY id LIMIT $1"


@dataclass(frozen=True, slots=True)
class Buyer:
    """A customer, their default address, and where their last order came from; empty: not known."""

    user_id: str
    address: Address
    client_ip: str = ""


@dataclass(frozen=True, slots=True)
class Stock:
    """What the shop has: customers who have an address, those who registered last, and the ids of its products."""

    buyers: list[Buyer]
    newest: list[Buyer]
    products: list[str]


class Shelf:
    """Products that are in stock, as Redis says, looked at every second. Also a task."""

    name = "shelf"

    def __init__(self, redis: Redis, products: list[str]) -> None:
        self.ready = True
        self.offers: list[Offer] = []
        self._redis = redis
        self._products = products

    async def look(self) -> None:
        """Looks at the stock once.

        Raises:
            RedisError, OSError: if Redis is away.
        """
        left = await self._redis.mget([redis_keys.stock(product_id) for product_id in self._products])
        self.offers = [
            Offer(product_id, int(units))
            for product_id, units in zip(self._products, left, strict=True)
            if units is not None and int(units) > 0
        ]

    async def run(self) -> None:
        """Keeps looking until cancelled; with Redis away, what was seen last stands."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("generate.redis_away", error=repr(error))


async def load(settings: Settings) -> Stock:
    """The shop's customers and products, at most :data:`MOST` of each.

    Raises:
        StackError: if Postgres is away, or there is nobody, or nothing to sell.
    """
    try:
        connection = await asyncpg.connect(
            settings.database_url.get_secret_value().replace("+asyncpg", "", 1), timeout=10
        )
        try:
            buyers = [_buyer(row) for row in await connection.fetch(_CUSTOMERS.format(order="id"), MOST)]
            latest = await connection.fetch(_CUSTOMERS.format(order="created_at DESC"), NEWEST)
            products = [row["id"] for row in await connection.fetch(_PRODUCTS, MOST)]
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StackError(f"the shop's customers and products can't be read: {error}") from error
    if not buyers or not products:
        raise StackError("the shop has no customers with an address, or no products", "Fill it with `surge seed`.")
    return Stock(buyers, [_buyer(row) for row in latest], products)


def _buyer(row: Any) -> Buyer:
    fields = dict(row)
    user_id: str = fields.pop("user_id")
    client_ip: str = fields.pop("client_ip")
    return Buyer(user_id, Address(**fields), client_ip)


def draw(chance: random.Random, buyers: list[Buyer]) -> Buyer:
    """Somebody."""
    return buyers[int(chance.random() * len(buyers))]

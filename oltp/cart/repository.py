"""Every Redis command on carts."""

from collections.abc import Mapping, Sequence
from typing import Final

from redis.asyncio import Redis

from contracts import redis_keys
from oltp.cart.errors import CartFull, NotInCart, QuantityLimit
from oltp.cart.settings import CartSettings

_ADD: Final = """
local present = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) or 0
local wanted = math.max(present, 0) + tonumber(ARGV[2])
if wanted > tonumber(ARGV[3]) then return {'quantity', present} end
if present == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {'lines', 0} end
redis.call('HSET', KEYS[1], ARGV[1], wanted)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {'done', wanted}
"""

_CHANGE: Final = """
local present = redis.call('HGET', KEYS[1], ARGV[1])
if not present then return {'absent', 0} end
if tonumber(ARGV[2]) > tonumber(ARGV[3]) then return {'quantity', tonumber(present) or 0} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'done', tonumber(present) or 0}
"""


class Carts:
    """Carts by customer. Limits are checked where the quantity is written, so parallel additions can't pass them."""

    def __init__(self, redis: Redis, settings: CartSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._add = redis.register_script(_ADD)
        self._change = redis.register_script(_CHANGE)

    async def get(self, user_id: str) -> dict[str, int]:
        """Units by product; looking at a cart keeps it."""
        key = redis_keys.cart(user_id)
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.hgetall(key)
            pipeline.expire(key, self._settings.cart_idle_seconds)
            stored, _ = await pipeline.execute()
        return _quantities(stored)

    async def add(self, user_id: str, product_id: str, quantity: int) -> None:
        """Adds units to what the cart holds of a product.

        Raises:
            QuantityLimit, CartFull
        """
        settings = self._settings
        outcome, present = await self._add(
            keys=[redis_keys.cart(user_id)],
            args=[
                product_id,
                quantity,
                settings.cart_max_quantity,
                settings.cart_max_lines,
                settings.cart_idle_seconds,
            ],
        )
        match outcome:
            case "quantity":
                raise QuantityLimit(settings.cart_max_quantity, present)
            case "lines":
                raise CartFull(settings.cart_max_lines)

    async def change(self, user_id: str, product_id: str, quantity: int) -> int:
        """Sets how many units of a product the cart holds; returns how many it held.

        Raises:
            NotInCart, QuantityLimit
        """
        settings = self._settings
        outcome, present = await self._change(
            keys=[redis_keys.cart(user_id)],
            args=[product_id, quantity, settings.cart_max_quantity, settings.cart_idle_seconds],
        )
        match outcome:
            case "absent":
                raise NotInCart("The cart does not hold this product; add it first.")
            case "quantity":
                raise QuantityLimit(settings.cart_max_quantity, present)
        return int(present)

    async def remove(self, user_id: str, product_ids: Sequence[str]) -> list[int]:
        """Takes products out; returns how many units of each were in it."""
        if not product_ids:
            return []
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(redis_keys.cart(user_id), list(product_ids))
            pipeline.hdel(redis_keys.cart(user_id), *product_ids)
            before, _ = await pipeline.execute()
        return [max(0, _number(value) or 0) for value in before]

    async def clear(self, user_id: str) -> dict[str, int]:
        """Empties the cart; returns the units by product that were in it."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(redis_keys.cart(user_id))
            pipeline.delete(redis_keys.cart(user_id))
            before, _ = await pipeline.execute()
        return _quantities(before)

    async def stock(self, product_ids: Sequence[str]) -> dict[str, int | None]:
        """Units left of products, by what reservation goes by; None where that is not known."""
        if not product_ids:
            return {}
        stored = await self._redis.mget([redis_keys.stock(product_id) for product_id in product_ids])
        return {product_id: _number(value) for product_id, value in zip(product_ids, stored, strict=True)}


def _quantities(stored: Mapping[str, str]) -> dict[str, int]:
    quantities = {product_id: _number(value) for product_id, value in stored.items()}
    return {product_id: quantity for product_id, quantity in quantities.items() if quantity and quantity > 0}


def _number(stored: str | bytes | None) -> int | None:
    try:
        return None if stored is None else int(stored)
    except ValueError:
        return None

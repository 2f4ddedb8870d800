"""Every Redis command on carts."""

from collections.abc import Sequence
from typing import Final

from contracts import redis_keys
from kit.shared_redis import Script, SharedRedis
from oltp.cart.errors import CartFull, NotInCart, QuantityLimit
from oltp.cart.settings import CartSettings

# every script answers with what the cart holds when it is done, last
# KEYS: cart; ARGV: seconds until an idle cart is forgotten
_GET: Final = Script("""
redis.call('EXPIRE', KEYS[1], ARGV[1])
return redis.call('HGETALL', KEYS[1])
""")

# KEYS: cart; ARGV: product, units, most units, most lines, seconds as above
_ADD: Final = Script("""
local present = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or 0) or 0
local wanted = math.max(present, 0) + tonumber(ARGV[2])
if wanted > tonumber(ARGV[3]) then return {'quantity', present} end
if present == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return {'lines', 0} end
redis.call('HSET', KEYS[1], ARGV[1], wanted)
redis.call('EXPIRE', KEYS[1], ARGV[5])
return {'done', wanted, redis.call('HGETALL', KEYS[1])}
""")

# KEYS: cart; ARGV: product, units, most units, seconds as above
_CHANGE: Final = Script("""
local present = redis.call('HGET', KEYS[1], ARGV[1])
if not present then return {'absent', 0} end
if tonumber(ARGV[2]) > tonumber(ARGV[3]) then return {'quantity', tonumber(present) or 0} end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return {'done', tonumber(present) or 0, redis.call('HGETALL', KEYS[1])}
""")

# KEYS: cart; ARGV: seconds as above, then products
_REMOVE: Final = Script("""
local before = redis.call('HMGET', KEYS[1], unpack(ARGV, 2))
redis.call('HDEL', KEYS[1], unpack(ARGV, 2))
redis.call('EXPIRE', KEYS[1], ARGV[1])
return {before, redis.call('HGETALL', KEYS[1])}
""")

_CLEAR: Final = Script("""
local before = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1])
return before
""")


class Carts:
    """Carts by customer. Limits are checked where the quantity is written, so parallel additions can't pass them.

    A cart is units by product. Looking at one, or changing it, keeps it.
    """

    def __init__(self, redis: SharedRedis, settings: CartSettings) -> None:
        self._redis = redis
        self._settings = settings

    async def get(self, user_id: str) -> dict[str, int]:
        """What the cart holds."""
        return _cart(await self._redis.run(_GET, [redis_keys.cart(user_id)], [self._settings.cart_idle_seconds]))

    async def add(self, user_id: str, product_id: str, quantity: int) -> dict[str, int]:
        """Adds units to what the cart holds of a product; returns what it holds now.

        Raises:
            QuantityLimit, CartFull
        """
        settings = self._settings
        outcome, present, *held = await self._redis.run(
            _ADD,
            [redis_keys.cart(user_id)],
            [product_id, quantity, settings.cart_max_quantity, settings.cart_max_lines, settings.cart_idle_seconds],
        )
        match outcome:
            case "quantity":
                raise QuantityLimit(settings.cart_max_quantity, present)
            case "lines":
                raise CartFull(settings.cart_max_lines)
        return _cart(held[0])

    async def change(self, user_id: str, product_id: str, quantity: int) -> tuple[int, dict[str, int]]:
        """Sets how many units of a product the cart holds; returns how many it held, and what it holds now.

        Raises:
            NotInCart, QuantityLimit
        """
        settings = self._settings
        outcome, present, *held = await self._redis.run(
            _CHANGE,
            [redis_keys.cart(user_id)],
            [product_id, quantity, settings.cart_max_quantity, settings.cart_idle_seconds],
        )
        match outcome:
            case "absent":
                raise NotInCart("The cart does not hold this product; add it first.")
            case "quantity":
                raise QuantityLimit(settings.cart_max_quantity, present)
        return int(present), _cart(held[0])

    async def remove(self, user_id: str, product_ids: Sequence[str]) -> tuple[list[int], dict[str, int]]:
        """Takes products (at least one) out; returns how many units of each were in it, and what it holds now."""
        before, held = await self._redis.run(
            _REMOVE, [redis_keys.cart(user_id)], [self._settings.cart_idle_seconds, *product_ids]
        )
        return [max(0, _number(value) or 0) for value in before], _cart(held)

    async def clear(self, user_id: str) -> dict[str, int]:
        """Empties the cart; returns what was in it."""
        return _cart(await self._redis.run(_CLEAR, [redis_keys.cart(user_id)]))

    async def stock(self, product_ids: Sequence[str]) -> dict[str, int | None]:
        """Units left of products, by what reservation goes by; None where that is not known."""
        if not product_ids:
            return {}
        stored = await self._redis.call("MGET", *map(redis_keys.stock, product_ids))
        return {product_id: _number(value) for product_id, value in zip(product_ids, stored, strict=True)}


def _cart(stored: Sequence[str]) -> dict[str, int]:
    """What a hash, as a flat list, says that can be bought."""
    quantities = {stored[at]: _number(stored[at + 1]) for at in range(0, len(stored), 2)}
    return {product_id: quantity for product_id, quantity in quantities.items() if quantity and quantity > 0}


def _number(stored: str | None) -> int | None:
    try:
        return None if stored is None else int(stored)
    except ValueError:
        return None

"""Redis at the shop's door: idempotency records, the customer's rate, the cart, flash sales and the advisory stock.

An idempotency record is a hash. While its checkout is under way it holds the order as it will be produced (``order``),
since when (``claimed_at``, the Redis server's milliseconds) and, in a flash sale, how many units others want beyond
those that there are (``ahead``); afterwards the answer. Each script decides and writes in one step.

A flash sale lets through as many units' worth of orders as there are units and places to wait, and no more to one
customer than the sale allows. Who gets a unit is decided by inventory, in the order of the log.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from contracts import redis_keys
from contracts.admission import AcceptedOrder, accepted_message
from contracts.events import OrderCreated
from contracts.orders import OrderLine
from contracts.sales import SaleCard
from kit.shared_redis import Script, SharedRedis
from oltp.gateway import domain
from oltp.gateway.settings import GatewaySettings
from oltp.sales import gate

EPOCH: Final = "idempotency:epoch"
"""Present as long as Redis remembers every key of the last hours; a Redis that lost its data lost this too.

Its value is the moment (the Redis server's milliseconds) until when it is in doubt: an order that was on its way into
the log when Redis lost its data may still arrive.
"""

_WINDOW_MS: Final = 60_000
_encoder: Final = msgspec.json.Encoder()
_order_decoder: Final = msgspec.json.Decoder(OrderCreated)

_NOW: Final = "local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
_RECORD: Final = "'order_id', 'request_hash', 'claimed_at', 'order', 'ahead', 'answer'"

# KEYS: record, cart, epoch, then sale and customers of each flash sale that runs; ARGV: customer, then their products
_LOOK: Final = Script(f"""
{_NOW}
local counted = {{}}
for sale = 1, #ARGV - 1 do
  if redis.call('HEXISTS', KEYS[2], ARGV[sale + 1]) == 1 then
    local all = redis.call('HMGET', KEYS[2 + 2 * sale], 'claimed', 'sold')
    local bought = redis.call('HGET', KEYS[3 + 2 * sale], ARGV[1])
    counted[#counted + 1] = {{ARGV[sale + 1], tonumber(bought or 0), tonumber(all[1] or 0), tonumber(all[2] or 0)}}
  end
end
return {{
  redis.call('EXISTS', KEYS[3]), now, redis.call('HMGET', KEYS[1], {_RECORD}), redis.call('HGETALL', KEYS[2]), counted
}}
""")

# KEYS: record, epoch, attempts, cart, running, then the stock of each line; of a flash sale: sale, claims, customers
# ARGV: order id, request hash, order, record's life, limit, window, longest run, number of lines, then product id and
# units of each line; of a flash sale: which line, units, waiting places, most a customer, customer, when to forget it
_CLAIM: Final = Script(f"""
local certain_from = redis.call('GET', KEYS[2])
if not certain_from then return {{'forgotten'}} end
{_NOW}
local doubt = (tonumber(certain_from) or 0) > now and 1 or 0
local known = redis.call('HMGET', KEYS[1], {_RECORD})
if known[1] then return {{'known', now, known}} end

local lines = tonumber(ARGV[8])
for line = 1, lines do
  local units = redis.call('HGET', KEYS[4], ARGV[7 + 2 * line])
  if not units or tonumber(units) < tonumber(ARGV[8 + 2 * line]) then return {{'cart_changed'}} end
end
if redis.call('EXISTS', KEYS[5]) == 1 then return {{'busy'}} end

local limit, window = tonumber(ARGV[5]), tonumber(ARGV[6])
local remaining, reset = -1, 0
if limit > 0 then
  local attempts = redis.call('LRANGE', KEYS[3], 0, limit - 1)
  local used = 0
  while used < #attempts and tonumber(attempts[used + 1]) > now - window do used = used + 1 end
  local oldest = tonumber(attempts[used] or now)
  reset = oldest + window - now
  if used >= limit then return {{'limited', reset}} end
  redis.call('LPUSH', KEYS[3], now)
  redis.call('LTRIM', KEYS[3], 0, limit - 1)
  redis.call('PEXPIRE', KEYS[3], window)
  remaining = limit - used - 1
end

local first = 8 + 2 * lines
local on_sale = tonumber(ARGV[first + 1] or 0)
local wanted, ahead = 0, 0
if on_sale > 0 then
  wanted = tonumber(ARGV[8 + 2 * on_sale])
  local units, places = tonumber(ARGV[first + 2]), tonumber(ARGV[first + 3])
  local bought = tonumber(redis.call('HGET', KEYS[lines + 8], ARGV[first + 5]) or 0)
  if bought + wanted > tonumber(ARGV[first + 4]) then return {{'bought', remaining, reset, bought}} end
  local counted = redis.call('HMGET', KEYS[lines + 6], 'claimed', 'sold')
  local claimed, sold = tonumber(counted[1] or 0), tonumber(counted[2] or 0)
  if sold + wanted > units or claimed + wanted > units + places then return {{'sold_out', remaining, reset}} end
  ahead = math.max(0, claimed + wanted - units)
end

local short = {{}}
for line = 1, lines do
  local left = line ~= on_sale and redis.call('GET', KEYS[5 + line])
  if left and tonumber(left) < tonumber(ARGV[8 + 2 * line]) then
    short[#short + 1] = ARGV[7 + 2 * line]
    short[#short + 1] = tostring(math.max(0, tonumber(left)))
  end
end
if #short > 0 then return {{'short', remaining, reset, short}} end

if on_sale > 0 then
  local claim = string.format('%s:%d:claimed:%d', ARGV[first + 5], wanted, now)
  redis.call('HINCRBY', KEYS[lines + 6], 'claimed', wanted)
  redis.call('HSET', KEYS[lines + 7], ARGV[1], claim)
  redis.call('HINCRBY', KEYS[lines + 8], ARGV[first + 5], wanted)
  for key = lines + 6, lines + 8 do redis.call('PEXPIREAT', KEYS[key], ARGV[first + 6]) end
  redis.call('HSET', KEYS[1], 'ahead', ahead)
end
redis.call('HSET', KEYS[1], 'order_id', ARGV[1], 'request_hash', ARGV[2], 'order', ARGV[3], 'claimed_at', now)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('SET', KEYS[5], ARGV[1], 'PX', ARGV[7])
return {{'claimed', remaining, reset, ahead, doubt}}
""")

# KEYS: record, epoch; ARGV: the claim's time as it was seen
_TAKE_OVER: Final = Script(f"""
if redis.call('HGET', KEYS[1], 'claimed_at') ~= ARGV[1] then return {{0, 0}} end
{_NOW}
redis.call('HSET', KEYS[1], 'claimed_at', now)
return {{1, (tonumber(redis.call('GET', KEYS[2]) or '0') or 0) > now and 1 or 0}}
""")

# KEYS: record, running; ARGV: order id
_LET_GO: Final = Script("""
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
if redis.call('HGET', KEYS[1], 'order_id') ~= ARGV[1] or redis.call('HEXISTS', KEYS[1], 'answer') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'claimed_at', 0)
return 1
""")

# KEYS: record, cart, accepted order, running, recent orders ARGV: order id, request hash, answer, record's life,
# accepted order, its time, the customer's channel, what to say there (nothing: ''), then product id and units of each
# line
_FINISH: Final = Script(f"""
local known = redis.call('HMGET', KEYS[1], 'order_id', 'answer')
if known[1] and known[1] ~= ARGV[1] then
  {_NOW}
  return {{now, redis.call('HMGET', KEYS[1], {_RECORD})}}
end
if known[2] then return {{}} end
redis.call('HSET', KEYS[1], 'order_id', ARGV[1], 'request_hash', ARGV[2], 'answer', ARGV[3])
redis.call('HDEL', KEYS[1], 'order', 'claimed_at', 'ahead')
redis.call('PEXPIRE', KEYS[1], ARGV[4])
for line = 9, #ARGV, 2 do
  if redis.call('HINCRBY', KEYS[2], ARGV[line], -ARGV[line + 1]) <= 0 then redis.call('HDEL', KEYS[2], ARGV[line]) end
end
redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[4])
redis.call('ZADD', KEYS[5], ARGV[6], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', ARGV[6] - ARGV[4])
redis.call('PEXPIRE', KEYS[5], ARGV[4])
if redis.call('GET', KEYS[4]) == ARGV[1] then redis.call('DEL', KEYS[4]) end
if ARGV[8] ~= '' then redis.call('PUBLISH', ARGV[7], ARGV[8]) end
return {{}}
""")

# KEYS: record, cart, running
# ARGV: the claim's order id, the other order's id, its request hash, its answer, record's life, its lines as above
_GIVE_WAY: Final = Script("""
if redis.call('GET', KEYS[3]) == ARGV[1] then redis.call('DEL', KEYS[3]) end
if redis.call('HGET', KEYS[1], 'order_id') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'order_id', ARGV[2], 'request_hash', ARGV[3], 'answer', ARGV[4])
redis.call('HDEL', KEYS[1], 'order', 'ahead', 'claimed_at')
redis.call('PEXPIRE', KEYS[1], ARGV[5])
for line = 6, #ARGV, 2 do
  if redis.call('HINCRBY', KEYS[2], ARGV[line], -ARGV[line + 1]) <= 0 then redis.call('HDEL', KEYS[2], ARGV[line]) end
end
return 1
""")

# KEYS: record; ARGV: order id, request hash, answer, record's life
_REMEMBER: Final = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'order_id', ARGV[1], 'request_hash', ARGV[2], 'answer', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1
""")


def record_key(user_id: str, key: str) -> str:
    """HASH, the idempotency record of one customer's key."""
    return f"idempotency:{user_id}:{key}"


def attempts_key(user_id: str) -> str:
    """LIST of the times of a customer's latest checkouts, newest first, at most as many as the limit."""
    return f"checkout_attempts:{user_id}"


def running_key(user_id: str) -> str:
    """STRING, id of the order that a customer's cart is just becoming."""
    return f"checkout_running:{user_id}"


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a key. ``answer`` is None while the checkout is under way; then ``order`` is not.

    ``ahead`` is the claim's (:class:`Claimed`).
    """

    order_id: str
    request_hash: str
    claimed_at: str
    age_ms: int
    order: OrderCreated | None
    answer: bytes | None
    ahead: int = 0


@dataclass(frozen=True, slots=True)
class Counted:
    """Units of a flash sale: that the customer has or waits for, that all have or wait for, and that are paid."""

    bought: int
    claimed: int
    sold: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What Redis knows when a checkout comes in. ``remembers``: whether a key without a record is really new.

    ``counted`` is by product, of those in the cart that are in a flash sale.
    """

    remembers: bool
    record: Record | None
    cart: dict[str, int]
    counted: dict[str, Counted] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rate:
    """Where a customer stands: checkouts left and seconds until one more is free. ``remaining`` < 0: no limit."""

    remaining: int
    reset_seconds: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """The key is this request's; it has to produce the order.

    ``ahead``: how many units others want, and the order itself, beyond those of the flash sale. ``doubt``: an order by
    this key may be on its way.
    """

    rate: Rate
    ahead: int = 0
    doubt: bool = False


@dataclass(frozen=True, slots=True)
class TakenOver:
    """An abandoned claim is this request's now; ``doubt`` as in :class:`Claimed`."""

    doubt: bool


@dataclass(frozen=True, slots=True)
class OtherOrder:
    """An order that the saga wrote under a key, as its checkout was answered."""

    order_id: str
    request_hash: str
    answer: bytes
    units: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Known:
    """Another request had the key first."""

    record: Record


@dataclass(frozen=True, slots=True)
class Limited:
    """The customer has tried too often."""

    rate: Rate


@dataclass(frozen=True, slots=True)
class Short:
    """Products (and their units left) of which there is not enough."""

    left: dict[str, int]


@dataclass(frozen=True, slots=True)
class NothingLeft:
    """The flash sale has no unit, and no place to wait for one."""


@dataclass(frozen=True, slots=True)
class HasEnough:
    """The customer has, or waits for, so many units in the flash sale that these would be too many."""

    bought: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Redis lost its data a moment ago."""


@dataclass(frozen=True, slots=True)
class CartChanged:
    """The cart no longer holds what was priced."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The customer's cart is just being bought under another key."""


Verdict = Claimed | Known | Limited | NothingLeft | HasEnough | Short | Forgotten | CartChanged | Busy


def turned_away(counted: Counted, wanted: int, sale: SaleCard) -> NothingLeft | HasEnough | None:
    """Whether the sale would refuse a claim for so many units: asked first, it spares the making of an order."""
    if counted.bought + wanted > sale.units_per_customer:
        return HasEnough(counted.bought)
    if counted.sold + wanted > sale.units or counted.claimed + wanted > sale.units + sale.waiting_places:
        return NothingLeft()
    return None


def _record(now: int, fields: Sequence[str | None]) -> Record | None:
    order_id, request_hash, claimed_at, order, ahead, answer = fields
    if order_id is None:
        return None
    return Record(
        order_id=order_id,
        request_hash=request_hash or "",
        claimed_at=claimed_at or "0",
        age_ms=now - int(claimed_at or 0),
        order=_order_decoder.decode(order) if order is not None else None,
        answer=answer.encode() if answer is not None else None,
        ahead=int(ahead or 0),
    )


def _rate(remaining: int, reset_ms: int) -> Rate:
    return Rate(remaining, max(1, -(-reset_ms // 1000)) if remaining >= 0 else 0)


class Admission:
    """The scripts."""

    def __init__(self, redis: SharedRedis, settings: GatewaySettings) -> None:
        self._run = redis.run
        self._limit = settings.checkout_limit_per_minute
        self._life_ms = settings.idempotency_hours * 3_600_000
        self._longest_run_ms = int(settings.checkout_takeover_seconds * 1000)

    async def look(self, user_id: str, key: str, running: Iterable[SaleCard] = ()) -> Seen:
        """The key's record, the customer's cart, and how those of the running flash sales stand that it is about."""
        keys, args = [record_key(user_id, key), redis_keys.cart(user_id), EPOCH], [user_id]
        for sale in running:
            keys += (redis_keys.sale(sale.sale_id), redis_keys.sale_customers(sale.sale_id))
            args.append(sale.product_id)
        remembers, now, record, cart, counted = await self._run(_LOOK, keys, args)
        quantities = {cart[i]: int(cart[i + 1]) for i in range(0, len(cart), 2)}
        return Seen(
            remembers=bool(remembers),
            record=_record(now, record),
            cart={product_id: quantity for product_id, quantity in quantities.items() if quantity > 0},
            counted={product_id: Counted(*units) for product_id, *units in counted},
        )

    async def claim(self, order: OrderCreated, sale: SaleCard | None = None) -> Verdict:
        """Admits an order: claims its key for it, if nobody has and nothing speaks against it.

        Every call that gets as far as the rate limit counts, admitted or not; a known key does not. ``sale`` is the
        flash sale that one of the order's lines is bought in.
        """
        user_id = order.user_id
        keys = [
            record_key(user_id, order.idempotency_key),
            EPOCH,
            attempts_key(user_id),
            redis_keys.cart(user_id),
            running_key(user_id),
            *(redis_keys.stock(line.product_id) for line in order.lines),
        ]
        args: list[str | bytes | int] = [
            order.order_id,
            order.request_hash,
            _encoder.encode(order),
            self._life_ms,
            self._limit,
            _WINDOW_MS,
            self._longest_run_ms,
            len(order.lines),
            *_flat(order.lines),
        ]
        if sale is not None:
            keys += gate.keys(sale.sale_id)
            args += [
                next(n for n, line in enumerate(order.lines, 1) if line.product_id == sale.product_id),
                sale.units,
                sale.waiting_places,
                sale.units_per_customer,
                user_id,
                gate.forget_at(sale.ends_at),
            ]
        name, *rest = await self._run(_CLAIM, keys, args)
        match name:
            case "claimed":
                return Claimed(_rate(*rest[:2]), rest[2], bool(rest[3]))
            case "known":
                record = _record(*rest)
                assert record is not None
                return Known(record)
            case "limited":
                return Limited(_rate(0, rest[0]))
            case "sold_out":
                return NothingLeft()
            case "bought":
                return HasEnough(rest[2])
            case "short":
                left = rest[2]
                return Short({left[i]: int(left[i + 1]) for i in range(0, len(left), 2)})
            case "busy":
                return Busy()
            case "cart_changed":
                return CartChanged()
            case _:
                return Forgotten()

    async def record(self, user_id: str, key: str) -> Record | None:
        """The key's record."""
        return (await self.look(user_id, key)).record

    async def take_over(self, user_id: str, key: str, record: Record) -> TakenOver | None:
        """Makes an abandoned claim this request's; None if somebody else was faster."""
        taken, doubt = await self._run(_TAKE_OVER, [record_key(user_id, key), EPOCH], [record.claimed_at])
        return TakenOver(bool(doubt)) if taken else None

    async def give_way(self, order: OrderCreated, other: OtherOrder) -> None:
        """Gives a claim's key to the order that has it already, and takes what that one bought out of the cart."""
        keys = [
            record_key(order.user_id, order.idempotency_key),
            redis_keys.cart(order.user_id),
            running_key(order.user_id),
        ]
        args: list[str | bytes | int] = [
            order.order_id,
            other.order_id,
            other.request_hash,
            other.answer,
            self._life_ms,
        ]
        for product_id, units in other.units.items():
            args += (product_id, units)
        await self._run(_GIVE_WAY, keys, args)

    async def let_go(self, order: OrderCreated) -> None:
        """Leaves a claim, whose order could not be produced, to the next request with its key."""
        keys = [record_key(order.user_id, order.idempotency_key), running_key(order.user_id)]
        await self._run(_LET_GO, keys, [order.order_id])

    async def finish(self, accepted: AcceptedOrder, answer: bytes, *, from_cart: bool = True) -> Record | None:
        """Stores the answer, takes what was bought out of the cart, and lets the order be read; once.

        An order that no cart became is not ``from_cart``.

        Returns:
            the record that has the key instead, if Redis was wiped since the claim and another order got it.
        """
        user_id = accepted.user_id
        keys = [
            record_key(user_id, accepted.idempotency_key),
            redis_keys.cart(user_id),
            redis_keys.accepted_order(accepted.order_id),
            running_key(user_id),
            redis_keys.recent_orders(user_id),
        ]
        args: list[str | bytes | int] = [
            accepted.order_id,
            accepted.request_hash,
            answer,
            self._life_ms,
            _encoder.encode(accepted),
            int(accepted.created_at.timestamp() * 1000),
            redis_keys.user_channel(user_id),
            accepted_message(accepted) if accepted.sale is not None else "",
            *(_flat(accepted.lines) if from_cart else ()),
        ]
        other = await self._run(_FINISH, keys, args)
        return _record(*other) if other else None

    async def remember(self, rows: Iterable[tuple[str, str, str, str, bytes, int]]) -> None:
        """Restores answered records: user id, key, order id, request hash, answer and remaining life in ms."""
        await asyncio.gather(
            *(
                self._run(_REMEMBER, [record_key(user_id, key)], [order_id, request_hash, answer, life_ms])
                for user_id, key, order_id, request_hash, answer, life_ms in rows
            )
        )


def _flat(lines: Sequence[OrderLine]) -> list[str | int]:
    flat: list[str | int] = []
    for line in lines:
        flat += (line.product_id, line.quantity)
    return flat


def describe(left: Mapping[str, int], order: OrderCreated) -> list[dict[str, Any]]:
    """The lines that there is not enough for, as a client is told."""
    requested = domain.units(order.lines)
    return [
        {
            "product_id": line.product_id,
            "name": line.name,
            "requested": requested[line.product_id],
            "available": left[line.product_id],
        }
        for line in order.lines
        if line.product_id in left
    ]

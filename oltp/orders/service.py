"""What customers and admins do with orders: read one, look through theirs, cancel."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import Counter
from pymongo.errors import PyMongoError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import redis_keys
from contracts.admission import AcceptedOrder, OrderQueue, QueuePlace
from contracts.commands import CancelOrder
from contracts.envelope import caused_id, registry
from contracts.orders import CancelReason, OrderStatus
from kit.auth import Principal
from kit.clock import Clock
from kit.db import Database
from kit.errors import Unavailable
from kit.kafka import EventProducer
from kit.outbox import announce
from kit.transient import is_transient
from oltp.orders.domain import (
    BEYOND_CANCELLATION,
    CANCELLATION_REFUSED,
    Facts,
    Filter,
    Order,
    PaymentState,
    StoredOrder,
    facts_of_creation,
    moment_of_id,
    month_after,
    month_before,
    month_of,
    months_down,
    newest_first,
    order_of,
    payment_told,
)
from oltp.orders.errors import NotCancellable, OrderNotFound
from oltp.orders.history import BucketsContended, Entry, HistoryStore
from oltp.orders.hub import Hub, Message
from oltp.orders.repository import Key, OrderRepository

log = structlog.get_logger()

SOURCE: Final = "surge/orders"

LISTS = Counter(
    "surge_order_lists_total", "Lists of a customer's own orders, by the store that served them.", ["store"]
)

_UNLISTABLE: Final = "Your orders can't be read for a moment; please try again."
_UNREADABLE: Final = "The order can't be read for a moment; please try again."

_accepted_decoder: Final = msgspec.json.Decoder(AcceptedOrder)


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with what its reader is shown besides. ``queue_position`` and ``place`` are None unless it is pending.

    ``stored`` is None as long as the saga has not written the order, or while Postgres is away.
    """

    user_id: str
    order: Order
    shipping_address: Mapping[str, Any]
    payment: PaymentState
    queue_position: int | None = None
    place: QueuePlace | None = None
    stored: StoredOrder | None = None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Some of a customer's orders, newest first, and where the next page begins."""

    orders: list[Order]
    more: Key | None


async def read_accepted(redis: Redis, order_ids: Iterable[str]) -> dict[str, AcceptedOrder]:
    """Those of the orders that the gateway remembers to have accepted."""
    keys = [redis_keys.accepted_order(order_id) for order_id in order_ids]
    if not keys:
        return {}
    accepted = [_accepted_decoder.decode(text) for text in await redis.mget(keys) if text is not None]
    return {order.order_id: order for order in accepted}


class OrderReader:
    """Reads single orders: from Postgres, and from the gateway's record while the saga has not written them.

    While Postgres is away an order is shown as far as the history knows it, unless somebody saw it further on: an
    order never goes back.
    """

    FRESH: Final = dt.timedelta(minutes=15)
    """Age of an id up to which an order that nobody knows may still be waiting to be written."""

    SEEN: Final = dt.timedelta(hours=24)

    def __init__(
        self, database: Database, redis: Redis, queue: OrderQueue, history: "OrderHistory | None" = None
    ) -> None:
        self._database = database
        self._redis = redis
        self._queue = queue
        self._history = history

    async def read(self, order_id: str, principal: Principal) -> OrderView:
        """An order of the caller's; any order for an admin.

        Raises:
            OrderNotFound: if there is none, or it is somebody else's.
            Unavailable: if it is not found in what answers, and something that may know it is away, or has lost it:
                an order whose record went with Redis is known again when the saga has written it.
        """
        view = await self._read(order_id)
        if view is None or not (principal.is_admin or view.user_id == principal.user_id):
            raise OrderNotFound
        return view

    async def _read(self, order_id: str) -> OrderView | None:
        try:
            async with self._database.read() as session:
                stored = await OrderRepository(session).find(order_id)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("orders.database_away", error=repr(error))
            return await self._without_database(order_id)
        if stored is not None:
            await self._saw(stored)
            place = None
            if stored.status is OrderStatus.PENDING:
                place = QueuePlace(order_id=order_id, first=stored.queue_position, log=None, sale_id=stored.sale_id)
            return OrderView(
                user_id=stored.user_id,
                order=stored.order,
                shipping_address=stored.shipping_address,
                payment=stored.payment,
                queue_position=self._queue.position(place) if place is not None else None,
                place=place,
                stored=stored,
            )
        accepted = await self._accepted(order_id)
        if accepted is not None:
            return self._waiting(accepted, Facts(order_id))
        made_at = moment_of_id(order_id)
        if made_at is not None and abs(dt.datetime.now(dt.UTC) - made_at) < self.FRESH:
            raise Unavailable(_UNREADABLE)
        return None

    async def _saw(self, stored: StoredOrder) -> None:
        try:
            await self._redis.set(redis_keys.order_seen(stored.order_id), stored.order.last.sequence, ex=self.SEEN)
        except RedisError as error:
            log.warning("orders.sight_unrecorded", order_id=stored.order_id, error=repr(error))

    async def _accepted(self, order_id: str) -> AcceptedOrder | None:
        try:
            return (await read_accepted(self._redis, [order_id])).get(order_id)
        except RedisError as error:
            log.warning("orders.redis_away", error=repr(error))
            raise Unavailable(_UNREADABLE) from error

    async def _without_database(self, order_id: str) -> OrderView:
        accepted = await self._accepted(order_id)
        if accepted is None:
            raise Unavailable(_UNREADABLE)
        known = Facts(order_id)
        if self._history is not None:
            known = await self._history.facts(accepted)
        view = self._waiting(accepted, known)
        if view.order.last.sequence < await self._seen(order_id):
            raise Unavailable(_UNREADABLE)
        return view

    async def _seen(self, order_id: str) -> int:
        try:
            return int(await self._redis.get(redis_keys.order_seen(order_id)) or 0)
        except RedisError as error:
            log.warning("orders.redis_away", error=repr(error))
            raise Unavailable(_UNREADABLE) from error

    def _waiting(self, accepted: AcceptedOrder, known: Facts) -> OrderView:
        order = order_of(facts_of_creation(accepted).joined(known))
        assert order is not None
        place = QueuePlace.of(accepted) if order.status is OrderStatus.PENDING else None
        return OrderView(
            user_id=accepted.user_id,
            order=order,
            shipping_address=msgspec.to_builtins(accepted.shipping_address),
            payment=payment_told(order),
            queue_position=self._queue.position(place) if place is not None else None,
            place=place,
        )


class OrderHistory:
    """Customers' own lists, from the document store; from Postgres while the store is away. One a process."""

    FIRST_MONTHS: Final = 2
    MORE_MONTHS: Final = 12
    BUILD_SECONDS: Final = 1.5
    AWAY_SECONDS: Final = 2.0

    def __init__(self, database: Database, redis: Redis, store: HistoryStore, clock: Clock) -> None:
        self._database = database
        self._redis = redis
        self._store = store
        self._clock = clock
        self._away_until = dt.datetime.min.replace(tzinfo=dt.UTC)
        self._builds: dict[str, asyncio.Task[str]] = {}
        self._building = asyncio.Semaphore(2)

    async def page(self, user_id: str, wanted: Filter, *, after: Key | None, limit: int) -> OrderPage:
        """A page of the customer's orders, newest first, those included that no store has heard of yet.

        Raises:
            Unavailable: if neither store answers.
        """
        recent = await self._recent(user_id)
        if self._clock.now() >= self._away_until:
            try:
                since = await self._since(user_id)
                if since is not None:
                    page = await self._walk(user_id, since, wanted, recent, after=after, limit=limit)
                    LISTS.labels("documents").inc()
                    return page
            except (PyMongoError, BucketsContended) as error:
                self._away_until = self._clock.now() + dt.timedelta(seconds=self.AWAY_SECONDS)
                log.warning("orders.history_away", error=repr(error))
            except Exception as error:
                if not is_transient(error):
                    raise
                raise Unavailable(_UNLISTABLE) from error
        page = await self._from_postgres(user_id, wanted, recent, after=after, limit=limit)
        LISTS.labels("postgres").inc()
        return page

    async def facts(self, accepted: AcceptedOrder) -> Facts:
        """What the store knows of an order; nothing if the store is away."""
        month = month_of(accepted.created_at)
        try:
            buckets = await self._store.read(accepted.user_id, [month])
        except PyMongoError as error:
            log.warning("orders.history_away", error=repr(error))
            buckets = {}
        return buckets.get(month, {}).get(accepted.order_id, Facts(accepted.order_id))

    async def close(self) -> None:
        """Ends builds that are under way."""
        for build in self._builds.values():
            build.cancel()
        await asyncio.gather(*self._builds.values(), return_exceptions=True)

    async def _recent(self, user_id: str) -> dict[str, Facts]:
        try:
            ids = await self._redis.zrevrange(redis_keys.recent_orders(user_id), 0, 49)
            accepted = await read_accepted(self._redis, [str(order_id) for order_id in ids])
        except RedisError as error:
            log.warning("orders.redis_away", error=repr(error))
            return {}
        return {key: facts_of_creation(order) for key, order in accepted.items() if order.user_id == user_id}

    async def _since(self, user_id: str) -> str | None:
        """The month that the customer's history begins with, built if need be; None if it can't serve (yet)."""
        mark = await self._store.mark(user_id)
        if mark.oversize or mark.since is not None:
            return None if mark.oversize else mark.since
        build = self._builds.get(user_id)
        if build is None:
            build = self._builds[user_id] = asyncio.create_task(self._build(user_id))
            build.add_done_callback(lambda done: self._built(user_id, done))
        try:
            async with asyncio.timeout(self.BUILD_SECONDS):
                return await asyncio.shield(build)
        except TimeoutError:
            return None

    def _built(self, user_id: str, build: asyncio.Task[str]) -> None:
        del self._builds[user_id]
        if not build.cancelled() and (error := build.exception()) is not None:
            log.warning("orders.history_not_built", user_id=user_id, error=repr(error))

    async def _build(self, user_id: str) -> str:
        """Copies a customer's orders from Postgres, then marks the history as whole; returns its first month.

        Events that arrive meanwhile are the projector's, which writes whether or not the history is whole.
        """
        async with self._building:
            now = self._clock.now()
            since, after, orders = month_before(month_of(now)), None, 0
            async with self._database.read() as session:
                repository = OrderRepository(session)
                while True:
                    found = await repository.of_user(user_id, Filter(), after=after, limit=500)
                    entries = [entry_of(stored) for stored in found.orders]
                    await self._store.write(entries)
                    orders += len(entries)
                    since = min([since, *(entry.month for entry in entries)])
                    after = found.more
                    if after is None:
                        break
            await self._store.complete(user_id, since)
            log.info("orders.history_built", user_id=user_id, orders=orders, since=since)
            return since

    async def _walk(
        self,
        user_id: str,
        since: str,
        wanted: Filter,
        recent: Mapping[str, Facts],
        *,
        after: Key | None,
        limit: int,
    ) -> OrderPage:
        first = month_of(after[0]) if after is not None else month_after(month_of(self._clock.now()))
        if wanted.date_to is not None:
            first = min(first, month_of(wanted.date_to))
        if wanted.date_from is not None:
            since = max(since, month_of(wanted.date_from))
        months = months_down(first, since)
        orders: list[Order] = []
        size = self.FIRST_MONTHS
        while months and len(orders) <= limit:
            chunk, months, size = months[:size], months[size:], self.MORE_MONTHS
            buckets = await self._store.read(user_id, chunk)
            known = {order_id: facts for bucket in buckets.values() for order_id, facts in bucket.items()}
            for order_id, facts in recent.items():
                assert facts.placement is not None
                if month_of(facts.placement.created_at) in chunk:
                    known[order_id] = known.get(order_id, facts).joined(facts)
            orders += self._fitting(known.values(), wanted, after)
        return _cut(orders, limit)

    @staticmethod
    def _fitting(known: Iterable[Facts], wanted: Filter, after: Key | None) -> list[Order]:
        orders = [order for facts in known if (order := order_of(facts)) is not None and wanted.admits(order)]
        return newest_first(order for order in orders if after is None or order.key < after)

    async def _from_postgres(
        self, user_id: str, wanted: Filter, recent: Mapping[str, Facts], *, after: Key | None, limit: int
    ) -> OrderPage:
        try:
            async with self._database.read() as session:
                repository = OrderRepository(session)
                found = await repository.of_user(user_id, wanted, after=after, limit=limit)
                known = await repository.known(recent) if recent else set()
        except Exception as error:
            if not is_transient(error):
                raise
            raise Unavailable(_UNLISTABLE) from error
        unwritten = [facts for order_id, facts in recent.items() if order_id not in known]
        waiting = self._fitting(unwritten, wanted, after)
        if found.more is not None:
            waiting = [order for order in waiting if order.key > found.more]
        page = _cut(newest_first([*(stored.order for stored in found.orders), *waiting]), limit)
        return OrderPage(page.orders, page.more or found.more)


def _cut(orders: list[Order], limit: int) -> OrderPage:
    if len(orders) <= limit:
        return OrderPage(orders, None)
    return OrderPage(orders[:limit], orders[limit - 1].key)


def entry_of(stored: StoredOrder) -> Entry:
    """A stored order as its history keeps it."""
    return Entry(stored.user_id, month_of(stored.placement.created_at), stored.facts)


@dataclass(frozen=True, slots=True)
class CancelOutcome:
    """What came of asking for a cancellation. Not settled: the answer is still on its way."""

    view: OrderView
    settled: bool


@dataclass(eq=False)
class _Wake:
    """Wakes somebody who waits for news of an order."""

    event: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, text: str, message: Message) -> None:
        self.event.set()

    def interrupted(self) -> None:
        self.event.set()

    def restored(self) -> None:
        self.event.set()

    async def wait(self, seconds: float) -> None:
        """Returns on news, or when the time is up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.event.wait()
        self.event.clear()


class Cancellation:
    """Asks the saga to cancel an order and waits a moment for what it decides."""

    WAIT_SECONDS: Final = 2.5
    POLL_SECONDS: Final = 0.5

    def __init__(self, reader: OrderReader, hub: Hub, producer: EventProducer, clock: Clock) -> None:
        self._reader = reader
        self._hub = hub
        self._producer = producer
        self._clock = clock

    async def cancel(self, order_id: str, principal: Principal, reason: CancelReason) -> CancelOutcome:
        """Cancels an order that has not left yet. An order that is cancelled already, for whatever reason, stays so.

        The command's id depends on order and actor alone, so that asking twice is asking once.

        Raises:
            OrderNotFound: if there is none, or it is somebody else's.
            NotCancellable: if a parcel has left.
            Unavailable: if the command can't be sent now.
        """
        view = await self._reader.read(order_id, principal)
        if self._is_settled(view):
            return CancelOutcome(view, settled=True)
        wake = _Wake()
        async with self._hub.listening(redis_keys.order_channel(order_id), wake, within=0.5):
            await self._send(order_id, principal, reason)
            return await self._outcome(view, principal, wake)

    async def _send(self, order_id: str, principal: Principal, reason: CancelReason) -> None:
        command = announce(
            CancelOrder(order_id=order_id, reason=reason, actor_id=principal.user_id),
            source=SOURCE,
            subject=order_id,
            time=self._clock.now(),
            id=caused_id(order_id, registry.name_of(CancelOrder), principal.user_id),
        )
        try:
            await self._producer.send([command])
        except Exception as error:
            if not is_transient(error):
                raise
            raise Unavailable("The cancellation could not be taken; please try again.", retry_after=2) from error

    async def _outcome(self, asked: OrderView, principal: Principal, wake: _Wake) -> CancelOutcome:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.WAIT_SECONDS
        view = asked
        while (left := deadline - loop.time()) > 0:
            await wake.wait(min(left, self.POLL_SECONDS))
            view = await self._reader.read(asked.order.order_id, principal)
            if self._is_settled(view):
                return CancelOutcome(view, settled=True)
        return CancelOutcome(view, settled=False)

    @staticmethod
    def _is_settled(view: OrderView) -> bool:
        refused = any(step.type == CANCELLATION_REFUSED for step in view.order.timeline)
        if refused or view.order.status in BEYOND_CANCELLATION:
            raise NotCancellable(view.order.status)
        return view.order.status is OrderStatus.CANCELLED


@contextlib.asynccontextmanager
async def opened_history(
    database: Database, redis: Redis, store: HistoryStore, clock: Clock
) -> AsyncIterator[OrderHistory]:
    """An order history for as long as the block runs."""
    history = OrderHistory(database, redis, store, clock)
    try:
        yield history
    finally:
        await history.close()

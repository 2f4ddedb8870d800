"""Live tracking: every transition of an order to everybody who watches it, over WebSockets.

``/ws/orders/{id}?last_seen=N`` follows one order, ``/ws/me?since=TIME`` all orders of the caller.

Who: an access token in the ``Authorization`` header; from a browser, which can't set headers, as subprotocol
(``new WebSocket(url, ["bearer", token])``), or in a first message ``{"type": "auth", "token": …}`` within 5 seconds.
The same message renews the token of an open socket, which is closed when its token expires. Never in the URL, which
logs keep.

What: first ``{"type": "snapshot", …}`` with what happened after ``last_seen`` (a sequence number) or ``since`` (an
``occurred_at``), then one message a transition, as the saga published it, in the order of each order's sequence and
without repetition. After a reconnect to ``/ws/me`` the last seconds before ``since`` are sent again: a transition is
known by its order and sequence. ``{"type": "queue"}`` tells a pending order's position in the queue whenever it has
fallen, ``{"type": "order.accepted"}`` on ``/ws/me`` of a new order in a flash sale. ``{"type": "ping"}`` says that
nothing happened.

Close codes: 4401 no valid token (any more), 4404 no such order of the caller's, 4408 the client reads too slowly, 4429
too many sockets of one user, 1013 try again in a moment. A malformed URL is refused with the handshake.

A socket subscribes before it reads Postgres, so nothing falls between snapshot and stream. When the pub/sub connection
was lost, or a transition does not follow on the one before, what was missed is read from Postgres, and what arrives
meanwhile waits.
"""

import asyncio
import contextlib
import datetime as dt
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Final, Protocol

import jwt
import orjson
import structlog
from fastapi import APIRouter, Query, WebSocket
from prometheus_client import Counter, Gauge
from starlette.websockets import WebSocketDisconnect, WebSocketState

from contracts import redis_keys
from contracts.admission import ACCEPTED, OrderQueue, QueuePlace, place_in
from contracts.orders import OrderStatus
from kit.auth import Principal, verify_access_token
from kit.clock import Clock
from kit.db import Database
from kit.errors import Unauthorized, Unavailable
from kit.moments import Moment
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import running
from kit.transient import is_transient
from oltp.orders import history
from oltp.orders.domain import Step
from oltp.orders.errors import OrderNotFound
from oltp.orders.hub import Hub, Message
from oltp.orders.repository import Happening, OrderRepository
from oltp.orders.service import OrderReader, OrderView, opened_history

log = structlog.get_logger()

SOCKETS = Gauge("surge_live_sockets", "Open WebSockets.", ["path"])
SENT = Counter("surge_live_messages_total", "Messages put on their way to WebSockets.")
CLOSED = Counter("surge_live_closed_total", "WebSockets that the shop closed, by code.", ["code"])
REREAD = Counter("surge_live_reread_total", "Watches that were brought up to date from Postgres.")

UNAUTHORIZED: Final = 4401
NOT_FOUND: Final = 4404
TOO_SLOW: Final = 4408
TOO_MANY: Final = 4429
TRY_LATER: Final = 1013
MISUSED: Final = 1008

AUTH_SECONDS: Final = 5.0
PING_SECONDS: Final = 20.0
CLOSE_SECONDS: Final = 2.0
QUEUE_LENGTH: Final = 256
QUEUE_SECONDS: Final = 0.5
SOCKETS_A_USER: Final = 20
CLIENT_MESSAGES: Final = 1_000
OVERLAP: Final = dt.timedelta(seconds=10)
"""How far back ``/ws/me`` goes before ``since``: transitions commit in another order than they occur."""
LONGEST_ABSENCE: Final = dt.timedelta(hours=24)
ORDERS_REMEMBERED: Final = 1_000

router = APIRouter(tags=["live tracking"])


def frame_of(happening: Happening) -> dict[str, Any]:
    """A transition in the words that the saga publishes it with."""
    step = happening.step
    return {
        "type": step.type,
        "order_id": happening.order_id,
        "user_id": happening.user_id,
        "sequence": step.sequence,
        "previous_status": step.previous_status,
        "status": step.status,
        "reason": step.reason,
        "occurred_at": step.occurred_at,
    }


def _text(frame: Mapping[str, Any]) -> str:
    return orjson.dumps(frame).decode()


class Outbox:
    """What waits to be sent to one client; bounded. Whoever can't keep up is closed."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[str] = asyncio.Queue(QUEUE_LENGTH)
        self.closing: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def put(self, text: str) -> None:
        """Queues a message."""
        try:
            self.queue.put_nowait(text)
            SENT.inc()
        except asyncio.QueueFull:
            self.close(TOO_SLOW)

    def close(self, code: int) -> None:
        """Has the socket closed."""
        if not self.closing.done():
            self.closing.set_result(code)


class Rereader(Protocol):
    """Brings watches up to date from Postgres."""

    def add(self, watch: "Watch") -> None:
        """Has :meth:`Watch.catch_up` called soon."""
        ...


class Watch:
    """One socket's view of the orders that it follows: which step of each it has been sent.

    While ``_held`` is a list, messages wait in it for what is being read from Postgres.
    """

    def __init__(self, outbox: Outbox, rereader: Rereader, subject: str) -> None:
        self.subject = subject
        self._outbox = outbox
        self._rereader = rereader
        self._sent: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._held: list[tuple[str, Message]] | None = []
        self._begun = False
        self._missed = False
        self._pending: dict[str, tuple[QueuePlace, int | None]] = {}

    def begin(
        self, text: str, known: Iterable[tuple[str, int, str]], pending: Iterable[tuple[QueuePlace, int | None]] = ()
    ) -> None:
        """Sends the snapshot, then lets through what came while it was read.

        ``known`` are order id, sequence and status of what the snapshot tells, ``pending`` the places of orders that
        wait with the positions that it tells.
        """
        for place, told in pending:
            self._pending[place.order_id] = place, told
        for order_id, sequence, status in known:
            self._sent[order_id] = (sequence, status)
        self._begun = True
        self._outbox.put(text)
        if self._missed:
            self._rereader.add(self)
        else:
            self._let_go()

    def interrupted(self) -> None:
        """Messages may be missing from here on."""
        if self._held is None:
            self._held = []

    def restored(self) -> None:
        """What was missed has to be read."""
        if self._begun:
            self._rereader.add(self)
        else:
            self._missed = True

    def heard(self, text: str, message: Message) -> None:
        """A message came over pub/sub."""
        if self._held is not None:
            if len(self._held) >= QUEUE_LENGTH:
                self._outbox.close(TOO_SLOW)
            else:
                self._held.append((text, message))
        elif self._follows(message):
            self._deliver(text, message)
        else:
            self._held = [(text, message)]
            self._rereader.add(self)

    def catch_up(self, happened: Iterable[Happening], read_at: dt.datetime) -> None:
        """Sends what was missed, as it was read at ``read_at``, then what waited."""
        for happening in happened:
            frame = frame_of(happening)
            self._deliver(_text(frame), frame)
        self._let_go()

    def tell_positions(self, queue: OrderQueue) -> None:
        """Sends the positions of pending orders that have fallen since they were told."""
        for order_id, (place, told) in self._pending.items():
            position = queue.position(place)
            if position is not None and (told is None or position < told):
                self._pending[order_id] = place, position
                self._outbox.put(_text({"type": "queue", "order_id": order_id, "queue_position": position}))

    def _let_go(self) -> None:
        held, self._held = self._held or [], None
        for text, message in sorted(held, key=lambda one: one[1].get("sequence", 0)):
            self._deliver(text, message)

    def _follows(self, message: Message) -> bool:
        sent = self._sent.get(message.get("order_id", ""))
        if sent is None or "sequence" not in message:
            return True
        return bool(message["sequence"] <= sent[0] or message.get("previous_status") == sent[1])

    def _deliver(self, text: str, message: Message) -> None:
        if message.get("type") == ACCEPTED:
            place = place_in(message)
            self._pending.setdefault(place.order_id, (place, place.first))
        if "sequence" in message:
            order_id, sequence = message.get("order_id", ""), message["sequence"]
            sent = self._sent.get(order_id)
            if sent is not None and sequence <= sent[0]:
                return
            self._sent[order_id] = (sequence, message.get("status", ""))
            if message.get("status") != OrderStatus.PENDING:
                self._pending.pop(order_id, None)
            self._sent.move_to_end(order_id)
            if len(self._sent) > ORDERS_REMEMBERED:
                self._sent.popitem(last=False)
        self._outbox.put(text)


class OrderWatch(Watch):
    """Follows one order, the ``subject``."""

    @property
    def sequence(self) -> int:
        """The newest step that was sent."""
        return self._sent.get(self.subject, (0, ""))[0]


class UserWatch(Watch):
    """Follows all orders of a customer, the ``subject``. ``since``: everything that occurred before was sent."""

    def __init__(self, outbox: Outbox, rereader: Rereader, subject: str, since: dt.datetime) -> None:
        super().__init__(outbox, rereader, subject)
        self.since = since

    def catch_up(self, happened: Iterable[Happening], read_at: dt.datetime) -> None:
        since, self.since = self.since - OVERLAP, read_at
        super().catch_up([one for one in happened if one.step.occurred_at >= since], read_at)


class Refresh:
    """Brings watches up to date from Postgres, many with one query. Runs as a task."""

    BATCH: Final = 500

    def __init__(self, database: Database, clock: Clock) -> None:
        self.name = "live-refresh"
        self.ready = True
        self._database = database
        self._clock = clock
        self._waiting: dict[Watch, None] = {}
        self._work = asyncio.Event()

    def add(self, watch: Watch) -> None:
        """Has a watch brought up to date."""
        self._waiting[watch] = None
        self._work.set()

    def drop(self, watch: Watch) -> None:
        """Its socket is gone."""
        self._waiting.pop(watch, None)

    async def run(self) -> None:
        """Works until cancelled; a database that is away is waited for."""
        delay = 0.1
        while True:
            await self._work.wait()
            batch = [watch for watch, _ in zip(self._waiting, range(self.BATCH), strict=False)]
            if not batch:
                self._work.clear()
                continue
            try:
                await self._refresh(batch)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("live.refresh_waiting", watches=len(self._waiting), seconds=delay, error=repr(error))
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            else:
                delay = 0.1

    async def _refresh(self, batch: Sequence[Watch]) -> None:
        orders = [watch for watch in batch if isinstance(watch, OrderWatch)]
        users = [watch for watch in batch if isinstance(watch, UserWatch)]
        seen: dict[str, int] = {}
        for order in orders:
            seen[order.subject] = min(order.sequence, seen.get(order.subject, order.sequence))
        happened: dict[str, list[Happening]] = {}
        now = self._clock.now()
        async with self._database.read() as session:
            repository = OrderRepository(session)
            for happening in await repository.happened_after(seen):
                happened.setdefault(happening.order_id, []).append(happening)
            if users:
                since = min(user.since for user in users) - OVERLAP
                for happening in await repository.happened_since([user.subject for user in users], since):
                    happened.setdefault(happening.user_id, []).append(happening)
        for watch in batch:
            if watch in self._waiting:
                del self._waiting[watch]
                watch.catch_up(happened.get(watch.subject, []), now)
        REREAD.inc(len(batch))


class Positions:
    """Tells those who watch pending orders how they come forward in the queue. Runs as a task."""

    def __init__(self) -> None:
        self.name = "live-positions"
        self.ready = True
        self._watches: dict[Watch, OrderQueue] = {}

    @contextlib.contextmanager
    def told(self, watch: Watch, queue: OrderQueue) -> Iterator[None]:
        """Tells a watch while the block runs."""
        self._watches[watch] = queue
        try:
            yield
        finally:
            del self._watches[watch]

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await asyncio.sleep(QUEUE_SECONDS)
            for watch, queue in list(self._watches.items()):
                watch.tell_positions(queue)


class Live:
    """What the sockets of one process share."""

    def __init__(self, settings: Settings, database: Database, clock: Clock) -> None:
        self.settings = settings
        self.database = database
        self.clock = clock
        self.hub = Hub(settings)
        self.refresh = Refresh(database, clock)
        self.positions = Positions()
        self.reads = asyncio.Semaphore(6)
        self._sockets: dict[str, int] = {}

    @contextlib.contextmanager
    def counted(self, user_id: str) -> Any:
        """Counts a user's socket while the block runs; yields whether there is room for it."""
        count = self._sockets.get(user_id, 0)
        if count >= SOCKETS_A_USER:
            yield False
            return
        self._sockets[user_id] = count + 1
        try:
            yield True
        finally:
            self._sockets[user_id] -= 1
            if not self._sockets[user_id]:
                del self._sockets[user_id]


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Opens live tracking and order history for a process: ``live`` and ``order_history`` in the request state."""
    live = Live(resources.settings, resources.database, resources.clock)
    client = history.connect(resources.settings)
    store = history.store_of(client)
    try:
        async with (
            opened_history(resources.database, resources.redis, store, resources.clock) as order_history,
            running([live.hub, live.refresh, live.positions]),
        ):
            yield {"live": live, "order_history": order_history}
    finally:
        await live.hub.close()
        await client.close()


@dataclass(slots=True)
class _Session:
    """Who is on the other end, and until when their token lasts (seconds of the Unix epoch)."""

    principal: Principal
    expires_at: float


def _admit(settings: Settings, token: str) -> _Session:
    principal = verify_access_token(settings, token)
    claims = jwt.decode(token, options={"verify_signature": False})
    return _Session(principal, float(claims["exp"]))


async def _authenticate(socket: WebSocket, settings: Settings) -> _Session:
    """Accepts the socket and finds out who it is.

    Raises:
        Unauthorized: if it doesn't say so in time, or not validly.
        WebSocketDisconnect: if it leaves.
    """
    scheme, _, token = socket.headers.get("authorization", "").partition(" ")
    offered: list[str] = socket.scope["subprotocols"]
    if scheme.lower() == "bearer":
        await socket.accept()
        return _admit(settings, token.strip())
    if "bearer" in offered:
        await socket.accept(subprotocol="bearer")
        return _admit(settings, next((name for name in offered if name != "bearer"), ""))
    await socket.accept()
    try:
        async with asyncio.timeout(AUTH_SECONDS):
            message = await _receive(socket)
    except TimeoutError:
        raise Unauthorized("No token came.") from None
    return _admit(settings, _token_in(message))


async def _receive(socket: WebSocket) -> str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    return str(message.get("text") or "")


def _token_in(text: str) -> str:
    try:
        message = orjson.loads(text)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(message, dict) or message.get("type") != "auth":
        return ""
    return str(message.get("token", ""))


async def _close(socket: WebSocket, code: int) -> None:
    """Closes, and does not wait long for a client that doesn't listen."""
    CLOSED.labels(code).inc()
    if socket.application_state is not WebSocketState.CONNECTED:
        return
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_SECONDS):
            await socket.close(code)


class _Conversation:
    """One open socket: sends what its outbox holds, hears the client out, and ends with the token."""

    def __init__(self, socket: WebSocket, live: Live, session: _Session, outbox: Outbox) -> None:
        self._socket = socket
        self._settings = live.settings
        self._clock = live.clock
        self._session = session
        self._outbox = outbox
        self._renewed = asyncio.Event()

    async def run(self) -> None:
        """Returns when the client is gone; closes the socket when the shop has a reason to."""
        parts = [asyncio.create_task(part) for part in (self._write(), self._read(), self._expire())]
        try:
            until: list[asyncio.Future[Any]] = [*parts, self._outbox.closing]
            await asyncio.wait(until, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for part in parts:
                part.cancel()
            ended = await asyncio.gather(*parts, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception) and not isinstance(error, WebSocketDisconnect):
                raise error
        if self._outbox.closing.done():
            await _close(self._socket, self._outbox.closing.result())

    async def _write(self) -> None:
        while True:
            try:
                async with asyncio.timeout(PING_SECONDS):
                    text = await self._outbox.queue.get()
            except TimeoutError:
                text = '{"type":"ping"}'
            await self._socket.send_text(text)

    async def _read(self) -> None:
        for _ in range(CLIENT_MESSAGES):
            token = _token_in(await _receive(self._socket))
            if not token:
                continue
            try:
                renewed = _admit(self._settings, token)
            except Unauthorized:
                self._outbox.close(UNAUTHORIZED)
                return
            if renewed.principal != self._session.principal:
                self._outbox.close(UNAUTHORIZED)
                return
            self._session.expires_at = renewed.expires_at
            self._renewed.set()
        self._outbox.close(MISUSED)

    async def _expire(self) -> None:
        while (left := self._session.expires_at - self._clock.now().timestamp()) > 0:
            self._renewed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._renewed.wait()
        self._outbox.close(UNAUTHORIZED)


def _step(step: Step, order_id: str, user_id: str) -> dict[str, Any]:
    return frame_of(Happening(order_id, user_id, step))


def _order_snapshot(view: OrderView, last_seen: int) -> str:
    order = view.order
    steps = [_step(step, order.order_id, view.user_id) for step in order.timeline if step.sequence > last_seen]
    return _text(
        {
            "type": "snapshot",
            "order_id": order.order_id,
            "status": order.status,
            "sequence": order.last.sequence,
            "queue_position": view.queue_position,
            "transitions": steps,
        }
    )


@asynccontextmanager
async def _opened(socket: WebSocket, path: str) -> AsyncIterator[tuple[Live, _Session, Outbox] | None]:
    """An authenticated socket, counted while the block runs; None if it was turned away and closed."""
    live: Live = socket.state.live
    try:
        session = await _authenticate(socket, live.settings)
    except WebSocketDisconnect:
        yield None
        return
    except Unauthorized:
        await _close(socket, UNAUTHORIZED)
        yield None
        return
    with live.counted(session.principal.user_id) as admitted, SOCKETS.labels(path).track_inprogress():
        if admitted:
            yield live, session, Outbox()
        else:
            await _close(socket, TOO_MANY)
            yield None


@router.websocket("/ws/orders/{order_id}")
async def follow_order(
    socket: WebSocket,
    order_id: uuid.UUID,
    last_seen: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> None:
    """Every transition of one order; admins may follow anybody's."""
    resources: Resources = socket.state.resources
    async with _opened(socket, "/ws/orders") as opened:
        if opened is None:
            return
        live, session, outbox = opened
        watch = OrderWatch(outbox, live.refresh, str(order_id))
        reader = OrderReader(resources.database, resources.redis, socket.state.queue, socket.state.order_history)
        try:
            async with live.hub.listening(redis_keys.order_channel(str(order_id)), watch):
                async with live.reads:
                    view = await reader.read(str(order_id), session.principal)
                last = view.order.last
                known = [(view.order.order_id, last.sequence, last.status)]
                pending = [(view.place, view.queue_position)] if view.place is not None else []
                watch.begin(_order_snapshot(view, last_seen), known, pending)
                with live.positions.told(watch, socket.state.queue):
                    await _Conversation(socket, live, session, outbox).run()
        except OrderNotFound:
            await _close(socket, NOT_FOUND)
        except Unavailable:
            await _close(socket, TRY_LATER)
        finally:
            live.refresh.drop(watch)


@router.websocket("/ws/me")
async def follow_mine(socket: WebSocket, since: Annotated[Moment | None, Query()] = None) -> None:
    """Every transition of all orders of the caller.

    The snapshot lists the orders that have not ended; ``resumed`` says whether ``transitions`` holds everything since
    ``since``, which may be a day back at most.
    """
    async with _opened(socket, "/ws/me") as opened:
        if opened is None:
            return
        live, session, outbox = opened
        user_id = session.principal.user_id
        now = live.clock.now()
        watch = UserWatch(outbox, live.refresh, user_id, now)
        try:
            async with live.hub.listening(redis_keys.user_channel(user_id), watch):
                resumed = since is not None and since > now - LONGEST_ABSENCE
                async with live.reads, live.database.read() as reading:
                    repository = OrderRepository(reading)
                    open_orders = await repository.open_of_user(user_id, most=100)
                    missed: list[Happening] = []
                    if since is not None and resumed:
                        missed = await repository.happened_since([user_id], since - OVERLAP)
                    pending = [story[-1].order_id for story in open_orders if _is_pending(story)]
                    places = await repository.places(pending) if pending else []
                    in_sales = [(place, None) for place in places if place.sale_id is not None]
                watch.begin(_snapshot_of_user(open_orders, missed, now, resumed), _known(open_orders, missed), in_sales)
                with live.positions.told(watch, socket.state.queue):
                    await _Conversation(socket, live, session, outbox).run()
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("live.snapshot_unavailable", error=repr(error))
            await _close(socket, TRY_LATER)
        finally:
            live.refresh.drop(watch)


def _is_pending(story: Sequence[Happening]) -> bool:
    return story[-1].step.status is OrderStatus.PENDING


def _known(open_orders: Sequence[Sequence[Happening]], missed: Sequence[Happening]) -> list[tuple[str, int, str]]:
    newest: dict[str, Step] = {}
    for happening in (*missed, *(story[-1] for story in open_orders)):
        known = newest.get(happening.order_id)
        if known is None or known.sequence < happening.step.sequence:
            newest[happening.order_id] = happening.step
    return [(order_id, step.sequence, step.status) for order_id, step in newest.items()]


def _snapshot_of_user(
    open_orders: Sequence[Sequence[Happening]], missed: Sequence[Happening], now: dt.datetime, resumed: bool
) -> str:
    orders = [
        {
            "order_id": story[-1].order_id,
            "status": story[-1].step.status,
            "sequence": story[-1].step.sequence,
            "created_at": story[0].step.occurred_at,
            "updated_at": story[-1].step.occurred_at,
        }
        for story in open_orders
    ]
    return _text(
        {
            "type": "snapshot",
            "since": now,
            "resumed": resumed,
            "orders": orders,
            "transitions": [frame_of(happening) for happening in missed],
        }
    )

"""One Redis pub/sub connection a process, shared by everybody in it who listens.

The hub keeps the connection's subscriptions equal to the channels that have listeners. When the connection breaks it
makes a new one, and tells every listener before it subscribes again (:meth:`Listener.interrupted`) and when all
subscriptions stand (:meth:`Listener.restored`): what was published in between is lost to Redis and is the listener's
to read elsewhere.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import orjson
import structlog
from prometheus_client import Counter, Gauge, Histogram
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kit.settings import Settings

log = structlog.get_logger()

Message = dict[str, Any]

CHANNELS = Gauge("surge_live_channels", "Redis channels that this process is subscribed to.")
DELAY = Histogram(
    "surge_live_delay_seconds",
    "Time from what a message tells (its `occurred_at`) to its arrival in this process.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 30),
)
RECONNECTS = Counter("surge_live_reconnects_total", "Times that the pub/sub connection was made anew.")

_QUIET_SECONDS: Final = 5.0
"""Without a word from Redis for so long the hub sends a PING; without an answer for as long again it reconnects."""
_CHANNELS_A_COMMAND: Final = 500


class Listener(Protocol):
    """Hears what is published on a channel. Its methods are called in the event loop and must return at once."""

    def heard(self, text: str, message: Message) -> None:
        """One message, as it came and as it reads."""
        ...

    def interrupted(self) -> None:
        """From here on messages may be missing, until :meth:`restored`."""
        ...

    def restored(self) -> None:
        """Subscribed again: what is published from now on is heard; what came before may have been missed."""
        ...


class Hub:
    """Multiplexes channels to listeners over one connection. Runs as a task: :meth:`run`."""

    def __init__(self, settings: Settings) -> None:
        self.name = "live-hub"
        self.ready = False
        self._client = Redis.from_url(
            settings.redis_url.get_secret_value(),
            decode_responses=True,
            protocol=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
            client_name=f"{settings.instance}.{settings.process}.live",
        )
        self._listeners: dict[str, set[Listener]] = {}
        self._changed = asyncio.Event()
        self._subscriptions: _Subscriptions | None = None

    @asynccontextmanager
    async def listening(self, channel: str, listener: Listener, *, within: float = 2.0) -> AsyncIterator[bool]:
        """Listens while the block runs.

        Yields whether Redis has confirmed the subscription in time; if not, the listener is told once it has.
        """
        self._listeners.setdefault(channel, set()).add(listener)
        self._changed.set()
        try:
            yield await self._confirmed(channel, within)
        finally:
            left = self._listeners[channel]
            left.discard(listener)
            if not left:
                del self._listeners[channel]
                self._changed.set()

    async def _confirmed(self, channel: str, within: float) -> bool:
        subscriptions = self._subscriptions
        if subscriptions is None:
            return False
        try:
            async with asyncio.timeout(within):
                return await subscriptions.confirmed(channel)
        except TimeoutError:
            return False

    async def run(self) -> None:
        """Keeps the connection until cancelled."""
        delay = 0.05
        while True:
            connection = self._client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await connection.connect()
                delay = 0.05
                await self._serve(connection)
            except* (RedisError, OSError, TimeoutError) as errors:
                log.warning("live.disconnected", error=repr(errors.exceptions[0]), channels=len(self._listeners))
            finally:
                self.ready = False
                self._forget()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1.0)
            RECONNECTS.inc()

    async def close(self) -> None:
        """Gives the client's resources back."""
        await self._client.aclose()

    async def _serve(self, connection: AbstractConnection) -> None:
        known = {listener for listeners in self._listeners.values() for listener in listeners}
        for listener in known:
            listener.interrupted()
        subscriptions = self._subscriptions = _Subscriptions(connection, self._listeners)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_subscribed(subscriptions))
            group.create_task(self._read(connection, subscriptions))
            await subscriptions.established()
            self.ready = True
            log.info("live.connected", channels=len(self._listeners))
            for listener in known:
                listener.restored()

    def _forget(self) -> None:
        if self._subscriptions is not None:
            self._subscriptions.abandon()
            self._subscriptions = None
        CHANNELS.set(0)

    async def _keep_subscribed(self, subscriptions: "_Subscriptions") -> None:
        while True:
            self._changed.clear()
            await subscriptions.reconcile()
            await self._changed.wait()

    async def _read(self, connection: AbstractConnection, subscriptions: "_Subscriptions") -> None:
        asked = False
        while True:
            response = await connection.read_response(timeout=_QUIET_SECONDS, disconnect_on_error=False)
            if response is None:
                if asked:
                    raise TimeoutError("Redis is silent")
                asked = True
                await connection.send_command("PING", check_health=False)
                continue
            asked = False
            kind = response[0]
            if kind == "message":
                self._publish(response[1], response[2])
            elif kind in ("subscribe", "unsubscribe"):
                subscriptions.acknowledged(kind, response[1])

    def _publish(self, channel: str, text: str) -> None:
        listeners = self._listeners.get(channel)
        if not listeners:
            return
        try:
            message = orjson.loads(text)
            occurred_at = dt.datetime.fromisoformat(message["occurred_at"])
        except (ValueError, TypeError, KeyError) as error:
            log.warning("live.unreadable", channel=channel, error=repr(error))
            return
        DELAY.observe((dt.datetime.now(dt.UTC) - occurred_at).total_seconds())
        for listener in tuple(listeners):
            listener.heard(text, message)


class _Subscriptions:
    """What one connection is subscribed to."""

    def __init__(self, connection: AbstractConnection, wanted: Mapping[str, Any]) -> None:
        self._connection = connection
        self._wanted = wanted
        self._asked: set[str] = set()
        self._unanswered: dict[str, int] = {}
        self._waiters: dict[str, asyncio.Future[bool]] = {}
        self._first: set[str] | None = None
        self._established = asyncio.Event()

    async def reconcile(self) -> None:
        """Subscribes to what is wanted and lets go of what is not."""
        wanted = set(self._wanted)
        leaving, coming = sorted(self._asked - wanted), sorted(wanted - self._asked)
        self._asked = wanted
        for channel in (*leaving, *coming):
            self._unanswered[channel] = self._unanswered.get(channel, 0) + 1
        if self._first is None:
            self._first = set(coming)
            self._check_established()
        CHANNELS.set(len(wanted))
        await self._send("UNSUBSCRIBE", leaving)
        await self._send("SUBSCRIBE", coming)

    async def _send(self, command: str, channels: Sequence[str]) -> None:
        for start in range(0, len(channels), _CHANNELS_A_COMMAND):
            if not self._connection.is_connected:
                raise ConnectionError("the pub/sub connection is closed")
            await self._connection.send_command(
                command, *channels[start : start + _CHANNELS_A_COMMAND], check_health=False
            )

    def acknowledged(self, kind: str, channel: str) -> None:
        """Redis has done what it was asked."""
        self._unanswered[channel] -= 1
        if self._first is not None:
            self._first.discard(channel)
            self._check_established()
        if self._unanswered[channel] > 0:
            return
        del self._unanswered[channel]
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(kind == "subscribe")

    def _check_established(self) -> None:
        if not self._first:
            self._established.set()

    async def established(self) -> None:
        """Waits until the first subscriptions, those that were wanted when the connection was made, all stand."""
        await self._established.wait()

    async def confirmed(self, channel: str) -> bool:
        """Waits until the channel's subscription stands; false if the connection broke or nobody wants it any more."""
        if channel in self._asked and channel not in self._unanswered:
            return True
        waiter = self._waiters.get(channel)
        if waiter is None:
            waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
        return await asyncio.shield(waiter)

    def abandon(self) -> None:
        """The connection is gone: nobody waits any more."""
        for waiter in self._waiters.values():
            if not waiter.done():
                waiter.set_result(False)
        self._waiters.clear()

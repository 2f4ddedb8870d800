"""Notes what visitors do, and sends it to Kafka in the background."""

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

import structlog
from prometheus_client import Counter

from contracts.storefront import StorefrontEvent, StorefrontKind, encode, major_units
from contracts.topics import STOREFRONT_EVENTS
from kit.auth import verify_access_token
from kit.clock import Clock
from kit.errors import Unauthorized
from kit.ids import new_id
from kit.kafka import EventProducer, Outgoing, spread
from kit.transient import is_transient
from oltp.visits.domain import Traits, session_of_user, traits
from oltp.visits.settings import VisitSettings

log = structlog.get_logger()

_AT_ONCE: Final = 200
_LONGEST_WAIT: Final = 5.0
_LAST_SECONDS: Final = 2.0
_DAY: Final = 86_400

NOTED: Final = Counter("surge_storefront_events_total", "Events of visitors by what became of them.", ["outcome"])


class Recorder:
    """Keeps visitors' events until they are sent; those beyond ``visits_most_waiting`` are dropped and counted.

    Also the task that sends them. Its producer is its own: an event that the broker refuses, or has no time for, takes
    nothing with it that an order needs. What was sent without an answer is sent again under the same ids.
    """

    name = "visits"

    def __init__(self, settings: VisitSettings, producer: EventProducer, clock: Clock) -> None:
        self.ready = True
        self._settings = settings
        self._producer = producer
        self._clock = clock
        self._waiting: deque[StorefrontEvent] = deque()

    def of(self, headers: Iterable[tuple[bytes, bytes]], *, user_id: str | None = None) -> "RecordedVisit":
        """The visit that a request belongs to; see :class:`contracts.storefront.Visits`."""
        who = traits(headers)
        if user_id is None and who.token:
            try:
                user_id = verify_access_token(self._settings, who.token).user_id
            except Unauthorized:
                user_id = None
        return RecordedVisit(self, who, user_id)

    @property
    def clock(self) -> Clock:
        """Tells when something happened."""
        return self._clock

    def keep(self, event: StorefrontEvent) -> bool:
        """Keeps an event to be sent; false if there is no room."""
        if len(self._waiting) >= self._settings.visits_most_waiting:
            NOTED.labels("dropped").inc()
            return False
        self._waiting.append(event)
        return True

    async def run(self) -> None:
        """Sends until cancelled; then what is left, if that is quick."""
        pause = self._settings.visits_send_seconds
        try:
            while True:
                await asyncio.sleep(pause)
                sent = await self._send_some()
                pause = self._settings.visits_send_seconds if sent else min(max(pause, 0.25) * 2, _LONGEST_WAIT)
        finally:
            await self._finish()

    async def _send_some(self) -> bool:
        """Sends what waits; false if the broker did not take it."""
        while self._waiting:
            events = list(islice(self._waiting, _AT_ONCE))
            try:
                await self._producer.send_encoded(
                    [Outgoing(STOREFRONT_EVENTS, event.session_id, encode(event)) for event in events], choose=spread
                )
            except Exception as error:
                if is_transient(error):
                    log.warning("visits.not_sent", waiting=len(self._waiting), error=repr(error))
                    return False
                log.error("visits.refused", events=len(events), exc_info=error)
                outcome = "refused"
            else:
                outcome = "sent"
            for _ in events:
                self._waiting.popleft()
            NOTED.labels(outcome).inc(len(events))
        return True

    async def _finish(self) -> None:
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._send_some()
        except TimeoutError:
            log.warning("visits.lost_at_the_end", events=len(self._waiting))


class RecordedVisit:
    """A request's visitor; see :class:`contracts.storefront.Visit`.

    One who is neither in a session nor signed in can't be told from any other: nothing is noted of them.
    """

    __slots__ = ("_recorder", "_user_id", "_who")

    def __init__(self, recorder: Recorder, who: Traits, user_id: str | None) -> None:
        self._recorder = recorder
        self._who = who
        self._user_id = user_id

    @property
    def user_id(self) -> str | None:
        """The visitor, if signed in."""
        return self._user_id

    @property
    def device(self) -> str:
        """What the visitor uses."""
        return self._who.device

    @property
    def referrer(self) -> str:
        """Where the visitor came from."""
        return self._who.referrer

    @property
    def session_id(self) -> str | None:
        """The session, if the request can be attributed to one."""
        if self._who.session_id is not None:
            return self._who.session_id
        if self._user_id is None:
            return None
        return session_of_user(self._user_id, int(self._recorder.clock.now().timestamp()) // _DAY)

    def note(
        self,
        kind: StorefrontKind,
        *,
        product_id: str | None = None,
        order_id: str | None = None,
        query: str | None = None,
        results: int | None = None,
        quantity: int | None = None,
        unit_price: int | None = None,
    ) -> None:
        """Notes what the visitor did just now; never waits, never fails."""
        session_id = self.session_id
        if session_id is None:
            return
        self._recorder.keep(
            StorefrontEvent(
                event_id=new_id(),
                kind=kind,
                session_id=session_id,
                occurred_at=self._recorder.clock.now(),
                user_id=self._user_id,
                product_id=product_id,
                order_id=order_id,
                query=query,
                results=results,
                quantity=quantity,
                price=None if unit_price is None else major_units(unit_price),
                device=self._who.device,
                referrer=self._who.referrer,
            )
        )

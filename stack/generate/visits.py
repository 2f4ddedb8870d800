"""Visitors who look around, search, fill carts, leave them behind, or come to the checkout and buy.

What they do goes to Kafka as events, each when its time has come. The carts in Redis are not theirs: a customer who is
at the shop meanwhile finds their own cart as they left it.
"""

import asyncio
import datetime as dt
import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from typing import Final

import structlog

from contracts.storefront import StorefrontEvent, StorefrontKind, encode
from contracts.topics import STOREFRONT_EVENTS
from kit.clock import Clock
from kit.ids import new_id
from kit.kafka import EventProducer, Outgoing, spread
from kit.transient import is_transient
from stack.generate.shop import Buyer, Shelf, draw
from stack.generate.stories import End, Step, Story, story

log = structlog.get_logger()

_SEND_SECONDS: Final = 0.1
_AT_ONCE: Final = 500
_MOST_WAITING: Final = 50_000
PATIENCE_SECONDS: Final = 120.0
"""How long who is ready to buy waits for their turn at the checkout; then they leave it."""


@dataclass
class VisitTally:
    """What has become of the visits so far."""

    visits: int = 0
    events: int = 0
    events_lost: int = 0
    carts_left: int = 0
    checkouts_left: int = 0


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody in the shop."""

    session_id: str
    buyer: Buyer
    told: Story


@dataclass(order=True, slots=True)
class _Due:
    at: float
    number: int
    visitor: Visitor = field(compare=False)
    upcoming: int = field(compare=False)


class Visits:
    """The activity of visiting; see :class:`stack.generate.run.Activity`. Also a task, which lets time pass."""

    name = "visits"

    def __init__(
        self,
        *,
        buyers: list[Buyer],
        shelf: Shelf,
        producer: EventProducer,
        clock: Clock,
        chance: random.Random,
        conversion: float,
    ) -> None:
        self.ready = True
        self.tally = VisitTally()
        self._buyers = buyers
        self._shelf = shelf
        self._producer = producer
        self._clock = clock
        self._chance = chance
        self._conversion = conversion
        self._due: list[_Due] = []
        self._numbers = count()
        self._at_checkout: deque[tuple[float, Visitor]] = deque()
        self._waiting: deque[StorefrontEvent] = deque()

    async def perform(self, visitors: int) -> None:
        """So many come in."""
        now = asyncio.get_running_loop().time()
        offers = self._shelf.offers
        if not offers:
            return
        self.tally.visits += visitors
        for _ in range(visitors):
            told = story(self._chance, offers, conversion=self._conversion)
            visitor = Visitor(new_id(), draw(self._chance, self._buyers), told)
            self._schedule(visitor, 0, now)

    def next_buyer(self) -> Visitor | None:
        """Who has waited longest at the checkout; None if nobody is there."""
        now = asyncio.get_running_loop().time()
        while self._at_checkout:
            since, visitor = self._at_checkout.popleft()
            if now - since < PATIENCE_SECONDS:
                return visitor
            self.tally.checkouts_left += 1
        return None

    def placed(self, visitor: Visitor, order_id: str, at: dt.datetime) -> None:
        """Tells that a visitor's order is in the log."""
        self._note(visitor, StorefrontKind.ORDER_PLACED, at, order_id=order_id)

    def _schedule(self, visitor: Visitor, upcoming: int, now: float) -> None:
        if upcoming < len(visitor.told.steps):
            at = now + visitor.told.steps[upcoming].after
            heapq.heappush(self._due, _Due(at, next(self._numbers), visitor, upcoming))
        elif visitor.told.end is End.BUYS:
            self._at_checkout.append((now, visitor))
        elif visitor.told.end is End.LEAVES_A_CART:
            self.tally.carts_left += 1
        elif visitor.told.end is End.LEAVES_THE_CHECKOUT:
            self.tally.checkouts_left += 1

    async def run(self) -> None:
        """Lets visitors take their steps until cancelled; then sends what is left."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await asyncio.sleep(_SEND_SECONDS)
                while self._due and self._due[0].at <= loop.time():
                    due = heapq.heappop(self._due)
                    self._take(due.visitor, due.visitor.told.steps[due.upcoming])
                    self._schedule(due.visitor, due.upcoming + 1, due.at)
                await self._send()
        finally:
            await self._send()

    def _take(self, visitor: Visitor, step: Step) -> None:
        self._note(
            visitor,
            step.kind,
            self._clock.now(),
            product_id=step.product_id,
            query=step.query,
            results=step.results,
            quantity=step.quantity,
        )

    def _note(
        self,
        visitor: Visitor,
        kind: StorefrontKind,
        at: dt.datetime,
        *,
        product_id: str | None = None,
        order_id: str | None = None,
        query: str | None = None,
        results: int | None = None,
        quantity: int | None = None,
    ) -> None:
        if len(self._waiting) >= _MOST_WAITING:
            self.tally.events_lost += 1
            return
        self._waiting.append(
            StorefrontEvent(
                event_id=new_id(),
                kind=kind,
                session_id=visitor.session_id,
                occurred_at=at,
                user_id=visitor.buyer.user_id if visitor.told.signed_in else None,
                product_id=product_id,
                order_id=order_id,
                query=query,
                results=results,
                quantity=quantity,
                device=visitor.told.device,
                referrer=visitor.told.referrer,
            )
        )

    async def _send(self) -> None:
        while self._waiting:
            events = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            batch = [Outgoing(STOREFRONT_EVENTS, event.session_id, encode(event)) for event in events]
            try:
                await self._producer.send_encoded(batch, choose=spread)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("generate.events_lost", events=len(events), error=repr(error))
                self.tally.events_lost += len(events)
            else:
                self.tally.events += len(events)

"""Customers who buy, change their mind, repeat themselves, look and listen, and write down what they were told."""

import asyncio
import random
import uuid
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import httpx

from contracts.orders import Address
from stack.chaos.history import Act, Entry, History, Outcome
from stack.shoppers import Offer, Refused, ShopAway, Shopper, choose_payment, watching

PATIENCE: Final = 75.0
"""Seconds that a customer goes on asking while the shop is away."""

DECLINES: Final = 0.08
"""Part of the payments that are declined."""

CANCELS: Final = 0.12
"""Part of the orders whose customer asks for their cancellation, within :data:`CHANGE_OF_MIND` seconds."""

REPEATS: Final = 0.15
"""Part of the checkouts that are sent again with their key, within :data:`DOUBT` seconds."""

LOOKS: Final = 0.25
"""Part of the orders whose customer looks at them, a few times."""

CHANGE_OF_MIND: Final = 6.0
DOUBT: Final = 25.0
LOOKING: Final = 8.0
LISTENERS: Final = 60
"""Customers who follow all their orders over a WebSocket."""

MOST_VISITS: Final = 1_500
"""Visits under way at once; further customers turn away at the door."""

_STATUS_OF_NO_ORDER: Final = 404

HOME: Final = Address(
    name="Ada Lovelace",
    line1="12 St James's Square",
    city="Newark",
    region="NJ",
    postal_code="07102",
    country="US",
    latitude=40.73,
    longitude=-74.17,
)


@dataclass(frozen=True, slots=True)
class Door:
    """How the shop is reached: clients on its API, its WebSocket address, and what makes a customer's token."""

    clients: Sequence[httpx.AsyncClient]
    websocket_url: str
    issue: Callable[[str], str]


class Crowd:
    """Customers that come at a steady rate, whether or not those before them were served."""

    def __init__(
        self,
        door: Door,
        history: History,
        now: Callable[[], float],
        users: Sequence[str],
        shelf: Sequence[Offer],
        chance: random.Random,
    ) -> None:
        self._door = door
        self._history = history
        self._now = now
        self._shelf = shelf
        self._chance = chance
        self._listeners = list(users[:LISTENERS])
        self._idle = deque(users)
        self._stale: set[str] = set()
        self._visits: set[asyncio.Task[None]] = set()
        self.arrived = 0
        self.turned_away = 0
        self.outcomes: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """Visits under way."""
        return len(self._visits)

    async def come(self, rate: float, seconds: float) -> None:
        """Lets customers in at that rate, for so long; fewer if this process can't keep up.

        Raises:
            Exception: what a visit raised; it is a fault of ours, not of the shop's.
        """
        began = self._now()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - self._now()))
            if self._now() - began > seconds:
                break
            self.arrived += 1
            if not self._idle or len(self._visits) >= MOST_VISITS:
                self.turned_away += 1
                continue
            user = self._idle.popleft()
            visit = asyncio.create_task(self._visit(user), name=f"visit of {user}")
            self._visits.add(visit)
            visit.add_done_callback(self._left)

    def _left(self, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        if not visit.cancelled() and (error := visit.exception()) is not None:
            raise error

    async def gone(self) -> None:
        """Returns when the last customer has left."""
        while self._visits:
            await asyncio.wait(set(self._visits))

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Some customers follow their orders over WebSockets while the block runs."""
        shoppers = [self._shopper(user, news=partial(self._heard, user)) for user in self._listeners]
        async with watching(shoppers):
            yield

    def _shopper(self, user: str, news: Callable[[dict[str, Any], int], None] | None = None) -> Shopper:
        http = self._door.clients[self.arrived % len(self._door.clients)]
        shopper = Shopper(http, HOME, websocket_url=self._door.websocket_url, patience=PATIENCE, news=news)
        shopper.token = self._door.issue(user)
        return shopper

    def _heard(self, user: str, message: dict[str, Any], connection: int) -> None:
        at = self._now()
        for told in (message, *message.get("orders", ())):
            if "status" in told and "order_id" in told:
                self._history.add(
                    Entry(
                        began=at,
                        at=at,
                        user=user,
                        act=Act.NEWS,
                        outcome=Outcome.SEEN,
                        order=told["order_id"],
                        status=told["status"],
                        sequence=told["sequence"],
                        connection=connection,
                    )
                )

    async def _visit(self, user: str) -> None:
        try:
            shopper = self._shopper(user)
            key, (method, token), declined = str(uuid.uuid4()), *self._payment()
            entry = await self._check_out(Act.CHECKOUT, shopper, user, key, method, token, declined=declined)
            self.outcomes[entry.outcome] += 1
            later: list[asyncio.Task[None]] = []
            if self._chance.random() < REPEATS:
                later.append(asyncio.create_task(self._repeat(shopper, user, key, method, token)))
            if entry.order and self._chance.random() < CANCELS:
                later.append(asyncio.create_task(self._cancel(shopper, user, entry.order)))
            if entry.order and self._chance.random() < LOOKS:
                later.append(asyncio.create_task(self._look(shopper, user, entry.order)))
            await asyncio.gather(*later)
        finally:
            self._idle.append(user)

    def _payment(self) -> tuple[tuple[str, str], bool]:
        declined = self._chance.random() < DECLINES
        return choose_payment(self._chance, declines=1.0 if declined else 0.0), declined

    async def _check_out(
        self, act: Act, shopper: Shopper, user: str, key: str, method: str, token: str, *, declined: bool = False
    ) -> Entry:
        began = self._now()
        order, answer, outcome, detail = "", "", Outcome.ACCEPTED, ""
        try:
            if act is Act.CHECKOUT:
                await self._fill_cart(shopper, user)
            tracked = await shopper.check_out(method, token, key=key)
            order, answer = tracked.order_id, tracked.answer.decode()
        except Refused as refused:
            outcome, detail = Outcome.REFUSED, refused.type
        except ShopAway as away:
            outcome, detail = Outcome.UNKNOWN, str(away)
        if outcome is not Outcome.ACCEPTED:
            self._stale.add(user)
        entry = Entry(
            began=began,
            at=self._now(),
            user=user,
            act=act,
            outcome=outcome,
            key=key,
            order=order,
            declined=declined,
            answer=answer,
            detail=detail,
        )
        self._history.add(entry)
        return entry

    async def _fill_cart(self, shopper: Shopper, user: str) -> None:
        if user in self._stale:
            await shopper.empty_cart()
            self._stale.discard(user)
        lines = self._chance.choices((1, 2), weights=(70, 30))[0]
        picked = self._chance.sample(range(len(self._shelf)), lines)
        await shopper.fill_cart({self._shelf[n].product_id: self._chance.choice((1, 1, 2)) for n in picked})

    async def _repeat(self, shopper: Shopper, user: str, key: str, method: str, token: str) -> None:
        await asyncio.sleep(self._chance.random() * DOUBT)
        await self._check_out(Act.REPEAT, shopper, user, key, method, token)

    async def _cancel(self, shopper: Shopper, user: str, order_id: str) -> None:
        await asyncio.sleep(self._chance.random() * CHANGE_OF_MIND)
        began, until = self._now(), self._now() + PATIENCE
        outcome, document, detail = Outcome.UNDECIDED, None, ""
        try:
            while document is None and self._now() < until:
                document = await shopper.cancel(order_id)
                if document is None:
                    await asyncio.sleep(1)
            if document is not None:
                outcome = Outcome.CANCELLED
        except Refused as refused:
            outcome, detail = _refusal(refused), refused.type
        except ShopAway as away:
            outcome, detail = Outcome.UNKNOWN, str(away)
        self._see(Act.CANCEL, user, order_id, began, outcome, document, detail)

    async def _look(self, shopper: Shopper, user: str, order_id: str) -> None:
        for _ in range(self._chance.choice((1, 2, 3))):
            await asyncio.sleep(self._chance.random() * LOOKING)
            began = self._now()
            document, outcome, detail = None, Outcome.SEEN, ""
            try:
                document = await shopper.look_at(order_id)
            except Refused as refused:
                outcome, detail = _refusal(refused), refused.type
            except ShopAway as away:
                outcome, detail = Outcome.UNKNOWN, str(away)
            self._see(Act.LOOK, user, order_id, began, outcome, document, detail)

    def _see(
        self,
        act: Act,
        user: str,
        order_id: str,
        began: float,
        outcome: Outcome,
        document: dict[str, Any] | None,
        detail: str,
    ) -> None:
        self._history.add(
            Entry(
                began=began,
                at=self._now(),
                user=user,
                act=act,
                outcome=outcome,
                order=order_id,
                status=document["status"] if document else "",
                sequence=document["timeline"][-1]["sequence"] if document else 0,
                detail=detail,
            )
        )


def _refusal(refused: Refused) -> Outcome:
    return Outcome.NOT_FOUND if refused.status == _STATUS_OF_NO_ORDER else Outcome.REFUSED

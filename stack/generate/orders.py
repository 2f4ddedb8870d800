"""Orders as the gateway lets them be born, without a gateway: produced in batches, and remembered in Redis.

What a checkout decides is the gateway's own code: prices, the order's form and id, its message, the record that
answers reads (and repeated keys) until the saga has written it. What a visitor of the API meets besides does not
happen here: no cart is bought, no rate limit counts.

Who has come to the checkout on a visit buys first; beyond them, customers come straight to it. Some are fraudsters.
"""

import asyncio
import datetime as dt
import random
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from contracts.admission import AcceptedOrder
from contracts.events import OrderCreated
from contracts.orders import Address, PaymentMethod, PaymentMethodType
from contracts.products import ProductCard, ProductDirectory
from contracts.sales import SaleBoard
from kit.clock import Clock
from kit.ids import new_id
from kit.kafka import EventProducer, Placement
from kit.transient import is_transient
from oltp.gateway import domain
from oltp.gateway.admission import Admission
from oltp.gateway.domain import Purchase
from oltp.gateway.order_log import OrderLog
from oltp.gateway.service import accepted_at, sealed
from stack.generate.fraud import Deceit, Fraudsters, Truth, home_ip
from stack.generate.shop import Buyer, Shelf, draw
from stack.generate.visits import Visitor, Visits
from stack.shoppers import Offer, choose_cart, choose_payment

log = structlog.get_logger()

_REMEMBER_SECONDS: Final = 60.0
_KEPT_TIMES: Final = 20_000
_CANDIDATES: Final = 10
"""Products among which a fraudster looks for the dearest, or the cheapest."""


@dataclass
class Tally:
    """What has become of the visitors so far. ``acknowledged`` are the latest times that the broker took, seconds."""

    produced: int = 0
    units: int = 0
    unknown: int = 0
    unserved: int = 0
    unrecorded: int = 0
    taken: int = 0
    acknowledged: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_TIMES))


@dataclass(frozen=True, slots=True)
class _Wanted:
    cart: dict[str, int]
    buyer: Buyer
    address: Address
    client_ip: str
    visitor: Visitor | None = None
    deceit: Deceit | None = None


@dataclass(frozen=True, slots=True)
class _Wish:
    order: OrderCreated
    visitor: Visitor | None
    deceit: Deceit | None


class Orders:
    """The activity of buying; see :class:`stack.generate.run.Activity`."""

    def __init__(
        self,
        *,
        buyers: list[Buyer],
        shelf: Shelf,
        products: ProductDirectory,
        sales: SaleBoard,
        producer: EventProducer,
        admission: Admission,
        order_log: OrderLog,
        clock: Clock,
        chance: random.Random,
        declines: float,
        visits: Visits,
        fraudsters: Fraudsters,
        truth: Truth,
    ) -> None:
        self.tally = Tally()
        self._buyers = buyers
        self._shelf = shelf
        self._products = products
        self._sales = sales
        self._producer = producer
        self._admission = admission
        self._order_log = order_log
        self._clock = clock
        self._chance = chance
        self._declines = declines
        self._visits = visits
        self._fraudsters = fraudsters
        self._truth = truth
        self._waiting: dict[int, set[int]] = {}

    async def perform(self, visitors: int) -> None:
        """So many visitors order something at once."""
        wishes = await self._wishes(visitors)
        if not wishes:
            return
        orders = [wish.order for wish in wishes]
        asked = time.perf_counter()
        try:
            places = await self._producer.send([sealed(order) for order in orders])
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("generate.not_acknowledged", orders=len(orders), error=repr(error))
            self.tally.unknown += len(orders)
            return
        self.tally.acknowledged.extend([time.perf_counter() - asked] * len(orders))
        self.tally.produced += len(orders)
        for wish, order, place in zip(wishes, orders, places, strict=True):
            if wish.visitor is not None:
                self._visits.placed(wish.visitor, order.order_id, order.created_at)
            if wish.deceit is not None:
                self._truth.tell(order.order_id, order.user_id, order.created_at, wish.deceit.kind)
            self.tally.units += sum(line.quantity for line in order.lines)
            self._order_log.produced(place)
            self._waiting.setdefault(place.partition, set()).add(place.offset)
        await asyncio.gather(*(self._remember(order, place) for order, place in zip(orders, places, strict=True)))

    def taken_up(self, committed: Sequence[int]) -> None:
        """Tells how far the saga has come in each partition of the order log."""
        for partition, waiting in self._waiting.items():
            done = {offset for offset in waiting if offset < committed[partition]}
            waiting -= done
            self.tally.taken += len(done)

    async def _wishes(self, visitors: int) -> list[_Wish]:
        offers = self._shelf.offers
        if not offers:
            self.tally.unserved += visitors
            return []
        now = self._clock.now()
        wanted = [self._wanted(offers, now) for _ in range(visitors)]
        cards = await self._products.get_many({product_id for want in wanted for product_id in want.cart})
        wishes = []
        for want in wanted:
            cart = want.cart if want.deceit is None else self._to_taste(want.deceit, want.cart, cards)
            priced = domain.price(cart, cards)
            if (
                not priced.lines
                or priced.unavailable
                or len(priced.currencies) != 1
                or priced.total > domain.LARGEST_TOTAL
            ):
                self.tally.unserved += 1
                continue
            declines = self._declines if want.deceit is None else want.deceit.declined
            method, token = choose_payment(self._chance, declines=declines)
            order_id = new_id()
            order = domain.order_of(
                priced,
                Purchase(want.address, PaymentMethod(type=PaymentMethodType(method), token=token)),
                want.address,
                order_id=order_id,
                user_id=want.buyer.user_id,
                key=str(uuid.uuid4()),
                queue_position=self._order_log.backlog(order_id),
                created_at=self._clock.now(),
                client_ip=want.client_ip,
            )
            wishes.append(_Wish(order, want.visitor, want.deceit))
        return wishes

    def _wanted(self, offers: list[Offer], now: dt.datetime) -> _Wanted:
        """What the next customer wants: a fraudster, who comes from a visit, or who comes straight."""
        if (deceit := self._fraudsters.next()) is not None:
            candidates = self._chance.sample(offers, min(_CANDIDATES, len(offers)))
            cart = self._without_sales({offer.product_id: 1 for offer in candidates}, now)
            return _Wanted(cart, deceit.buyer, deceit.address, deceit.client_ip, deceit=deceit)
        visitor = self._visits.next_buyer()
        cart = choose_cart(self._chance, offers) if visitor is None else visitor.told.cart
        buyer = draw(self._chance, self._buyers) if visitor is None else visitor.buyer
        client_ip = buyer.client_ip or home_ip(buyer.user_id)
        return _Wanted(self._without_sales(cart, now), buyer, buyer.address, client_ip, visitor=visitor)

    def _to_taste(self, deceit: Deceit, candidates: dict[str, int], cards: Mapping[str, ProductCard]) -> dict[str, int]:
        """Several of the dearest, one of the cheapest, or whatever comes first."""
        known = sorted((card for card in map(cards.get, candidates) if card is not None), key=lambda c: c.unit_price)
        if deceit.petty:
            return {card.product_id: 1 for card in known[:1]}
        if deceit.lavish:
            return {card.product_id: self._chance.choice((1, 2, 3)) for card in known[-3:]}
        return {card.product_id: 1 for card in self._chance.sample(known, min(2, len(known)))}

    def _without_sales(self, cart: dict[str, int], now: dt.datetime) -> dict[str, int]:
        """What is in a flash sale is left to those who come through the gateway, which alone admits to it."""
        return {product: units for product, units in cart.items() if self._sales.running(product, now) is None}

    async def _remember(self, order: OrderCreated, place: Placement) -> None:
        accepted: AcceptedOrder = accepted_at(order, place)
        answer = domain.answer_to(order)
        give_up_at, pause = time.monotonic() + _REMEMBER_SECONDS, 0.05
        while True:
            try:
                await self._admission.finish(accepted, answer, from_cart=False)
                return
            except Exception as error:
                if not is_transient(error):
                    raise
                if time.monotonic() >= give_up_at:
                    log.error("generate.unrecorded", order_id=order.order_id, exc_info=error)
                    self.tally.unrecorded += 1
                    return
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

"""The checkout: an order is born in Kafka. No database stands on this path."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from contracts.addresses import AddressDirectory
from contracts.admission import AcceptedOrder
from contracts.envelope import Envelope, caused_id, registry, seal
from contracts.events import OrderCreated
from contracts.orders import Address
from contracts.products import ProductDirectory
from contracts.sales import SaleBoard, SaleCard
from kit import telemetry
from kit.clock import Clock
from kit.errors import TooManyRequests, Unavailable
from kit.ids import new_id
from kit.kafka import EventProducer, Placement
from kit.transient import is_transient
from oltp.gateway import domain
from oltp.gateway.admission import (
    Admission,
    Busy,
    CartChanged,
    Claimed,
    Forgotten,
    HasEnough,
    Known,
    Limited,
    NothingLeft,
    OtherOrder,
    Rate,
    Record,
    Seen,
    Short,
    describe,
    turned_away,
)
from oltp.gateway.domain import Purchase
from oltp.gateway.errors import (
    AddressUnknown,
    AlreadyBought,
    CartEmpty,
    CheckoutInFlight,
    IdempotencyKeyReused,
    OneSaleAtATime,
    OrderTooLarge,
    OutOfStock,
    Overloaded,
    OverSaleLimit,
    ProductsUnavailable,
    SoldOut,
)
from oltp.gateway.order_log import OrderLog
from oltp.gateway.recovery import Recovery
from oltp.gateway.settings import GatewaySettings

log = structlog.get_logger()

SOURCE: Final = "surge/gateway"
_CREATED: Final = registry.name_of(OrderCreated)
_ROUNDS: Final = 4
_FIRST_LOOK_SECONDS: Final = 0.01
_LONGEST_LOOK_SECONDS: Final = 0.1
_FINISH_SECONDS: Final = 60.0
SALE_TURNS: Final = 8
"""How many orders of flash sales are made at a time, first come, first served. A rush lets hundreds through at once,
each as much work as ten refusals: without turns everybody else's checkout would wait for all of them."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to a checkout. ``rate`` is only known to the request that made the order."""

    order_id: str
    body: bytes
    rate: Rate | None


@dataclass(frozen=True, slots=True)
class Arrival:
    """A checkout that came in: what Redis knows of it, and the flash sale that one of its lines is bought in."""

    seen: Seen
    sale: SaleCard | None

    @property
    def is_new(self) -> bool:
        """Whether its key is known to be new."""
        return self.seen.record is None and self.seen.remembers


@dataclass(slots=True)
class _Unfinished:
    accepted: AcceptedOrder
    body: bytes
    give_up_at: float


def sealed(order: OrderCreated) -> Envelope:
    """The message that an order is born as; the same id each time it is produced."""
    return seal(
        order,
        id=caused_id(order.order_id, _CREATED),
        source=SOURCE,
        subject=order.order_id,
        time=order.created_at,
        correlationid=telemetry.correlation_id(),
        traceparent=telemetry.traceparent(),
        partitionkey=order.sale.product_id if order.sale is not None else "",
    )


def accepted_at(order: OrderCreated, place: Placement) -> AcceptedOrder:
    """What is remembered of an order until the saga has written it."""
    return AcceptedOrder(**msgspec.structs.asdict(order), log_partition=place.partition, log_offset=place.offset)


class Checkout:
    """Admits a cart and produces its order, once per customer and idempotency key.

    Also a task: it finishes in the background the checkouts whose order is in the log while Redis was away before it
    heard of it.
    """

    name = "checkout-finisher"

    def __init__(
        self,
        settings: GatewaySettings,
        admission: Admission,
        order_log: OrderLog,
        recovery: Recovery,
        producer: EventProducer,
        clock: Clock,
    ) -> None:
        self.ready = True
        self._settings = settings
        self._admission = admission
        self._order_log = order_log
        self._recovery = recovery
        self._producer = producer
        self._clock = clock
        self._unfinished: deque[_Unfinished] = deque(maxlen=10_000)
        self._sale_turns = asyncio.Semaphore(SALE_TURNS)

    async def receive(self, user_id: str, key: str, sales: SaleBoard) -> Arrival:
        """Looks at a checkout before anybody reads what it says, and turns away who would be, whatever that is.

        Raises:
            OneSaleAtATime, OverSaleLimit, SoldOut, AlreadyBought: the cart can't be bought because of a flash sale.
            Overloaded: the saga is too far behind to let more orders wait.
        """
        running = self._running(sales)
        seen = await self._admission.look(user_id, key, running)
        if seen.record is not None or not seen.remembers:
            return Arrival(seen, None)
        self._refuse_overload()
        sale = _only(sale for sale in running if sale.product_id in seen.cart)
        if sale is not None:
            wanted = seen.cart[sale.product_id]
            _refuse(turned_away(seen.counted[sale.product_id], wanted, sale), sale, wanted)
        return Arrival(seen, sale)

    async def place(
        self,
        user_id: str,
        key: str,
        purchase: Purchase,
        products: ProductDirectory,
        sales: SaleBoard,
        addresses: AddressDirectory,
        client_ip: str = "",
        arrival: Arrival | None = None,
    ) -> Accepted:
        """Buys the customer's cart; ``client_ip`` is where the request comes from, ``arrival`` if it was received.

        Raises:
            IdempotencyKeyReused: the key came with another body before.
            CheckoutInFlight: the key's first request, or another checkout of this cart, has no answer yet.
            CartEmpty, ProductsUnavailable, OutOfStock, OrderTooLarge: the cart can't be bought as it is.
            AddressUnknown: the customer has no such address.
            OneSaleAtATime, OverSaleLimit, SoldOut, AlreadyBought: it can't because of a flash sale.
            TooManyRequests: the customer's limit of checkouts is reached.
            Overloaded: the saga is too far behind to let more orders wait.
            Unavailable: Kafka is away, or Redis is just learning its keys again; the same key is safe to try again.
        """
        request_hash = domain.request_hash(purchase)
        for _ in range(_ROUNDS):
            arrival = arrival or await self.receive(user_id, key, sales)
            seen, sale = arrival.seen, arrival.sale
            if seen.record is not None:
                return await self._known(user_id, key, request_hash, seen.record)
            if not seen.remembers:
                await self._recovered()
                arrival = None
                continue
            waits = sale is not None and self._sale_turns.locked()
            async with self._sale_turns if sale is not None else nullcontext():
                if waits:
                    arrival = await self.receive(user_id, key, sales)
                    if not arrival.is_new or arrival.sale != sale:
                        continue
                    seen = arrival.seen
                address = await self._address(user_id, purchase, addresses)
                order = await self._order(
                    user_id, key, request_hash, purchase, address, seen.cart, products, sale, client_ip
                )
                verdict = await self._admission.claim(order, sale)
            arrival = None
            match verdict:
                case Claimed(rate, ahead, doubt):
                    return await self._produce(_queued(order, ahead), rate, doubt=doubt)
                case Known(record):
                    return await self._known(user_id, key, request_hash, record)
                case Limited(rate):
                    raise self._limited(rate)
                case NothingLeft() | HasEnough():
                    assert sale is not None
                    _refuse(verdict, sale, seen.cart[sale.product_id])
                case Short(left):
                    raise OutOfStock(describe(left, order))
                case Busy():
                    raise CheckoutInFlight("Another checkout of this cart is under way.")
                case Forgotten() | CartChanged():
                    continue
        raise CheckoutInFlight("The cart keeps changing while it is being bought.")

    def _refuse_overload(self) -> None:
        bound = self._settings.checkout_most_waiting
        if bound and (self._order_log.lag() or 0) >= bound:
            raise Overloaded

    async def _recovered(self) -> None:
        if not await self._recovery.wait(self._settings.checkout_recovery_wait_seconds):
            raise Unavailable("The shop is recalling its latest checkouts; please try again with the same key.")

    def _running(self, sales: SaleBoard) -> Sequence[SaleCard]:
        known = sales.known()
        if not known:
            return ()
        now = self._clock.now()
        return [sale for sale in known if sale.is_open(now)]

    async def _address(self, user_id: str, purchase: Purchase, addresses: AddressDirectory) -> Address:
        to = purchase.shipping_address
        if isinstance(to, Address):
            return to
        address = await addresses.get(user_id, to.address_id)
        if address is None:
            raise AddressUnknown("You have no address with this id.")
        return address

    async def _order(
        self,
        user_id: str,
        key: str,
        request_hash: str,
        purchase: Purchase,
        address: Address,
        cart: dict[str, int],
        products: ProductDirectory,
        sale: SaleCard | None,
        client_ip: str,
    ) -> OrderCreated:
        if not cart:
            raise CartEmpty("Put something into the cart first.")
        priced = domain.price(cart, await products.get_many(cart), sale)
        if priced.unavailable:
            raise ProductsUnavailable(priced.unavailable)
        if priced.total > domain.LARGEST_TOTAL:
            raise OrderTooLarge(f"An order may cost up to {domain.LARGEST_TOTAL} minor units; buy in several orders.")
        if len(priced.currencies) > 1:
            raise ProductsUnavailable([line.product_id for line in priced.lines])
        order_id = new_id()
        return domain.order_of(
            priced,
            purchase,
            address,
            order_id=order_id,
            user_id=user_id,
            key=key,
            queue_position=self._order_log.backlog(sale.product_id if sale is not None else order_id),
            created_at=self._clock.now(),
            digest=request_hash,
            sale=sale.terms if sale is not None else None,
            client_ip=client_ip,
        )

    def _limited(self, rate: Rate) -> TooManyRequests:
        limit = self._settings.checkout_limit_per_minute
        return TooManyRequests(
            f"At most {limit} checkouts a minute; come back in {rate.reset_seconds} s.",
            retry_after=rate.reset_seconds,
            headers=self.rate_headers(rate),
        )

    def rate_headers(self, rate: Rate | None) -> dict[str, str]:
        """Where the customer stands, as the ``RateLimit`` headers say it."""
        if rate is None or rate.remaining < 0:
            return {}
        return {
            "RateLimit-Policy": f'"checkout";q={self._settings.checkout_limit_per_minute};w=60',
            "RateLimit": f'"checkout";r={rate.remaining};t={rate.reset_seconds}',
        }

    async def _known(self, user_id: str, key: str, request_hash: str, record: Record) -> Accepted:
        """The answer of the key's first request, waited for if need be; an abandoned claim is carried on."""
        started = asyncio.get_running_loop().time()
        pause = _FIRST_LOOK_SECONDS
        while record.request_hash == request_hash:
            if record.answer is not None:
                return Accepted(record.order_id, record.answer, None)
            assert record.order is not None
            if record.age_ms >= self._settings.checkout_takeover_seconds * 1000:
                if taken := await self._admission.take_over(user_id, key, record):
                    log.info("checkout.taken_over", order_id=record.order_id)
                    return await self._produce(_queued(record.order, record.ahead), None, doubt=taken.doubt)
            elif asyncio.get_running_loop().time() - started >= self._settings.checkout_wait_seconds:
                raise CheckoutInFlight("The first request with this key has no answer yet.")
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_LOOK_SECONDS)
            found = await self._admission.record(user_id, key)
            if found is None:
                raise Unavailable("The shop lost its memory just now; please try again with the same key.")
            record = found
        raise IdempotencyKeyReused("This key was used before with another body; use a fresh key for another order.")

    async def _produce(self, order: OrderCreated, rate: Rate | None, *, doubt: bool) -> Accepted:
        envelope = sealed(order)
        try:
            async with asyncio.timeout(self._settings.checkout_produce_seconds):
                [place] = await self._producer.send([envelope])
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("checkout.not_produced", order_id=order.order_id, error=repr(error))
            await self._let_go(order)
            raise Unavailable("The order queue is away for a moment; please try again with the same key.") from error
        self._order_log.produced(place)
        if doubt and (other := await self._other(order)) is not None:
            return other
        return await self._finish(order, place, rate)

    async def _other(self, order: OrderCreated) -> Accepted | None:
        """The answer of the order that the customer has by this key already; None if the saga took this one.

        Raises:
            IdempotencyKeyReused: that order came from another body.
            Unavailable: the saga has not written any yet, or can't be asked; the same key is safe to try again.
        """
        try:
            found = await self._recovery.written(
                order.user_id, order.idempotency_key, self._settings.checkout_wait_seconds
            )
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("checkout.unverified", order_id=order.order_id, error=repr(error))
            found = None
        if found is None:
            await self._let_go(order)
            raise Unavailable("The shop is recalling its latest checkouts; please try again with the same key.")
        if found.order_id == order.order_id:
            return None
        log.warning("checkout.gave_way", order_id=order.order_id, to=found.order_id)
        await self._admission.give_way(order, OtherOrder(found.order_id, found.request_hash, found.answer, found.units))
        if found.request_hash != order.request_hash:
            raise IdempotencyKeyReused("This key was used before with another body; use a fresh key for another order.")
        return Accepted(found.order_id, found.answer, None)

    async def _let_go(self, order: OrderCreated) -> None:
        try:
            await self._admission.let_go(order)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("checkout.claim_kept", order_id=order.order_id, error=repr(error))

    async def _finish(self, order: OrderCreated, place: Placement, rate: Rate | None) -> Accepted:
        body = domain.answer_to(order)
        accepted = accepted_at(order, place)
        try:
            other = await self._admission.finish(accepted, body)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("checkout.finished_later", order_id=order.order_id, error=repr(error))
            give_up_at = asyncio.get_running_loop().time() + _FINISH_SECONDS
            self._unfinished.append(_Unfinished(accepted, body, give_up_at))
            other = None
        if other is not None:
            return await self._known(order.user_id, order.idempotency_key, order.request_hash, other)
        return Accepted(order.order_id, body, rate)

    async def run(self) -> None:
        """Finishes what could not be finished at once, until cancelled."""
        while True:
            await asyncio.sleep(0.2)
            while self._unfinished:
                first = self._unfinished[0]
                try:
                    await self._admission.finish(first.accepted, first.body)
                except Exception as error:
                    if not is_transient(error):
                        raise
                    if asyncio.get_running_loop().time() < first.give_up_at:
                        break
                    log.error("checkout.unfinished", order_id=first.accepted.order_id, exc_info=error)
                if self._unfinished and self._unfinished[0] is first:
                    self._unfinished.popleft()


def _only(sales: Iterable[SaleCard]) -> SaleCard | None:
    found = list(sales)
    if len(found) > 1:
        raise OneSaleAtATime(sorted(sale.product_id for sale in found))
    return found[0] if found else None


def _refuse(verdict: NothingLeft | HasEnough | None, sale: SaleCard, wanted: int) -> None:
    match verdict:
        case NothingLeft():
            raise SoldOut(sale)
        case HasEnough(bought):
            raise AlreadyBought(sale, bought) if bought else OverSaleLimit(sale, wanted)


def _queued(order: OrderCreated, ahead: int) -> OrderCreated:
    """The order with its place in a flash sale: behind the log's backlog, and behind those who want its last units."""
    if ahead <= order.queue_position:
        return order
    return msgspec.structs.replace(order, queue_position=ahead)

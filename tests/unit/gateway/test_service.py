"""What happens after the order is in the log and Redis is away."""

import asyncio
import datetime as dt
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from contracts.admission import AcceptedOrder
from contracts.orders import Address, PaymentMethod, PaymentMethodType
from contracts.products import ProductCard
from kit.clock import FixedClock
from kit.errors import Unavailable
from kit.kafka import Placement
from oltp.gateway.admission import Claimed, Counted, Forgotten, Rate, Record, Seen
from oltp.gateway.app import describing_settings
from oltp.gateway.domain import Purchase, StoredAddress, request_hash
from oltp.gateway.errors import AddressUnknown, CheckoutInFlight, SoldOut
from oltp.gateway.service import SALE_TURNS, Checkout
from tests.sale_board import HandMadeBoard

ADDRESS = Address(name="Ada", line1="12 Square", city="London", postal_code="SW1Y", country="GB")
CARD = PaymentMethod(type=PaymentMethodType.CARD, token="tok_visa")
PURCHASE = Purchase(ADDRESS, CARD)
NOW = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)


class _Shelf:
    async def get_many(self, product_ids: Any) -> dict[str, ProductCard]:
        return {
            product_id: ProductCard(
                product_id=product_id, sku="S", name="Tea", category="tea", unit_price=5, currency="USD", active=True
            )
            for product_id in product_ids
        }


class _Addresses:
    """Knows one address of one customer."""

    async def get(self, user_id: str, address_id: str) -> Address | None:
        return ADDRESS if (user_id, address_id) == ("user", "home") else None


class _Admission:
    """Admits everybody; ``finish`` fails as often as it is told to."""

    def __init__(self, failures: int = 0, other: Record | None = None, verdict: Any = None) -> None:
        self.failures = failures
        self.other = other
        self.verdict = verdict or Claimed(Rate(2, 60))
        self.finished: list[AcceptedOrder] = []
        self.is_finished = asyncio.Event()
        self.let_go_of: list[str] = []

    async def look(self, user_id: str, key: str, running: Any) -> Seen:
        return Seen(remembers=True, record=None, cart={"tea": 2})

    async def record(self, user_id: str, key: str) -> Record | None:
        return self.other

    async def claim(self, order: Any, sale: Any) -> Any:
        return self.verdict

    async def let_go(self, order: Any) -> None:
        self.let_go_of.append(order.order_id)
        raise RedisConnectionError

    async def finish(self, accepted: AcceptedOrder, answer: bytes) -> Record | None:
        if self.failures:
            self.failures -= 1
            raise RedisConnectionError
        self.finished.append(accepted)
        self.is_finished.set()
        return self.other


class _SaleAdmission(_Admission):
    """Everybody wants tea, which is in a sale; each claim takes until ``go``."""

    def __init__(self) -> None:
        super().__init__()
        self.claimed: list[str] = []
        self.sold_out = False
        self.go = asyncio.Event()
        self.all_turns_taken = asyncio.Event()

    async def look(self, user_id: str, key: str, running: Any) -> Seen:
        cart = "cup" if user_id == "passer-by" else "tea"
        return Seen(True, None, {cart: 1}, {"tea": Counted(0, 0, 100 if self.sold_out else 0)})

    async def claim(self, order: Any, sale: Any) -> Any:
        self.claimed.append(order.user_id)
        if len(self.claimed) == SALE_TURNS:
            self.all_turns_taken.set()
        if sale is not None:
            await self.go.wait()
        return self.verdict


class _Producer:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.sent: list[Any] = []

    async def send(self, envelopes: Any) -> list[Placement]:
        if self.error is not None:
            raise self.error
        self.sent += envelopes
        return [Placement(1, 42)]


class _OrderLog:
    def __init__(self, lag: int | None = None) -> None:
        self._lag = lag

    def lag(self) -> int | None:
        return self._lag

    def backlog(self, order_id: str) -> int:
        return 7

    def produced(self, place: Placement) -> None:
        assert place == Placement(1, 42)


def _checkout(admission: _Admission, producer: _Producer | None = None) -> Checkout:
    parts: Any = (admission, _OrderLog(), None, producer or _Producer())
    return Checkout(describing_settings(), *parts, FixedClock(NOW))


async def test_an_order_in_the_log_is_accepted_though_redis_is_away_and_finished_later() -> None:
    admission = _Admission(failures=2)
    checkout = _checkout(admission)
    accepted = await checkout.place("user", "key", PURCHASE, _Shelf(), HandMadeBoard(), _Addresses())
    assert b'"queue_position":7' in accepted.body
    assert admission.finished == []
    task = asyncio.create_task(checkout.run())
    async with asyncio.timeout(5):
        await admission.is_finished.wait()
    task.cancel()
    [finished] = admission.finished
    assert (finished.order_id, finished.log_partition, finished.log_offset) == (accepted.order_id, 1, 42)


async def test_without_kafka_the_claim_is_let_go_and_the_answer_is_503() -> None:
    admission = _Admission()
    with pytest.raises(Unavailable):
        await _checkout(admission, _Producer(TimeoutError())).place(
            "user", "key", PURCHASE, _Shelf(), HandMadeBoard(), _Addresses()
        )
    assert len(admission.let_go_of) == 1


async def test_a_bug_is_not_taken_for_an_outage() -> None:
    with pytest.raises(ZeroDivisionError):
        await _checkout(_Admission(), _Producer(ZeroDivisionError())).place(
            "user", "key", PURCHASE, _Shelf(), HandMadeBoard(), _Addresses()
        )


async def test_the_answer_of_whoever_has_the_key_after_redis_was_wiped_in_between() -> None:
    from oltp.gateway import domain

    other = Record("other", domain.request_hash(PURCHASE), "0", 0, None, b"theirs")
    accepted = await _checkout(_Admission(other=other)).place(
        "user", "key", PURCHASE, _Shelf(), HandMadeBoard(), _Addresses()
    )
    assert (accepted.order_id, accepted.body) == ("other", b"theirs")


async def test_a_memory_that_keeps_going_ends_the_tries() -> None:
    with pytest.raises(CheckoutInFlight):
        await _checkout(_Admission(verdict=Forgotten())).place(
            "user", "key", PURCHASE, _Shelf(), HandMadeBoard(), _Addresses()
        )


async def test_an_order_goes_where_the_stored_address_says() -> None:
    admission = _Admission()
    place = _checkout(admission).place
    await place("user", "key", Purchase(StoredAddress("home"), CARD), _Shelf(), HandMadeBoard(), _Addresses())
    [accepted] = admission.finished
    assert accepted.shipping_address == ADDRESS
    assert accepted.request_hash == request_hash(Purchase(StoredAddress("home"), CARD))
    for user, address_id in (("user", "elsewhere"), ("somebody else", "home")):
        with pytest.raises(AddressUnknown):
            await place(user, "key", Purchase(StoredAddress(address_id), CARD), _Shelf(), HandMadeBoard(), _Addresses())


async def test_the_orders_of_a_sale_take_turns_and_hold_up_nobody_else() -> None:
    admission, board = _SaleAdmission(), HandMadeBoard()
    board.put("tea", units=100, starts_at=NOW)
    place = _checkout(admission).place

    async def buys(user: str) -> object:
        return await place(user, "key", PURCHASE, _Shelf(), board, _Addresses())

    crowd = [f"customer {number:02}" for number in range(3 * SALE_TURNS)]
    first, later = crowd[:SALE_TURNS], crowd[SALE_TURNS:]
    answers = [asyncio.create_task(buys(user)) for user in crowd]
    await admission.all_turns_taken.wait()
    await buys("passer-by")
    assert admission.claimed == [*first, "passer-by"]

    admission.go.set()
    await asyncio.gather(*answers[: 2 * SALE_TURNS])
    assert admission.claimed == [*first, "passer-by", *later], "first come, first served"
    await asyncio.gather(*answers)


async def test_who_waited_for_a_turn_hears_that_nothing_is_left() -> None:
    admission, board = _SaleAdmission(), HandMadeBoard()
    board.put("tea", units=100, starts_at=NOW)
    place = _checkout(admission).place
    answers = [
        asyncio.create_task(place(f"customer {number}", "key", PURCHASE, _Shelf(), board, _Addresses()))
        for number in range(SALE_TURNS + 2)
    ]
    await admission.all_turns_taken.wait()
    admission.sold_out = True
    admission.go.set()
    told = await asyncio.gather(*answers, return_exceptions=True)
    assert [type(answer) for answer in told[SALE_TURNS:]] == [SoldOut, SoldOut]
    assert len(admission.claimed) == SALE_TURNS

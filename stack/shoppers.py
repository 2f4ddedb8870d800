"""Customers who sign in, fill a cart, check out and watch their orders, all through the public API."""

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from contracts.orders import Address, OrderStatus

BEYOND_CONFIRMATION: Final = frozenset(
    {OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED, OrderStatus.DELIVERED}
)
SETTLED: Final = frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED, OrderStatus.CANCELLED})
"""Where the saga has nothing to decide any more."""

GOOD_TOKENS: Final = {"card": "pm_card_visa", "paypal": "B-4242", "wallet": "tok_ok"}
BAD_TOKENS: Final = {
    "card": (
        "pm_card_chargeDeclinedInsufficientFunds",
        "pm_card_chargeDeclined",
        "pm_card_chargeDeclinedExpiredCard",
        "pm_card_chargeDeclinedFraudulent",
    ),
    "paypal": ("B-INSTRUMENT_DECLINED", "B-PAYER_CANNOT_PAY"),
    "wallet": ("tok_insufficient_funds", "tok_card_declined"),
}
"""Test instruments that the simulated providers decline; see ``oltp/payments/providers/port.py``."""

METHODS: Final = {"card": 0.62, "paypal": 0.26, "wallet": 0.12}

PATIENCE: Final = 30.0
"""Seconds that a customer goes on trying while the shop is away."""

_PASSING: Final = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Offer:
    """A product that can be bought now."""

    product_id: str
    stock: int


class Refused(Exception):
    """The shop refused a request; ``type`` is the problem's."""

    def __init__(self, response: httpx.Response) -> None:
        try:
            document = response.json()
        except ValueError:
            document = {}
        self.status = response.status_code
        self.type = str(document.get("type", response.status_code))
        super().__init__(f"{response.status_code} {self.type}: {document.get('detail', response.text[:200])}")


class ShopAway(Exception):
    """The shop did not answer, however often it was asked."""


@dataclass(slots=True)
class Tracked:
    """An order as its customer saw it go. Moments are of ``time.perf_counter``; ``answer`` is the checkout's body."""

    order_id: str
    asked_at: float
    accepted_at: float
    answer: bytes = b""
    status: str = OrderStatus.PENDING
    reason: str = ""
    confirmed_at: float | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def placement(self) -> float:
        """Seconds that the checkout took."""
        return self.accepted_at - self.asked_at

    @property
    def confirmation(self) -> float | None:
        """Seconds from the checkout to the news that it is confirmed."""
        return None if self.confirmed_at is None else self.confirmed_at - self.asked_at

    def see(self, status: str, reason: str, at: float) -> None:
        """The order was known to stand there at that moment."""
        if self.settled.is_set() and status != OrderStatus.DELIVERED:
            return
        self.status = status
        self.reason = reason or self.reason
        if status in BEYOND_CONFIRMATION and self.confirmed_at is None:
            self.confirmed_at = at
        if status in SETTLED:
            self.settled.set()


class Shopper:
    """One customer. Every request is tried again while the shop is away; a checkout keeps its key.

    ``news`` is told of each message of the WebSocket, with the number of the connection that it came by.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        address: Address,
        *,
        websocket_url: str = "",
        patience: float = PATIENCE,
        news: Callable[[dict[str, Any], int], None] | None = None,
    ) -> None:
        self._http = http
        self._patience = patience
        self._address = {name: value for name, value in _plain(address).items() if value is not None}
        self._websocket_url = websocket_url
        self._news = news
        self._connections = 0
        self.token = ""
        self.orders: dict[str, Tracked] = {}
        self._early: dict[str, list[tuple[str, str, float]]] = {}

    async def sign_in(self, email: str, password: str) -> None:
        """Signs in with email and password; whoever has a token sets ``token`` instead.

        Raises:
            Refused, ShopAway: if that fails.
        """
        answer = await self._ask("POST", "/api/auth/login", json={"email": email, "password": password})
        self.token = answer.json()["access_token"]

    async def fill_cart(self, units: dict[str, int]) -> None:
        """Puts products into the cart.

        Raises:
            Refused, ShopAway: if that fails.
        """
        for product_id, quantity in units.items():
            await self._ask("POST", "/api/cart/add", json={"product_id": product_id, "quantity": quantity})

    async def empty_cart(self) -> None:
        """Takes everything out of the cart."""
        await self._ask("DELETE", "/api/cart")

    async def check_out(self, method: str, token: str, *, key: str | None = None) -> Tracked:
        """Buys the cart; a checkout whose answer is lost is repeated with the same key.

        Raises:
            Refused, ShopAway: if that fails.
        """
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        body = {"shipping_address": self._address, "payment_method": {"type": method, "token": token}}
        asked_at = time.perf_counter()
        answer = await self._ask("POST", "/api/orders/checkout", headers=headers, json=body)
        tracked = Tracked(answer.json()["order_id"], asked_at, time.perf_counter(), answer.content)
        self.orders[tracked.order_id] = tracked
        for status, reason, at in self._early.pop(tracked.order_id, []):
            tracked.see(status, reason, at)
        return tracked

    async def cancel(self, order_id: str) -> dict[str, Any] | None:
        """Asks for a cancellation; the order as the answer shows it, or None if nothing is decided yet.

        Raises:
            Refused: if the order has left, or is not found.
            ShopAway: if it can't be asked.
        """
        answer = await self._ask("PUT", f"/api/orders/{order_id}/cancel")
        document: dict[str, Any] = answer.json()
        return document if answer.status_code == 200 else None

    async def look_at(self, order_id: str) -> dict[str, Any]:
        """The order as the API shows it; tells its tracker.

        Raises:
            Refused, ShopAway: if that fails.
        """
        document: dict[str, Any] = (await self._ask("GET", f"/api/orders/{order_id}")).json()
        if tracked := self.orders.get(order_id):
            tracked.see(document["status"], document.get("cancel_reason") or "", time.perf_counter())
        return document

    async def follow(self, ready: asyncio.Event) -> None:
        """Follows all of the customer's orders over the WebSocket; ``ready`` is set once it tells of them."""
        headers = {"Authorization": f"Bearer {self.token}"}
        while True:
            try:
                async with connect(
                    f"{self._websocket_url}/ws/me", additional_headers=headers, compression=None, ping_interval=None
                ) as socket:
                    await self._listen(socket, ready)
            except (OSError, TimeoutError, WebSocketException):
                await asyncio.sleep(0.2)

    async def _listen(self, socket: ClientConnection, ready: asyncio.Event) -> None:
        self._connections += 1
        async for text in socket:
            message = orjson.loads(text)
            if self._news is not None:
                self._news(message, self._connections)
            if message["type"] == "snapshot":
                ready.set()
            order_id = message.get("order_id")
            if order_id is None or "status" not in message:
                continue
            news = (message["status"], message.get("reason", ""), time.perf_counter())
            if tracked := self.orders.get(order_id):
                tracked.see(*news)
            else:
                self._early.setdefault(order_id, []).append(news)

    async def _ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, json: Any = None
    ) -> httpx.Response:
        signed = {**(headers or {}), **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        problem, delay = "", 0.1
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            if problem:
                await asyncio.sleep(delay * (0.75 + random.random() / 2))
                delay = min(delay * 2, 2.0)
            try:
                response = await self._http.request(method, path, headers=signed, json=json)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if response.is_success:
                return response
            in_flight = response.status_code == 409 and "in-flight" in response.text
            if response.status_code not in _PASSING and not in_flight:
                raise Refused(response)
            problem = f"{response.status_code} {response.text[:200]}"
            with contextlib.suppress(ValueError):
                await asyncio.sleep(min(float(response.headers.get("Retry-After", "0")), 5.0))
        raise ShopAway(f"{method} {path}: {problem}")


@asynccontextmanager
async def watching(shoppers: Iterable[Shopper]) -> AsyncIterator[None]:
    """Each of the customers follows all of their orders over a WebSocket of their own while the block runs.

    Raises:
        TimeoutError: if the shop does not tell of their orders within 10 s.
    """
    ready = {asyncio.Event(): shopper for shopper in shoppers}
    following = [asyncio.create_task(shopper.follow(opened)) for opened, shopper in ready.items()]
    try:
        async with asyncio.timeout(10):
            for opened in ready:
                await opened.wait()
        yield
    finally:
        for task in following:
            task.cancel()
        ended = await asyncio.gather(*following, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def offers(http: httpx.AsyncClient, *, pages: int = 20) -> list[Offer]:
    """Products that the shop has in stock, as its product list says.

    Raises:
        httpx.HTTPError: if the list can't be read.
    """
    found: list[Offer] = []
    for page in range(1, pages + 1):
        answer = await http.get("/api/products", params={"page": page, "page_size": 100, "sort": "name"})
        answer.raise_for_status()
        document = answer.json()
        found += [Offer(item["id"], item["stock"]) for item in document["items"] if item["stock"]]
        if not document["has_more"]:
            break
    return found


def choose_payment(chance: random.Random, *, declines: float) -> tuple[str, str]:
    """A payment method and a token for it; a share of them is declined."""
    method = chance.choices(list(METHODS), weights=list(METHODS.values()))[0]
    if chance.random() < declines:
        return method, chance.choice(BAD_TOKENS[method])
    return method, GOOD_TOKENS[method]


def choose_cart(chance: random.Random, shelf: Sequence[Offer]) -> dict[str, int]:
    """One to five products, two and a half on average."""
    lines = chance.choices((1, 2, 3, 4, 5), weights=(26, 30, 23, 12, 9))[0]
    picked = chance.sample(range(len(shelf)), min(lines, len(shelf)))
    return {shelf[n].product_id: chance.choices((1, 2), weights=(87, 13))[0] for n in picked}


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of the values do not pass (nearest rank); 0 of nothing."""
    if not values:
        return 0.0
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, max(0, -(-int(share * 1000) * len(ranked) // 1000) - 1))]


def _plain(address: Address) -> dict[str, Any]:
    return {name: getattr(address, name) for name in address.__struct_fields__}

"""Live tracking in the running shop: every transition reaches every gateway's watchers, with its delay measured."""

import asyncio
import datetime as dt
import os
import socket
import statistics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect

from contracts.orders import OrderStatus
from tests.shop import Account, Shop, eventually

TERMINAL = {OrderStatus.DELIVERED, OrderStatus.CANCELLED}
CONFIRMED = {OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED, *TERMINAL}

Frame = dict[str, Any]


@pytest.fixture
async def product_id(shop: Shop) -> str:
    """A product that can be bought."""
    answer = await shop.http.get("/api/products", params={"page_size": 50})
    assert answer.status_code == 200, answer.text
    most: dict[str, Any] = max(answer.json()["items"], key=lambda product: product["stock"])
    assert most["stock"] > 20
    return str(most["id"])


@pytest.fixture(scope="module")
async def second_gateway() -> AsyncIterator[str]:
    """Another gateway process on a free port; its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "SURGE_PROCESS": "gateway-2", "SURGE_PORT": str(port), "SURGE_HOST": "127.0.0.1"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "oltp.gateway", env=environment, stdout=asyncio.subprocess.DEVNULL
    )
    base_url = f"http://127.0.0.1:{port}"

    async def ready() -> None:
        assert process.returncode is None, "the second gateway ended"
        try:
            answer = await http.get("/readyz")
        except httpx.TransportError as error:
            raise AssertionError("not up") from error
        assert answer.status_code == 200

    try:
        async with httpx.AsyncClient(base_url=base_url) as http:
            await eventually(ready, within=30)
        yield base_url
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


class Watcher:
    """A socket, what it has been told, and how late."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self.frames: list[Frame] = []
        self.delays: list[float] = []

    async def next(self) -> Frame:
        """The next message about an order (or the snapshot)."""
        while True:
            async with asyncio.timeout(30):
                frame: Frame = orjson.loads(await self._connection.recv())
            if frame["type"].startswith("order."):
                occurred_at = dt.datetime.fromisoformat(frame["occurred_at"])
                self.delays.append((dt.datetime.now(dt.UTC) - occurred_at).total_seconds())
                self.frames.append(frame)
                return frame
            if frame["type"] == "snapshot":
                self.frames += frame["transitions"]
                return frame

    async def until(self, statuses: set[OrderStatus]) -> None:
        """Listens until an order has one of the statuses."""
        while not self.frames or self.frames[-1]["status"] not in statuses:
            await self.next()

    @property
    def story(self) -> list[tuple[int, str]]:
        return [(frame["sequence"], frame["status"]) for frame in self.frames]


@asynccontextmanager
async def watching(base_url: str, path: str, account: Account) -> AsyncIterator[Watcher]:
    """A signed-in socket whose snapshot has come."""
    url = base_url.replace("http", "ws", 1) + path
    async with connect(url, additional_headers=account.headers) as connection:
        watcher = Watcher(connection)
        await watcher.next()
        yield watcher


async def test_both_gateways_tell_the_whole_story_in_order(
    shop: Shop, second_gateway: str, customer: Account, product_id: str
) -> None:
    async with watching(second_gateway, "/ws/me", customer) as mine:
        order_id = await customer.buy({product_id: 1})
        path = f"/ws/orders/{order_id}"
        async with (
            watching(shop.base_url, path, customer) as one,
            watching(second_gateway, path, customer) as two,
        ):
            watchers = (one, two, mine)
            await asyncio.gather(*(watcher.until(CONFIRMED) for watcher in watchers))

    for watcher in watchers:
        assert watcher.story == sorted(set(watcher.story))
        assert all(frame["order_id"] == order_id for frame in watcher.frames)
    assert one.story[: len(two.story)] == two.story[: len(one.story)]
    assert one.story[0] == (1, OrderStatus.PENDING)
    assert [status for _, status in mine.story] == [status for _, status in one.story[1 : len(mine.story) + 1]]


async def test_a_reconnect_to_the_other_gateway_resumes(
    shop: Shop, second_gateway: str, customer: Account, product_id: str
) -> None:
    order_id = await customer.buy({product_id: 1})
    async with watching(shop.base_url, f"/ws/orders/{order_id}", customer) as before:
        await before.until({OrderStatus.AWAITING_PAYMENT, *CONFIRMED})
    seen = before.frames[-1]["sequence"]
    await customer.wait_for(order_id, *CONFIRMED)

    async with watching(second_gateway, f"/ws/orders/{order_id}?last_seen={seen}", customer) as after:
        await after.until(CONFIRMED)

    document = await customer.order(order_id)
    told = [(step["sequence"], step["status"]) for step in document["timeline"]]
    story = [*before.story, *after.story]
    assert story == told[: len(story)]


async def test_a_cancellation_reaches_whoever_watches(
    shop: Shop, second_gateway: str, customer: Account, product_id: str
) -> None:
    order_id = await customer.buy({product_id: 1})
    async with watching(second_gateway, f"/ws/orders/{order_id}", customer) as watcher:
        answer = await customer.put(f"/api/orders/{order_id}/cancel")
        assert answer.status_code in (200, 202, 409), answer.text
        if answer.status_code == 409:
            assert answer.json()["order_status"] in (OrderStatus.SHIPPED, OrderStatus.DELIVERED)
            return
        await watcher.until({OrderStatus.CANCELLED})

    assert (await customer.order(order_id))["cancel_reason"] == "customer_request"


async def test_the_history_follows(customer: Account, product_id: str) -> None:
    order_ids = [await customer.buy({product_id: 1}) for _ in range(3)]

    listed = await customer.get("/api/orders/my-orders")
    assert [row["order_id"] for row in listed.json()["items"]] == order_ids[::-1]

    for order_id in order_ids:
        await customer.wait_for(order_id, *CONFIRMED)

    async def follows() -> None:
        rows = (await customer.get("/api/orders/my-orders", params={"status": sorted(CONFIRMED)})).json()["items"]
        assert {row["order_id"] for row in rows} == set(order_ids)

    await eventually(follows)


async def test_how_late_transitions_come(
    shop: Shop,
    second_gateway: str,
    product_id: str,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One order at a time; from the saga's clock to the client, so that its commit is included."""
    customers = [shop.issue() for _ in range(20)]
    delays: list[float] = []
    for account, gateway in zip(customers, [shop.base_url, second_gateway] * 10, strict=True):
        async with watching(gateway, "/ws/me", account) as mine:
            await account.buy({product_id: 1})
            await mine.until(CONFIRMED)
        assert len(mine.frames) >= 2
        delays += mine.delays
    percentiles = statistics.quantiles(delays, n=100, method="inclusive")
    record_property("tracking_p50_ms", round(percentiles[49] * 1000))
    record_property("tracking_p99_ms", round(percentiles[98] * 1000))
    with capsys.disabled():
        print(
            f"\ntracking: {len(delays)} transitions, p50 {percentiles[49] * 1000:.0f} ms,"
            f" p99 {percentiles[98] * 1000:.0f} ms, most {max(delays) * 1000:.0f} ms"
        )

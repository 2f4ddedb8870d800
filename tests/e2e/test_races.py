"""Two who want different things of the same order, product or price at once: one of them was first, and it shows.

Fifty pairs each; afterwards the books balance.
"""

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest

from contracts.orders import OrderStatus
from kit.auth import Role
from tests.rig import Rig, clean_audit
from tests.shop import SETTLED, WALLET, Account, Shop, eventually

PAIRS: Final = 50
STALE: Final = 2.0
"""Seconds by which a checkout's prices may be behind; the product directory promises one, on an idle machine."""

EVERY: Final = 2.5
"""Seconds between changes of the price: long enough for an old one to be told from a stale one."""

SENT: Final = frozenset({OrderStatus.SHIPPED, OrderStatus.DELIVERED})


@pytest.fixture(autouse=True)
async def books(rig: Rig) -> AsyncIterator[None]:
    """They must balance afterwards."""
    yield
    await clean_audit()


@pytest.fixture
def admin(shop: Shop) -> Account:
    return shop.issue(Role.ADMIN)


@dataclass(frozen=True)
class Bought:
    """Somebody's order."""

    owner: Account
    order_id: str

    async def ended(self) -> dict[str, Any]:
        """The order at its end; cancelled or not, it says how."""
        return await self.owner.wait_for(self.order_id, *SETTLED, within=60)

    def cancel(self) -> Awaitable[httpx.Response]:
        return self.owner.put(f"/api/orders/{self.order_id}/cancel")


async def _buy(shop: Shop, product_id: str) -> Bought:
    owner = shop.issue()
    return Bought(owner, await owner.buy({product_id: 1}, payment_method=WALLET))


async def _pairs(race: Callable[[], Awaitable[str]]) -> Counter[str]:
    """Fifty races at once; how often each outcome was seen."""
    return Counter(await asyncio.gather(*(race() for _ in range(PAIRS))))


async def _payment(admin: Account, order_id: str) -> dict[str, Any]:
    answer = await admin.get(f"/api/admin/payments/{order_id}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _refunded_once(admin: Account, order_id: str) -> None:
    async def settled() -> None:
        payment = await _payment(admin, order_id)
        assert payment["status"] == "refunded", payment["status"]
        refunds = [call for call in payment["calls"] if (call["action"], call["outcome"]) == ("refund", "refunded")]
        assert len(refunds) == 1, payment["calls"]

    await eventually(settled, within=30)


async def _left(shop: Shop, product_id: str) -> int:
    return int((await shop.http.get(f"/api/products/{product_id}")).json()["stock"])


async def _left_is(shop: Shop, product_id: str, units: int) -> None:
    async def check() -> None:
        assert await _left(shop, product_id) == units

    await eventually(check, within=30, interval=0.25)


async def test_cancel_against_ship(shop: Shop, admin: Account) -> None:
    product_id = await shop.new_product(units=2 * PAIRS)

    async def race() -> str:
        bought = await _buy(shop, product_id)
        before = await bought.owner.wait_for(bought.order_id, OrderStatus.PROCESSING, *SENT, within=60)
        cancelled, shipped = await asyncio.gather(
            bought.cancel(), admin.post(f"/api/admin/orders/{bought.order_id}/ship")
        )
        assert shipped.status_code in (200, 409), shipped.text
        order = await bought.ended()
        if order["status"] == OrderStatus.CANCELLED:
            assert cancelled.status_code in (200, 202), cancelled.text
            assert shipped.status_code == 409, "shipped, and cancelled all the same"
            await _refunded_once(admin, bought.order_id)
            return "cancelled"
        assert order["status"] in SENT
        assert cancelled.status_code in (202, 409), cancelled.text
        assert (await _payment(admin, bought.order_id))["status"] == "succeeded"
        return "sent" if before["status"] == OrderStatus.PROCESSING else "was gone"

    outcomes = await _pairs(race)
    assert outcomes["was gone"] < PAIRS, "nothing was left to race for"
    await _left_is(shop, product_id, 2 * PAIRS - outcomes["sent"] - outcomes["was gone"])


async def test_refund_against_refund(shop: Shop, admin: Account) -> None:
    """Refunds follow from cancellations: the customer and the admin ask for one at once."""
    product_id = await shop.new_product(units=2 * PAIRS)

    async def race() -> str:
        bought = await _buy(shop, product_id)
        paid = {OrderStatus.CONFIRMED, OrderStatus.PROCESSING, *SENT}
        await bought.owner.wait_for(bought.order_id, *paid, within=60)
        answers = await asyncio.gather(
            bought.cancel(), admin.post(f"/api/admin/orders/{bought.order_id}/cancel"), bought.cancel()
        )
        order = await bought.ended()
        if order["status"] != OrderStatus.CANCELLED:
            assert {answer.status_code for answer in answers} <= {202, 409}
            return "sent"
        assert {answer.status_code for answer in answers} <= {200, 202}
        assert order["cancel_reason"] in ("customer_request", "admin_request")
        await _refunded_once(admin, bought.order_id)
        return "refunded"

    outcomes = await _pairs(race)
    assert outcomes["refunded"], outcomes
    await _left_is(shop, product_id, 2 * PAIRS - outcomes["sent"])


async def test_adjust_against_reserve(shop: Shop, admin: Account) -> None:
    """One unit each for a hundred who want one: in whatever order they come, fifty get theirs."""
    product_id = await shop.new_product(units=PAIRS)
    [warehouse] = [
        level["warehouse_id"]
        for level in (await admin.get(f"/api/admin/inventory/{product_id}")).json()["levels"]
        if level["quantity"]
    ]
    owners = [shop.issue() for _ in range(PAIRS)]
    await asyncio.gather(*(owner.fill_cart({product_id: 1}) for owner in owners))

    async def sell(owner: Account) -> bool:
        answer = await owner.checkout(payment_method=WALLET)
        if answer.status_code == 409:
            assert answer.json()["type"] == "out-of-stock", answer.text
            return False
        assert answer.status_code == 202, answer.text
        order = await Bought(owner, answer.json()["order_id"]).owner.wait_for(
            answer.json()["order_id"], *SETTLED, within=60
        )
        assert order["cancel_reason"] in (None, "out_of_stock"), order
        return order["status"] != OrderStatus.CANCELLED

    async def remove() -> bool:
        answer = await admin.post(
            f"/api/admin/inventory/{product_id}/adjust",
            json={"warehouse_id": warehouse, "delta": -1, "reason": "damaged"},
            headers={"Idempotency-Key": str(uuid.uuid4())},
        )
        assert answer.is_success or answer.status_code == 409, answer.text
        return answer.is_success

    wishes = [*(sell(owner) for owner in owners), *(remove() for _ in range(PAIRS))]
    random.Random(4).shuffle(wishes)
    granted = await asyncio.gather(*wishes)
    assert sum(granted) == PAIRS
    await _left_is(shop, product_id, 0)


async def test_price_change_against_checkout(shop: Shop, admin: Account) -> None:
    """A checkout costs what the product cost between the question and the answer, or just before."""
    prices = [1_000, 1_100, 1_200]
    product_id = await shop.new_product(units=PAIRS, unit_price=prices[0])
    owners = [shop.issue() for _ in range(PAIRS)]
    await asyncio.gather(*(owner.fill_cart({product_id: 1}) for owner in owners))
    changing: list[tuple[float, float]] = [(0.0, 0.0)]

    async def change() -> None:
        version = (await admin.get(f"/api/admin/products/{product_id}")).json()["version"]
        for price in prices[1:]:
            await asyncio.sleep(EVERY)
            began = time.monotonic()
            wanted = {"version": version, "unit_price": price, "reason": "race"}
            answer = await admin.put(f"/api/admin/products/{product_id}/price", json=wanted)
            assert answer.is_success, answer.text
            version = answer.json()["version"]
            changing.append((began, time.monotonic()))

    async def check_out(owner: Account, wait: float) -> tuple[float, float, str, int]:
        await asyncio.sleep(wait)
        asked = time.monotonic()
        answer = await owner.checkout(payment_method=WALLET)
        assert answer.status_code == 202, answer.text
        return asked, time.monotonic(), answer.json()["order_id"], answer.json()["total_amount"]

    waits = [len(prices) * EVERY * n / PAIRS for n in range(PAIRS)]
    _, *bought = await asyncio.gather(change(), *map(check_out, owners, waits))
    for asked, answered, _, total in bought:
        current = [
            price
            for n, price in enumerate(prices)
            if changing[n][0] <= answered and (n + 1 == len(prices) or changing[n + 1][1] >= asked - STALE)
        ]
        assert total in current, f"asked for {total} where {current} would do"
    for owner, (_, _, order_id, total) in zip(owners, bought, strict=True):
        order = await owner.wait_for(order_id, *SETTLED, within=60)
        assert order["total_amount"] == total == sum(i["quantity"] * i["unit_price"] for i in order["items"])
        assert (await _payment(admin, order_id))["amount"] == total


async def test_cancel_against_confirm(shop: Shop, admin: Account) -> None:
    product_id = await shop.new_product(units=2 * PAIRS)
    chance = random.Random(5)

    async def race() -> str:
        wait = chance.random() * 0.5
        bought = await _buy(shop, product_id)
        await asyncio.sleep(wait)
        answer = await bought.cancel()
        assert answer.status_code in (200, 202, 409), answer.text
        order = await bought.ended()
        if order["status"] != OrderStatus.CANCELLED:
            assert answer.status_code in (202, 409)
            assert (await _payment(admin, bought.order_id))["status"] == "succeeded"
            return "sent"
        assert order["cancel_reason"] == "customer_request"
        if any(step["status"] == OrderStatus.CONFIRMED for step in order["timeline"]):
            await _refunded_once(admin, bought.order_id)
            return "cancelled after it was paid"
        return "cancelled before"

    outcomes = await _pairs(race)
    assert outcomes["cancelled before"] + outcomes["cancelled after it was paid"], outcomes
    await _left_is(shop, product_id, 2 * PAIRS - outcomes["sent"])

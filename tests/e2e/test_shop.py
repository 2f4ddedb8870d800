"""Whole orders through the public API, from the shelf to the doorstep or back."""

import asyncio
from collections import Counter
from typing import Any

import httpx
import pytest

from contracts.orders import OrderStatus
from stack.definitions import PROCESSES
from tests.shop import CARD, DECLINED, PAYPAL, WALLET, Account, Shop, eventually


async def _stock(shop: Shop, product_id: str) -> int:
    answer = await shop.http.get(f"/api/products/{product_id}")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["stock"])


async def _stock_is(shop: Shop, product_id: str, units: int) -> None:
    async def check() -> None:
        assert await _stock(shop, product_id) == units

    await eventually(check)


async def _stored(admin: Account, order_id: str) -> dict[str, Any]:
    answer = await admin.get(f"/api/admin/orders/{order_id}")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def _at_rest(admin: Account, order_id: str) -> dict[str, Any]:
    """The order once none of its commands is unanswered."""

    async def check() -> dict[str, Any]:
        stored = await _stored(admin, order_id)
        assert stored["outstanding"] == [], stored["outstanding"]
        return stored

    document: dict[str, Any] = await eventually(check, within=20)
    return document


async def test_an_order_goes_from_the_cart_to_the_door(shop: Shop, admin: Account) -> None:
    """With each method of payment, side by side: the carriers take their time."""
    await asyncio.gather(*[_to_the_door(shop, admin, await shop.register(), m) for m in (CARD, PAYPAL, WALLET)])


async def _to_the_door(shop: Shop, admin: Account, customer: Account, method: dict[str, str]) -> None:
    product_id = await shop.new_product(units=9, unit_price=1250)
    await customer.fill_cart({product_id: 2})
    cart = (await customer.get("/api/cart")).json()
    assert (cart["total"], cart["can_checkout"]) == (2500, True)

    accepted = await customer.checkout(payment_method=method)
    assert accepted.status_code == 202, accepted.text
    order_id = accepted.json()["order_id"]
    assert accepted.headers["location"] == f"/api/orders/{order_id}"
    assert accepted.json()["total_amount"] == 2500
    assert (await customer.get("/api/cart")).json()["items"] == []

    order = await customer.wait_for(order_id, OrderStatus.DELIVERED, within=90)
    assert [step["status"] for step in order["timeline"]] == [
        "pending",
        "awaiting_payment",
        "confirmed",
        "processing",
        "shipped",
        "delivered",
    ]
    assert order["payment"] == {"method": method["type"], "status": "captured"}
    await _stock_is(shop, product_id, 7)
    stored = await _at_rest(admin, order_id)
    sequences = [step["sequence"] for step in stored["transitions"]]
    assert sequences == list(range(1, len(sequences) + 1))
    listed = (await customer.get("/api/orders/my-orders", params={"status": "delivered"})).json()
    assert [entry["order_id"] for entry in listed["items"]] == [order_id]


async def test_the_customer_is_told_by_email(shop: Shop, customer: Account) -> None:
    [product_id] = await shop.products(1)
    order_id = await customer.buy({product_id: 1})
    await customer.wait_for(order_id)
    port = shop.settings.port_base + PROCESSES["mailsink"].port

    async def told() -> None:
        async with httpx.AsyncClient(base_url=f"http://{shop.settings.host}:{port}") as sink:
            found = (await sink.get("/messages", params={"to": customer.email})).json()["messages"]
        subjects = " ".join(message["subject"].lower() for message in found)
        assert "confirmed" in subjects, subjects
        assert "way" in subjects or "shipped" in subjects, subjects

    await eventually(told, within=20)


@pytest.mark.parametrize(
    "method",
    [
        {"type": "card", "token": "pm_card_chargeDeclinedInsufficientFunds"},
        {"type": "paypal", "token": "B-INSTRUMENT_DECLINED"},
        DECLINED,
    ],
    ids=lambda method: method["type"],
)
async def test_a_declined_payment_gives_the_stock_back(
    shop: Shop, customer: Account, admin: Account, method: dict[str, str]
) -> None:
    product_id = await shop.new_product(units=3)
    order_id = await customer.buy({product_id: 3}, payment_method=method)
    order = await customer.wait_for(order_id, OrderStatus.CANCELLED)
    assert order["cancel_reason"] == "payment_failed"
    stored = await _at_rest(admin, order_id)
    assert stored["payment"]["status"] == "declined"
    await _stock_is(shop, product_id, 3)


async def test_a_lost_answer_charges_once(shop: Shop, customer: Account, admin: Account) -> None:
    [product_id] = await shop.products(1)
    method = {"type": "card", "token": "pm_card_timeout"}
    order_id = await customer.buy({product_id: 1}, payment_method=method)
    await customer.wait_for(order_id, OrderStatus.CONFIRMED, OrderStatus.PROCESSING, OrderStatus.SHIPPED, within=60)
    payment = (await admin.get(f"/api/admin/payments/{order_id}")).json()
    assert payment["status"] == "succeeded", payment


async def test_the_last_units_are_sold_once(shop: Shop, admin: Account) -> None:
    product_id = await shop.new_product(units=3)
    rivals = [shop.issue() for _ in range(12)]
    await asyncio.gather(*(rival.fill_cart({product_id: 1}) for rival in rivals))
    answers = await asyncio.gather(*(rival.checkout() for rival in rivals))
    refused = [answer.json()["type"] for answer in answers if answer.status_code == 409]
    accepted = {
        answer.json()["order_id"]: rival
        for rival, answer in zip(rivals, answers, strict=True)
        if answer.status_code == 202
    }
    assert set(refused) <= {"out-of-stock"}
    assert len(refused) + len(accepted) == len(rivals)
    ends = {OrderStatus.CANCELLED, OrderStatus.SHIPPED, OrderStatus.DELIVERED}
    orders = [await rival.wait_for(order_id, *ends, within=30) for order_id, rival in accepted.items()]
    counted = Counter(order["cancel_reason"] for order in orders)
    assert counted[None] == 3
    assert counted.keys() <= {None, "out_of_stock"}
    await _stock_is(shop, product_id, 0)
    shelf = (await admin.get(f"/api/admin/inventory/{product_id}")).json()
    assert shelf["available"] == 0
    assert shelf["quantity"] == shelf["reserved"] <= 3


async def test_a_cancelled_order_is_refunded_and_its_stock_returns(shop: Shop, admin: Account) -> None:
    product_id = await shop.new_product(units=50)
    for _ in range(5):
        customer = shop.issue()
        order_id = await customer.buy({product_id: 2})
        await customer.wait_for(order_id, *(set(OrderStatus) - {OrderStatus.PENDING, OrderStatus.AWAITING_PAYMENT}))
        left = await _stock(shop, product_id)
        asked = await customer.put(f"/api/orders/{order_id}/cancel")
        if asked.status_code == 409:
            continue
        assert asked.status_code in (200, 202), asked.text
        order = await customer.wait_for(order_id, OrderStatus.CANCELLED, OrderStatus.SHIPPED, OrderStatus.DELIVERED)
        if order["status"] != OrderStatus.CANCELLED:
            continue
        assert order["cancel_reason"] == "customer_request"
        stored = await _at_rest(admin, order_id)
        assert stored["payment"]["status"] == "refunded"
        await _stock_is(shop, product_id, left + 2)
        again = await customer.put(f"/api/orders/{order_id}/cancel")
        assert again.status_code in (200, 409)
        return
    pytest.fail("every order was shipped before it could be cancelled")


async def test_a_shipped_order_can_not_be_cancelled(shop: Shop, customer: Account) -> None:
    [product_id] = await shop.products(1)
    order_id = await customer.buy({product_id: 1})
    await customer.wait_for(order_id, OrderStatus.SHIPPED, OrderStatus.DELIVERED, within=30)
    refused = await customer.put(f"/api/orders/{order_id}/cancel")
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"


async def test_somebody_elses_order_is_not_found(shop: Shop, customer: Account) -> None:
    [product_id] = await shop.products(1)
    order_id = await customer.buy({product_id: 1})
    stranger = shop.issue()
    await customer.wait_for(order_id, *set(OrderStatus))
    assert (await stranger.get(f"/api/orders/{order_id}")).status_code == 404
    assert (await stranger.put(f"/api/orders/{order_id}/cancel")).status_code == 404

"""The same key, however often and whatever Redis remembers: one order, one charge, one answer."""

import asyncio
import uuid
from collections import Counter
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from kit.db import Database
from tests.shop import CARD, WALLET, Account, Shop, eventually

CUSTOMERS = 200
TRIES = 20
AT_ONCE = 8
"""Customers whose tries go out together: the test client has connections for so many."""

_OF_CUSTOMERS = "user_id = ANY(CAST(:users AS uuid[]))"
_ORDERS = text(f"SELECT id::text, status FROM orders.orders WHERE {_OF_CUSTOMERS}").bindparams(
    bindparam("users", type_=ARRAY(TEXT))
)
_CHARGES = text(
    f"""
    SELECT p.order_id::text, p.status, count(a.id) FILTER (WHERE a.action = 'charge' AND a.outcome = 'captured')
    FROM payments.payments AS p LEFT JOIN payments.payment_attempts AS a USING (order_id)
    WHERE {_OF_CUSTOMERS} GROUP BY 1, 2
    """
).bindparams(bindparam("users", type_=ARRAY(TEXT)))


async def _rows(database: Database, statement: Any, customers: list[Account]) -> list[Any]:
    async with database.read() as session:
        return list(await session.execute(statement, {"users": [customer.user_id for customer in customers]}))


async def _persistent(customer: Account, key: str, payment_method: dict[str, str]) -> httpx.Response:
    """Tries again, with the same key, as long as the answer says that this is the thing to do."""
    while True:
        answer = await customer.checkout(key, payment_method=payment_method)
        if answer.status_code not in (409, 503):
            return answer
        assert answer.json()["type"] in ("checkout-in-flight", "unavailable"), answer.text
        await asyncio.sleep(float(answer.headers["retry-after"]))


def _one_answer(answers: list[httpx.Response]) -> str:
    assert Counter(answer.status_code for answer in answers) == {202: len(answers)}, answers[0].text
    assert len({(answer.content, answer.headers["location"]) for answer in answers}) == 1
    order_id: str = answers[0].json()["order_id"]
    return order_id


async def _one_order_and_one_charge_each(database: Database, customers: list[Account], order_ids: set[str]) -> None:
    assert len(order_ids) == len(customers)

    async def paid() -> None:
        orders = await _rows(database, _ORDERS, customers)
        assert {order_id for order_id, _ in orders} == order_ids
        assert Counter(status for _, status in orders).keys() <= {"confirmed", "processing", "shipped", "delivered"}

    await eventually(paid, within=60, interval=0.25)
    charges = await _rows(database, _CHARGES, customers)
    assert Counter((status, captured) for _, status, captured in charges) == {("succeeded", 1): len(customers)}
    assert {order_id for order_id, _, _ in charges} == order_ids


@pytest.fixture
async def product(shop: Shop) -> str:
    return await shop.new_product(units=10_000)


def _methods(count: int) -> list[dict[str, str]]:
    return [CARD if number % 2 else WALLET for number in range(count)]


@pytest.mark.timeout(240)
async def test_twenty_at_once_by_two_hundred_customers(shop: Shop, database: Database, product: str) -> None:
    customers = [shop.issue() for _ in range(CUSTOMERS)]
    keys = [str(uuid.uuid4()) for _ in customers]
    await asyncio.gather(*(customer.fill_cart({product: 1}) for customer in customers))

    storms = asyncio.Semaphore(AT_ONCE)

    async def storm(customer: Account, key: str, method: dict[str, str]) -> str:
        async with storms:
            return _one_answer(list(await asyncio.gather(*(_persistent(customer, key, method) for _ in range(TRIES)))))

    order_ids = await asyncio.gather(*map(storm, customers, keys, _methods(CUSTOMERS)))
    await _one_order_and_one_charge_each(database, customers, set(order_ids))


@pytest.mark.timeout(240)
async def test_the_same_answer_after_redis_forgot_everything(
    shop: Shop, database: Database, redis: Redis, product: str
) -> None:
    customers = [shop.issue() for _ in range(CUSTOMERS)]
    keys = [str(uuid.uuid4()) for _ in customers]
    methods = _methods(CUSTOMERS)
    await asyncio.gather(*(customer.fill_cart({product: 1}) for customer in customers))
    before = await asyncio.gather(*map(_persistent, customers, keys, methods))

    await redis.flushall()
    after = await asyncio.gather(
        *(
            _persistent(c, key, method)
            for c, key, method in zip(customers, keys, methods, strict=True)
            for _ in range(2)
        )
    )

    order_ids = {_one_answer([first, *after[2 * number : 2 * number + 2]]) for number, first in enumerate(before)}
    await _one_order_and_one_charge_each(database, customers, order_ids)


async def test_another_body_under_the_same_key_is_refused(shop: Shop, product: str) -> None:
    customer, key = shop.issue(), str(uuid.uuid4())
    await customer.fill_cart({product: 1})
    assert (await customer.checkout(key, payment_method=WALLET)).status_code == 202
    refused = await customer.checkout(key, payment_method=CARD)
    assert refused.status_code == 422
    assert refused.json()["type"] == "idempotency-key-reused"


async def test_the_accepted_order_can_be_read_at_once(shop: Shop, product: str) -> None:
    customer = shop.issue()
    await customer.fill_cart({product: 2})
    accepted = await customer.checkout(payment_method=WALLET)
    order = await customer.get(accepted.headers["location"])
    assert order.status_code == 200, order.text
    assert order.json()["total_amount"] == accepted.json()["total_amount"]
    assert [i["product_id"] for i in order.json()["items"]] == [product]
    assert (await customer.get("/api/cart")).json()["items"] == []

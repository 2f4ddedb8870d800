"""A storm of failing payments: every failed order is rolled back to the unit."""

import random
from collections import Counter

import pytest

from stack.shoppers import BAD_TOKENS, GOOD_TOKENS
from tests.rig import Rig, clean_audit

ORDERS = 1_000
FAILING = 0.30


def _payment(chance: random.Random) -> tuple[str, str]:
    if chance.random() < FAILING:
        return "wallet", chance.choice(BAD_TOKENS["wallet"])
    return "wallet", GOOD_TOKENS["wallet"]


@pytest.mark.timeout(300)
async def test_thirty_percent_of_a_thousand_payments_fail(rig: Rig) -> None:
    await clean_audit()
    before = await rig.available()

    bought = await rig.rush(ORDERS, payment=_payment)
    ended = await rig.settled([b.order.order_id for b in bought], within=60)

    failing = [b for b in bought if b.token != GOOD_TOKENS["wallet"]]
    assert len(failing) / ORDERS == pytest.approx(FAILING, abs=0.05)
    found = await rig.statuses([b.order.order_id for b in bought])
    assert {found[b.order.order_id] for b in failing} == {("cancelled", "payment_failed")}
    assert ended["cancelled: payment_failed"] == len(failing)
    assert {found[b.order.order_id][0] for b in bought if b not in failing} <= {"shipped", "delivered"}

    await clean_audit()
    sold: Counter[str] = Counter()
    for b in bought:
        if b.token == GOOD_TOKENS["wallet"]:
            sold.update(b.units)
    after = await rig.available()
    assert {product_id: before[product_id] - sold[product_id] for product_id in before} == after
    assert await rig.counters() == after

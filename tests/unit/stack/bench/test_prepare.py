import random

import numpy as np
import pytest

from stack.bench.prepare import EMAIL, UNITS_AN_ORDER, Payments, _crowd, plenty


def test_a_share_of_the_payments_is_declined() -> None:
    chance = random.Random(7)
    payments = Payments(declines=0.3)

    tokens = [payments.token(chance) for _ in range(4_000)]

    assert sum(token != "tok_ok" for token in tokens) / len(tokens) == pytest.approx(0.3, abs=0.03)
    assert set(tokens) == {"tok_ok", *payments.declined}


def test_without_a_share_every_payment_is_captured() -> None:
    assert {Payments().token(random.Random(1)) for _ in range(100)} == {"tok_ok"}


def test_an_order_has_two_and_a_half_lines_of_a_little_more_than_one_unit() -> None:
    assert 2.51 < UNITS_AN_ORDER < 3.1


def test_customers_of_different_chunks_are_different_and_marked() -> None:
    first, second = _crowd(0, 20), _crowd(1, 20)

    assert [customer.email for customer in first] == [EMAIL.format(number=n) for n in range(20)]
    assert second[0].email == EMAIL.format(number=10_000)
    assert not {customer.user_id for customer in first} & {customer.user_id for customer in second}


@pytest.mark.parametrize("orders", [100, 3_500, 180_000])
def test_there_is_plenty_of_every_product_for_few_orders_and_many(orders: int) -> None:
    chance, products = np.random.default_rng(orders), 2_000

    drawn = chance.multinomial(round(orders * UNITS_AN_ORDER), [1 / products] * products)

    assert drawn.max() < plenty(orders, products) < 2 * orders * UNITS_AN_ORDER / products + 30

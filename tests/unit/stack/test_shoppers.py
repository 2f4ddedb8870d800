"""What the demo's customers choose, and how they count."""

import random

import pytest

from stack.shoppers import BAD_TOKENS, GOOD_TOKENS, METHODS, Offer, Tracked, choose_cart, choose_payment, percentile

SHELF = [Offer(f"product-{n}", 100) for n in range(30)]


def test_carts_hold_two_and_a_half_different_products_on_average() -> None:
    chance = random.Random(1)
    carts = [choose_cart(chance, SHELF) for _ in range(2_000)]
    assert sum(map(len, carts)) / len(carts) == pytest.approx(2.5, abs=0.1)
    assert {units for cart in carts for units in cart.values()} == {1, 2}
    assert len(choose_cart(chance, SHELF[:1])) == 1


def test_a_share_of_payments_is_declined() -> None:
    chance = random.Random(1)
    payments = [choose_payment(chance, declines=0.08) for _ in range(3_000)]
    bad = [token for method, token in payments if token in BAD_TOKENS[method]]
    assert len(bad) / len(payments) == pytest.approx(0.08, abs=0.02)
    assert {method for method, _ in payments} == METHODS.keys() == GOOD_TOKENS.keys()


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 50), (0.95, 95), (0.99, 99), (1.0, 100)])
def test_percentiles_are_values_that_were_measured(share: float, value: int) -> None:
    assert percentile(list(range(100, 0, -1)), share) == value


def test_the_percentile_of_nothing_is_nothing() -> None:
    assert percentile([], 0.5) == 0.0


def test_an_order_is_followed_to_its_end() -> None:
    order = Tracked("o", asked_at=1.0, accepted_at=1.5)
    assert order.placement == 0.5
    order.see("awaiting_payment", "", 2.0)
    assert order.confirmation is None
    order.see("confirmed", "", 3.0)
    order.see("processing", "", 4.0)
    assert order.confirmation == 2.0
    assert not order.settled.is_set()
    order.see("shipped", "", 5.0)
    order.see("processing", "", 6.0)
    assert order.status == "shipped"
    assert order.settled.is_set()
    order.see("delivered", "", 7.0)
    assert order.status == "delivered"


def test_news_may_skip_the_confirmation() -> None:
    order = Tracked("o", asked_at=1.0, accepted_at=1.5)
    order.see("shipped", "", 4.0)
    assert order.confirmation == 3.0
    cancelled = Tracked("c", asked_at=1.0, accepted_at=1.5)
    cancelled.see("cancelled", "payment_failed", 4.0)
    assert (cancelled.confirmation, cancelled.reason) == (None, "payment_failed")

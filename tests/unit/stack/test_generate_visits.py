"""What visitors and fraudsters do: shares, order, and that a burst looks like one."""

import datetime as dt
import json
import random
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from contracts.orders import Address
from contracts.storefront import StorefrontKind
from seed.fraud import Kind
from stack.generate.fraud import PATTERNS, Deceit, Fraudsters, Truth, home_ip
from stack.generate.shop import Buyer
from stack.generate.stories import End, Story, story
from stack.shoppers import Offer

SHELF = [Offer(f"p{n}", 10) for n in range(50)]
KIND = StorefrontKind


def stories(count: int, *, conversion: float = 0.25, seed: int = 3) -> list[Story]:
    chance = random.Random(seed)
    return [story(chance, SHELF, conversion=conversion) for _ in range(count)]


def buyer(number: int) -> Buyer:
    return Buyer(f"u{number}", Address(name=f"N{number}", line1="1", city=f"C{number}", postal_code="P", country="GB"))


def test_visits_convert_as_often_as_asked() -> None:
    told = stories(20_000)
    ends = Counter(each.end for each in told)
    assert ends[End.BUYS] / len(told) == pytest.approx(0.25, abs=0.012)  # 4 standard errors
    assert all(ends[end] for end in End)
    assert stories(50, seed=4) == stories(50, seed=4) != stories(50, seed=5)


def test_a_visit_makes_sense() -> None:
    for told in stories(2_000):
        held: dict[str, int] = {}
        for step in told.steps:
            assert step.after >= 0
            if step.kind is KIND.CART_ADD:
                assert step.product_id
                assert step.quantity
                held[step.product_id] = step.quantity
                assert step.results == len(held)
            elif step.kind is KIND.CART_REMOVE:
                assert step.product_id
                assert held.pop(step.product_id) == step.quantity
                assert step.results == len(held)
            elif step.kind is KIND.SEARCH:
                assert step.query
        assert held == told.cart
        at_checkout = told.end in (End.BUYS, End.LEAVES_THE_CHECKOUT)
        assert (told.steps[-1].kind is KIND.CHECKOUT_START) == at_checkout
        assert bool(told.cart) == (told.end is not End.LEAVES)
        assert told.signed_in or not at_checkout


def deceits(count: int, share: float = 0.02) -> tuple[list[Deceit], int]:
    fraudsters = Fraudsters(
        random.Random(1), [buyer(n) for n in range(500)], [buyer(n) for n in range(450, 500)], share
    )
    drawn = [fraudsters.next() for _ in range(count)]
    return [deceit for deceit in drawn if deceit is not None], count


def test_so_many_orders_are_fraud_as_asked() -> None:
    found, count = deceits(100_000)
    assert len(found) / count == pytest.approx(0.02, abs=0.0018)  # 4 standard errors
    assert {deceit.kind for deceit in found} == set(PATTERNS)
    assert not deceits(1000, share=0.0)[0]


def test_patterns_show() -> None:
    found, _ = deceits(100_000)
    by_ip: dict[str, list[Deceit]] = defaultdict(list)
    for deceit in found:
        by_ip[deceit.client_ip].append(deceit)
    whole = [burst for burst in by_ip.values() if len(burst) > 1]
    rings = [burst for burst in whole if burst[0].kind is Kind.RING and len(burst) == 12]
    takeovers = [burst for burst in whole if burst[0].kind is Kind.TAKEOVER and len(burst) == 4]
    assert rings
    assert takeovers
    for ring in rings:
        assert 1 < len({deceit.buyer.user_id for deceit in ring}) <= 6
        assert len({deceit.address.city for deceit in ring}) <= 3
    for takeover in takeovers:
        assert len({deceit.buyer.user_id for deceit in takeover}) == 1
    assert any(len({deceit.address.city for deceit in takeover}) == 4 for takeover in takeovers)
    fresh = {f"u{n}" for n in range(450, 500)}
    new = [deceit for deceit in found if deceit.kind is Kind.NEW_ACCOUNT]
    assert new
    assert all(deceit.buyer.user_id in fresh and deceit.lavish for deceit in new)


def test_the_truth_is_kept_apart(tmp_path: Path) -> None:
    truth = Truth(tmp_path / "generate" / "fraud.jsonl")
    at = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    truth.tell("o1", "u1", at, Kind.RING)
    truth.tell("o2", "u2", at, Kind.TAKEOVER)
    assert truth.file is not None
    lines = [json.loads(line) for line in truth.file.read_text().splitlines()]
    assert lines[0] == {
        "order_id": "o1",
        "user_id": "u1",
        "created_at": "2026-03-01T00:00:00+00:00",
        "kind": "ring",
        "is_fraud": True,
    }
    assert truth.orders == len(lines) == 2


def test_everybody_has_a_home() -> None:
    assert home_ip("u1") == home_ip("u1") != home_ip("u2")

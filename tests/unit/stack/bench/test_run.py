"""What a load's orders, its outages and its rush come to."""

from pathlib import Path

import pytest

from contracts.orders import OrderStatus
from stack.bench import failover, sale
from stack.bench.failover import Outage
from stack.bench.figures import Figures
from stack.bench.prepare import Targets
from stack.bench.run import Fate, Load, settle
from stack.bench.sampler import Counters, Sample
from stack.bench.vegeta import Attack, Shot


def shot(number: int, due: float, *, code: int = 202, latency: float = 0.01, problem: str = "") -> Shot:
    return Shot(number=number, due=due, sent=due, latency=latency, code=code, problem=problem)


def fate(
    number: int,
    status: OrderStatus = OrderStatus.PROCESSING,
    *,
    created: float = 100.0,
    confirmed: float | None = None,
    processing: float | None = None,
    cancelled: float | None = None,
    refused_by_carrier: bool = False,
) -> Fate:
    return Fate(f"order-{number}", number, status, created, confirmed, processing, cancelled, refused_by_carrier)


def load(shots: list[Shot], samples: list[Sample] | None = None) -> Load:
    return Load(
        rate=10.0,
        seconds=10.0,
        targets=Targets(Path("targets"), "bench-x-", 100, []),
        attack=Attack(shots, cpu_seconds=0.1),
        began=100.0,
        ended=110.0,
        samples=samples or [],
        before=Counters(0, 0, 0, 0, 0, 0, 0, 0),
        memory_mb={},
        observer_cpu_seconds=0.0,
    )


def test_orders_count_as_completed_in_processing_or_cancelled_within_the_load() -> None:
    figures = Figures(scenario="sustained")
    fates = [
        fate(0, confirmed=100.2, processing=100.5),
        fate(1, OrderStatus.SHIPPED, confirmed=100.4, processing=100.9),
        fate(2, OrderStatus.CANCELLED, cancelled=101.0),
        fate(3, confirmed=109.0, processing=112.0),
        fate(4, OrderStatus.CONFIRMED, confirmed=109.5, refused_by_carrier=True),
        fate(5, OrderStatus.AWAITING_PAYMENT),
    ]

    settle(figures, load([shot(n, 100.0 + n) for n in range(6)]), fates)

    assert (figures.completed, figures.completed_per_second) == (4, pytest.approx(0.3))
    assert (figures.cancelled, figures.unfinished, figures.waiting_for_carrier, figures.lost) == (1, 1, 1, 0)
    assert figures.confirmed_p50_ms == pytest.approx(400.0)


def test_an_accepted_order_that_the_books_do_not_know_is_lost() -> None:
    figures = Figures(scenario="sustained")

    settle(figures, load([shot(0, 100.0), shot(1, 100.1), shot(2, 100.2, code=503)]), [fate(0)])

    assert figures.lost == 1


def test_lag_is_the_highest_during_the_load_by_group() -> None:
    def sample(at: float, saga: int) -> Sample:
        return Sample(at=at, lag={"order-saga": saga}, messages=0, orders=0, cpu_seconds={})

    seen = load([], [sample(99.0, 900), sample(101.0, 40), sample(106.0, 30), sample(111.0, 800)])

    assert seen.lag_max()["order-saga"] == 40
    assert seen.lag_max(after=5.0)["order-saga"] == 30


def test_an_outage_is_over_when_the_orders_accepted_meanwhile_are() -> None:
    figures = Figures(scenario="db-failover")
    outage = Outage("stop", began=102.0, ended=106.0)
    shots = [shot(0, 101.0), shot(1, 103.0), shot(2, 105.0, code=503), shot(3, 107.0)]
    fates = [
        fate(0, created=101.0, processing=101.5),
        fate(1, created=103.0, processing=108.5),
        fate(2, created=104.0, processing=140.0, refused_by_carrier=True),
        fate(3, created=107.0, processing=120.0),
    ]

    failover.account(figures, outage, shots, fates)

    assert (figures.outage_seconds, figures.outage_offered, figures.outage_accepted) == (
        {"stop": 4.0},
        {"stop": 2},
        {"stop": 1},
    )
    assert figures.outage_recovery_seconds == {"stop": pytest.approx(2.5)}
    assert [goal.kept for goal in failover.goals(figures, outage)] == [False, True]


def test_an_order_of_an_outage_that_never_ends_misses_the_goal() -> None:
    figures = Figures(scenario="db-failover")
    outage = Outage("kill", began=102.0, ended=106.0)

    failover.account(figures, outage, [shot(1, 103.0)], [fate(1, OrderStatus.PENDING, created=103.0)])

    assert figures.outage_recovery_seconds == {}
    assert [goal.kept for goal in failover.goals(figures, outage)] == [True, False]


def rush(figures: Figures, *, sold: int, strange: int = 0) -> list[bool]:
    """The goals of a rush in which so many units were sold and so many answers were none of the agreed ones."""
    shots = [shot(n, 120.0 + n / 1000) for n in range(200)]
    shots += [shot(n, 120.2 + n / 1000, code=409, problem="sold-out") for n in range(800)]
    shots += [shot(n, 121.0, code=503, problem="unavailable") for n in range(strange)]
    others = [shot(n, 100.0 + n / 10, latency=0.020) for n in range(150)]
    others += [shot(n, 120.0 + n / 100, latency=0.030) for n in range(100)]
    figures.units_offered, figures.units_sold, figures.served_twice = 100, sold, 0
    sale.account(figures, shots, others)
    return [goal.kept for goal in sale.goals(figures, {"sold": sold})]


def test_a_sale_is_right_if_exactly_its_units_are_sold_and_nobody_else_notices() -> None:
    figures = Figures(scenario="flash-sale")

    assert all(rush(figures, sold=100))
    assert figures.answers == {"sold-out": 800, "accepted": 200}
    assert figures.others_idle_p99_ms == pytest.approx(20.0)
    assert figures.others_rush_p99_ms == pytest.approx(30.0)


@pytest.mark.parametrize(("sold", "strange", "missed"), [(99, 0, 0), (101, 0, 0), (100, 1, 2)])
def test_a_sale_is_wrong_with_one_unit_or_answer_too_many_or_too_few(sold: int, strange: int, missed: int) -> None:
    kept = rush(Figures(scenario="flash-sale"), sold=sold, strange=strange)

    assert [index for index, goal in enumerate(kept) if not goal] == [missed]

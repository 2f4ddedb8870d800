"""Experiments of the past year, who took part, and the one that worked."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seed.history import Uplift
from seed.people import NEVER, People
from seed.plan import DAY_MS, EXPERIMENTS, Plan


@dataclass(frozen=True, slots=True)
class Experiment:
    """A test of variants on a part of the customers, from so many days before the history's end.

    ``lines``: part of the orders to which the last variant adds one more line; 0 if it makes no difference.
    """

    key: str
    name: str
    variants: tuple[str, ...]
    share: float
    days_ago: int
    days: int | None
    lines: float = 0.0


ALL: Final = (
    Experiment("cart-companions", "Show what goes with it in the cart", ("control", "shown"), 0.6, 120, 75, lines=0.12),
    Experiment("green-button", "Checkout button in green", ("control", "green"), 1.0, 200, 60),
    Experiment("free-returns", "Promise free returns on the product page", ("control", "banner", "badge"), 0.5, 60, 40),
    Experiment("search-by-meaning", "Search by meaning", ("control", "embeddings"), 0.4, 20, None),
)


@dataclass(frozen=True)
class Assignments:
    """Who takes part in an experiment: customers, the number of each one's variant, and since when."""

    experiment: Experiment
    start_ms: int
    end_ms: int | None
    customer: npt.NDArray[np.int64]
    variant: npt.NDArray[np.int64]
    at_ms: npt.NDArray[np.int64]


def assignments(plan: Plan, people: People) -> list[Assignments]:
    """Everybody who was a customer while an experiment ran and was drawn for it."""
    result = []
    for number, experiment in enumerate(ALL):
        generator = plan.generator(EXPERIMENTS, number)
        start = plan.now_ms // DAY_MS * DAY_MS - experiment.days_ago * DAY_MS
        end = None if experiment.days is None else start + experiment.days * DAY_MS
        last = min(end or plan.now_ms, plan.now_ms)
        count = len(people.customers)
        drawn = generator.random(count) < experiment.share
        there = (people.registered_ms < last) & (people.churned_ms > start)
        customer = np.flatnonzero(drawn & there)
        variant = generator.integers(0, len(experiment.variants), count)[customer]
        first = np.maximum(start, people.registered_ms[customer])
        at = first + (generator.random(count)[customer] ** 2 * (last - first)).astype(np.int64)
        result.append(Assignments(experiment, start, end, customer, variant, at))
    return result


def uplift(plan: Plan, people: People) -> Uplift:
    """What the experiment that works does to orders."""
    (working,) = (entry for entry in assignments(plan, people) if entry.experiment.lines)
    treated = np.zeros(len(people.customers), dtype=bool)
    treated[working.customer[working.variant == len(working.experiment.variants) - 1]] = True
    return Uplift(treated, working.start_ms, working.end_ms or NEVER, working.experiment.lines)

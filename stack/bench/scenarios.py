"""The load scenarios: what each one sends, and what it promises."""

from collections.abc import Sequence
from typing import Final

from stack.bench.figures import Figures, Goal
from stack.bench.knee import Step, search
from stack.bench.prepare import Payments
from stack.bench.run import RAMP_SECONDS, Bench, Load

SUSTAINED_RATE: Final = 100.0
PEAK_RATE: Final = 500.0
MAX_GOAL: Final = 1_000.0
PLACEMENT_P99_MS: Final = 500.0
MOST_LAG: Final = 500
SHARE_SERVED: Final = 0.99
STORM_DECLINES: Final = 0.30

_STEP_SECONDS: Final = 12.0
_HOLDS: Final = 3
_BACK_OFF: Final = 0.93


async def steady_rate(
    bench: Bench, scenario: str, rate: float, seconds: float, *, declines: float = 0.0, audited: bool = True
) -> tuple[Figures, Load]:
    """A constant rate; no accepted order may be lost."""
    load = await bench.load(rate, seconds, payments=Payments(declines=declines))
    figures = await bench.figures(scenario, load, audited=audited)
    goals = [*served(figures, rate), *safe(figures, audited=audited)]
    if declines:
        goals.append(rolled_back(figures, declines))
    figures.judge(goals)
    return figures, load


async def maximum(
    bench: Bench, rate: float | None, seconds: float, *, audited: bool = True
) -> tuple[Figures, Load, list[Step]]:
    """The highest rate that holds: found by short steps, then held; lower ones are held if it does not.

    A rate that is given is held once, and nothing else.
    """
    steps: list[Step] = []
    holds = _HOLDS if rate is None else 1
    if rate is None:

        async def attempt(tried: float) -> Step:
            load = await bench.load(tried, _STEP_SECONDS)
            step = await _judge_step(bench, load)
            steps.append(step)
            return step

        rate = await search(attempt)
    for hold in range(holds):
        load = await bench.load(rate, seconds)
        figures = await bench.figures("max", load, audited=audited)
        held = keeps_up(figures, rate)
        if all(goal.kept for goal in held) or hold == holds - 1:
            break
        bench.note(f"{rate:.0f}/s did not hold")
        rate *= _BACK_OFF
    reached = figures.completed_per_second or 0.0
    goal = Goal(
        key="rate",
        promise=f"{MAX_GOAL:.0f} orders/s accepted and carried to PROCESSING",
        measured=f"{figures.accepted_per_second or 0:.0f}/s accepted, {reached:.0f}/s completed",
        kept=min(figures.accepted_per_second or 0.0, reached) >= MAX_GOAL * SHARE_SERVED,
    )
    figures.judge([goal, *held, *safe(figures, audited=audited)])
    return figures, load, steps


async def _judge_step(bench: Bench, load: Load) -> Step:
    figures = Figures(scenario="step")
    figures.place(load.attack.shots, load.seconds)
    lag = load.lag_max(after=load.seconds / 2)
    await bench.drain(load)
    return Step(
        rate=load.rate,
        accepted=(figures.accepted or 0) / max(1, figures.offered or 0),
        p99_ms=figures.placement_p99_ms,
        lag=max(lag.values(), default=0),
        kept=(figures.accepted or 0) >= SHARE_SERVED * (figures.offered or 1)
        and (figures.placement_p99_ms or 1e9) < PLACEMENT_P99_MS
        and max(lag.values(), default=0) <= MOST_LAG,
    )


def served(figures: Figures, rate: float) -> list[Goal]:
    """The shop takes what comes, quickly."""
    accepted, offered = figures.accepted or 0, figures.offered or 0
    p99 = figures.placement_p99_ms
    return [
        Goal(
            key="accepted",
            promise=f"every checkout accepted at {rate:.0f}/s",
            measured=f"{accepted:,} of {offered:,}",
            kept=offered > 0 and accepted == offered,
        ),
        Goal(
            key="placement",
            promise=f"placement p99 < {PLACEMENT_P99_MS:.0f} ms",
            measured="nothing accepted" if p99 is None else f"{p99:.0f} ms",
            kept=p99 is not None and p99 < PLACEMENT_P99_MS,
        ),
    ]


def keeps_up(figures: Figures, rate: float) -> list[Goal]:
    """The shop takes what comes, and nothing piles up behind the checkout."""
    worst = max(figures.lag_steady_max.items(), key=lambda entry: entry[1], default=("no group", 0))
    completed = figures.completed_per_second or 0.0
    return [
        *served(figures, rate),
        Goal(
            key="lag",
            promise=f"no consumer group more than {MOST_LAG} behind after {RAMP_SECONDS:.0f} s",
            measured=f"{worst[0]}: {worst[1]:,}",
            kept=bool(figures.lag_steady_max) and worst[1] <= MOST_LAG,
        ),
        Goal(
            key="completed",
            promise="orders are completed as fast as they are accepted",
            measured=f"{completed:.0f}/s",
            kept=completed >= rate * (SHARE_SERVED - _CARRIER_REFUSALS) - _UNDER_WAY / (figures.duration_seconds or 1),
        ),
    ]


_CARRIER_REFUSALS: Final = 0.03
"""Share of orders whose booking is refused at first and that are completed a while later."""

_UNDER_WAY: Final = MOST_LAG
"""Orders that may be on their way when the load ends."""


def safe(figures: Figures, *, audited: bool) -> list[Goal]:
    """Nothing that was accepted is lost, stuck or wrong."""
    goals = [
        Goal(
            key="nothing_lost",
            promise="every accepted order is in the books",
            measured=f"{figures.lost:,} lost",
            kept=figures.lost == 0,
        ),
        Goal(
            key="finished",
            promise="every accepted order came to PROCESSING, waits for a carrier, or was cancelled",
            measured=f"{figures.unfinished:,} unfinished"
            + ("" if figures.drained_seconds is None else f", drained after {figures.drained_seconds:.1f} s"),
            kept=figures.unfinished == 0 and figures.drained_seconds is not None,
        ),
    ]
    if audited:
        goals.append(
            Goal(key="audit", promise="the books balance", measured=str(figures.audit), kept=bool(figures.audit_clean))
        )
    return goals


def rolled_back(figures: Figures, declines: float) -> Goal:
    """Each declined order was cancelled, and about as many as were meant to be."""
    share = (figures.cancelled or 0) / max(1, figures.accepted or 0)
    return Goal(
        key="declined",
        promise=f"about {declines:.0%} of the orders are declined and rolled back",
        measured=f"{share:.1%} cancelled",
        kept=abs(share - declines) < 0.05,
    )


def steps_in_words(steps: Sequence[Step]) -> list[str]:
    """The search, a line a step."""
    return [str(step) for step in steps]

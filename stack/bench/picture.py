"""A run as a picture: rate, lag and latency over time."""

import math
from collections import Counter
from pathlib import Path
from typing import Any, Final

from stack.bench.figures import Figures, percentile
from stack.bench.run import Fate, Load

_MOST_GROUPS: Final = 6


def pyplot() -> Any:
    """Matplotlib's plotting module, for files alone; imported when it is used."""
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    return plt


def draw(figures: Figures, load: Load, fates: list[Fate], file: Path) -> None:
    """Saves the picture."""
    plt = pyplot()
    picture, (rates, lags, latencies) = plt.subplots(3, 1, figsize=(11, 10), sharex=True)
    began = load.began

    accepted = [shot for shot in load.attack.shots if shot.code == 202]
    for label, moments, style in (
        ("offered", [shot.due for shot in load.attack.shots], ":"),
        ("accepted", [shot.due for shot in accepted], "-"),
        ("PROCESSING", [fate.processing for fate in fates if fate.processing is not None], "-"),
        ("cancelled", [fate.cancelled for fate in fates if fate.cancelled is not None], "-"),
    ):
        if moments:
            counted = Counter(math.floor(moment - began) for moment in moments)
            seconds = range(min(counted), max(counted) + 1)
            rates.plot(seconds, [counted[second] for second in seconds], style, label=label)
    rates.set(ylabel="orders a second", title=f"{figures.scenario}, {load.rate:.0f}/s for {load.seconds:.0f} s")
    rates.legend(loc="upper right")

    worst = sorted(figures.lag_max, key=lambda group: -figures.lag_max[group])[:_MOST_GROUPS]
    seen = [sample for sample in load.samples if sample.lag]
    for group in worst:
        lags.plot([sample.at - began for sample in seen], [sample.lag.get(group, 0) for sample in seen], label=group)
    lags.axhline(500, color="#999999", linestyle="--", linewidth=0.8)
    lags.set(ylabel="messages behind")
    lags.legend(loc="upper right")

    by_second: dict[int, list[float]] = {}
    for shot in accepted:
        by_second.setdefault(math.floor(shot.due - began), []).append(shot.latency * 1000)
    answered = sorted(by_second)
    for share, style in ((0.50, "-"), (0.99, "-")):
        placement = [percentile(by_second[second], share) for second in answered]
        latencies.plot(answered, placement, style, label=f"placement p{share * 100:.0f}")
    confirmed: dict[int, list[float]] = {}
    for fate in fates:
        if fate.confirmed is not None:
            confirmed.setdefault(math.floor(fate.created - began), []).append((fate.confirmed - fate.created) * 1000)
    answered = sorted(confirmed)
    latencies.plot(answered, [percentile(confirmed[s], 0.99) for s in answered], "--", label="to CONFIRMED p99")
    latencies.set(ylabel="ms", xlabel="seconds", yscale="log")
    latencies.legend(loc="upper right")

    picture.tight_layout()
    picture.savefig(file, dpi=110)
    plt.close(picture)

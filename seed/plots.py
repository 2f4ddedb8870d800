"""A page of plots of what was found, one HTML file without anything beside it."""

import base64
import html
import io
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np

from seed.goods import ORDER_VALUE
from seed.verify import SIGMA, Verdict
from seed.words import CATEGORIES

_INK: Final = "#22543d"
_SECOND: Final = "#b7791f"


def page(verdict: Verdict, target: Path) -> None:
    """Writes the page."""
    mpl.use("Agg")
    target.parent.mkdir(parents=True, exist_ok=True)
    plan = verdict.plan
    title = f"Seed {plan.seed}: {plan.orders:,} orders until {plan.now:%Y-%m-%d}"
    rows = "\n".join(
        f"<tr class={'holds' if line.holds else 'fails'}><td>{html.escape(line.subject)}</td>"
        f"<td>{line.target:,.2f} {line.unit}</td><td>{line.found:,.2f} {line.unit}</td><td>±{line.slack:,.2f}</td></tr>"
        for line in verdict.lines
    )
    target.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1a202c}}
table{{border-collapse:collapse}}td,th{{padding:.15rem .8rem;text-align:right;border-bottom:1px solid #e2e8f0}}
td:first-child,th:first-child{{text-align:left}}.fails{{background:#fed7d7}}img{{max-width:100%}}</style>
<h1>{html.escape(title)}</h1>
<img alt="Plots of the seeded shop" src="data:image/png;base64,{_picture(verdict)}">
<table><tr><th>what</th><th>target</th><th>found</th><th>may differ by</th></tr>
{rows}
</table></html>
""",
        encoding="utf-8",
    )


def _picture(verdict: Verdict) -> str:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 2, figsize=(14, 17), layout="constrained")
    found = verdict.evidence
    _days(axes[0, 0], found.days)
    axes[0, 1].bar(range(24), found.hours, color=_INK)
    axes[0, 1].set(title="Orders by hour of the day (UTC)", xlabel="hour")
    _values(axes[1, 0], *found.values)
    names = list(found.statuses)
    axes[1, 1].barh(names, [found.statuses[name] for name in names], color=_INK)
    axes[1, 1].set(title="Where orders stand")
    _seasons(axes[2, 0], found.months)
    _elasticities(axes[2, 1], found.elasticities)
    axes[3, 0].hist(found.stock, bins=np.arange(0, 520, 10).tolist(), color=_INK)
    axes[3, 0].set(title="Units that can be sold, by product", xlabel="units")
    kinds = sorted(found.kinds, key=lambda kind: found.kinds[kind])
    axes[3, 1].barh(kinds, [found.kinds[kind] for kind in kinds], color=_SECOND)
    axes[3, 1].set(title="Orders with a story: fraud, and honest ones that look like it", xscale="log")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    plt.close(figure)
    return base64.b64encode(buffer.getvalue()).decode()


def _days(axes: Any, days: dict[str, int]) -> None:
    ordered = sorted(days)
    axes.plot(np.array(ordered, dtype="datetime64[D]"), [days[day] for day in ordered], color=_INK, linewidth=1)
    axes.set(title="Orders a day", ylim=(0, None))


def _values(axes: Any, edges: np.ndarray[Any, Any], share: np.ndarray[Any, Any]) -> None:
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    axes.bar(middle, share / width, width=width, color=_INK, label="found")
    values = np.linspace(1, 300, 600)
    mu = np.log(ORDER_VALUE) - SIGMA**2 / 2
    density = np.exp(-((np.log(values) - mu) ** 2) / (2 * SIGMA**2)) / (values * SIGMA * np.sqrt(2 * np.pi))
    axes.plot(values, density, color=_SECOND, label="lognormal of the specification")
    axes.set(title="Value of an order", xlabel="$", xlim=(0, 300))
    axes.legend()


def _seasons(axes: Any, months: np.ndarray[Any, Any]) -> None:
    relative = months / np.maximum(months.mean(axis=1, keepdims=True), 1e-12)
    swing = np.argsort(-relative.std(axis=1))[:14]
    axes.imshow(relative[swing], aspect="auto", cmap="YlGn", vmin=0, vmax=2)
    axes.set_yticks(range(len(swing)), [CATEGORIES[n].name for n in swing])
    axes.set_xticks(range(12), [str(month) for month in range(1, 13)])
    axes.set(title="Categories by month, against their year's mean", xlabel="month")


def _elasticities(axes: Any, elasticities: dict[str, tuple[float, float]]) -> None:
    groups = list(elasticities)
    place = np.arange(len(groups))
    axes.bar(place - 0.2, [elasticities[group][0] for group in groups], 0.4, color=_SECOND, label="target")
    axes.bar(place + 0.2, [elasticities[group][1] for group in groups], 0.4, color=_INK, label="found")
    axes.set_xticks(place, groups, rotation=30)
    axes.set(title="Price elasticity")
    axes.legend()

"""Plots for the metadata of assets: small pictures inside their Markdown."""

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any


def _picture(figure: Any) -> bytes:
    written = BytesIO()
    figure.savefig(written, format="png", dpi=80, bbox_inches="tight")
    return written.getvalue()


def bars(values: Sequence[tuple[str, float]], unit: str) -> bytes:
    """Horizontal bars, the first on top, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 0.3 * max(len(values), 1) + 0.8))
    axes = figure.subplots()
    axes.barh([name for name, _ in reversed(values)], [value for _, value in reversed(values)], color="#4f43dd")
    axes.set_xlabel(unit)
    axes.spines[["top", "right"]].set_visible(False)
    return _picture(figure)


def lines(days: Sequence[Any], series: Sequence[tuple[str, Sequence[float]]]) -> bytes:
    """One panel for each series over the same days, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.8 * len(series)))
    panels = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(panels, series, strict=True):
        axes.plot(days, values, color="#4f43dd")
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.autofmt_xdate()
    return _picture(figure)


def markdown(picture: bytes, title: str = "plot") -> str:
    """The picture as Markdown that carries it."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture).decode()})"

"""What an audit found, and how it is shown."""

import datetime as dt
import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

NAMED: Final = 5
"""Offenders that a check names."""


class Verdict(enum.StrEnum):
    """What came of a check."""

    HOLDS = "holds"
    BROKEN = "broken"
    WARNING = "warning"
    NOT_JUDGED = "not_judged"


@dataclass(frozen=True, slots=True)
class Offender:
    """Something that breaks a check: its id, and what is wrong with it."""

    id: str
    what: str

    def __str__(self) -> str:
        return f"{self.id}: {self.what}" if self.what else self.id


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result.

    ``figures`` are what it counted. ``needs_quiet`` marks checks that compare two stores: while messages are under way
    these may rightly differ. ``offenders`` are all that were found (at most :data:`audit.books.MOST`, ``count`` of
    them in truth).
    """

    key: str
    title: str
    figures: Mapping[str, int | str] = field(default_factory=dict)
    offenders: tuple[Offender, ...] = ()
    count: int = 0
    needs_quiet: bool = False
    warning: bool = False
    note: str = ""
    judged: bool = True

    @property
    def verdict(self) -> Verdict:
        """Whether it holds."""
        if not self.judged:
            return Verdict.NOT_JUDGED
        if not self.count:
            return Verdict.HOLDS
        return Verdict.WARNING if self.warning else Verdict.BROKEN


def found(
    key: str,
    title: str,
    offenders: Iterable[Offender] = (),
    *,
    figures: Mapping[str, int | str] | None = None,
    needs_quiet: bool = False,
    warning: bool = False,
    note: str = "",
) -> Finding:
    """A finding whose count is that of its offenders."""
    named = tuple(offenders)
    return Finding(key, title, figures or {}, named, len(named), needs_quiet, warning, note)


def away(key: str, title: str, why: str, *, needs_quiet: bool = True) -> Finding:
    """A check that could not be made."""
    return Finding(key, title, needs_quiet=needs_quiet, note=why, judged=False)


@dataclass(frozen=True, slots=True)
class Report:
    """An audit. ``quiet`` says whether nothing was under way; without it some checks can't be judged."""

    at: dt.datetime
    seconds: float
    quiet: bool
    unrest: str
    findings: tuple[Finding, ...]

    @property
    def broken(self) -> list[Finding]:
        """The checks that don't hold."""
        return [finding for finding in self.findings if finding.verdict is Verdict.BROKEN]

    @property
    def not_judged(self) -> list[Finding]:
        """The checks that could not be made."""
        return [finding for finding in self.findings if finding.verdict is Verdict.NOT_JUDGED]

    @property
    def clean(self) -> bool:
        """Whether nothing is broken."""
        return not self.broken

    @property
    def verdict(self) -> str:
        """The result in a few words."""
        if self.broken:
            return f"broken: {', '.join(finding.key for finding in self.broken)}"
        if self.not_judged:
            return f"clean, {len(self.not_judged)} of {len(self.findings)} checks not judged"
        return f"clean, {len(self.findings)} checks"

    def finding(self, key: str) -> Finding:
        """The check with this key.

        Raises:
            KeyError: if there is none.
        """
        for finding in self.findings:
            if finding.key == key:
                return finding
        raise KeyError(key)

    def document(self) -> dict[str, Any]:
        """The report as flat JSON; ``docs/audit.md`` describes the fields.

        ``<check>`` holds a verdict, ``<check>.<figure>`` a number, ``<check>.offenders`` up to five offenders.
        """
        document: dict[str, Any] = {
            "at": self.at.isoformat(),
            "seconds": round(self.seconds, 3),
            "quiet": self.quiet,
            "unrest": self.unrest,
            "clean": self.clean,
        }
        for finding in self.findings:
            document[finding.key] = finding.verdict.value
            for name, value in finding.figures.items():
                document[f"{finding.key}.{name.replace(' ', '_')}"] = value
            document[f"{finding.key}.broken"] = finding.count if finding.judged else None
            document[f"{finding.key}.offenders"] = [str(offender) for offender in finding.offenders[:NAMED]]
            if finding.note:
                document[f"{finding.key}.note"] = finding.note
        return document

    def render(self) -> RenderableType:
        """The report for a terminal."""
        table = Table(show_edge=False, pad_edge=False, expand=True)
        table.add_column("", width=1)
        table.add_column("check", ratio=5)
        table.add_column("figures", ratio=6, style="dim")
        for finding in self.findings:
            sign, style = _SIGNS[finding.verdict]
            figures = Text(", ".join(f"{name} {_number(value)}" for name, value in finding.figures.items()))
            if finding.note:
                figures.append(("; " if figures.plain else "") + finding.note, "yellow")
            for offender in finding.offenders[:NAMED]:
                figures.append(f"\n{offender}", "red" if finding.verdict is Verdict.BROKEN else "yellow")
            if finding.count > NAMED:
                figures.append(f"\n… and {finding.count - NAMED} more", style)
            table.add_row(Text(sign, style), Text(finding.title, style if finding.count else ""), figures)
        state = "quiet" if self.quiet else f"not quiet: {self.unrest}"
        closing = Text.assemble(
            ("✓ " if self.clean else "✗ ", "green" if self.clean else "red"),
            (self.verdict, "bold green" if self.clean else "bold red"),
            (f"  ({self.seconds:.1f} s, {state})", "dim"),
        )
        return Group(table, Text(), closing)


_SIGNS: Final = {
    Verdict.HOLDS: ("✓", "green"),
    Verdict.BROKEN: ("✗", "red"),
    Verdict.WARNING: ("!", "yellow"),
    Verdict.NOT_JUDGED: ("–", "dim"),
}


def _number(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value

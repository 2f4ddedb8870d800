"""Visits whose events stay here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from contracts.storefront import StorefrontKind


@dataclass
class Overheard:
    """Hears what visitors do."""

    noted: list[tuple[StorefrontKind, dict[str, Any]]] = field(default_factory=list)

    def of(self, headers: Iterable[tuple[bytes, bytes]], *, user_id: str | None = None) -> "Overheard":
        """Everybody's visit."""
        return self

    def note(self, kind: StorefrontKind, **what: Any) -> None:
        """Remembers it."""
        self.noted.append((kind, what))

    def take(self) -> list[tuple[StorefrontKind, dict[str, Any]]]:
        """What was noted since the last time."""
        taken, self.noted = self.noted, []
        return taken

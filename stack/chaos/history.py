"""What customers did and were told: the history that the checker reads. One JSON object a line."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec


class Act(StrEnum):
    """What a customer did."""

    CHECKOUT = "checkout"
    REPEAT = "repeat"
    CANCEL = "cancel"
    LOOK = "look"
    NEWS = "news"


class Outcome(StrEnum):
    """What came of it."""

    ACCEPTED = "accepted"
    """A checkout or its repetition got an order."""
    REFUSED = "refused"
    """The shop said no, for the reason in ``detail``."""
    UNKNOWN = "unknown"
    """No answer, however often it was asked: it may or may not have happened."""
    CANCELLED = "cancelled"
    """The shop said that the order is cancelled."""
    UNDECIDED = "undecided"
    """The shop took the wish to cancel and has not decided."""
    SEEN = "seen"
    """The order was shown, in ``status`` as of ``sequence``."""
    NOT_FOUND = "not_found"
    """The shop said that there is no such order."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that a customer did and what came of it. Moments are seconds from the start of the run.

    ``connection`` tells the WebSocket connections of one customer apart. ``answer`` is the checkout's whole body.
    """

    began: float
    at: float
    user: str
    act: Act
    outcome: Outcome
    key: str = ""
    order: str = ""
    status: str = ""
    sequence: int = 0
    connection: int = 0
    declined: bool = False
    answer: str = ""
    detail: str = ""


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Entry)


class History:
    """Collects entries and writes each as it comes, so that a run that is broken off leaves its history."""

    def __init__(self, file: Path) -> None:
        self._stream = file.open("wb")
        self.entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Takes an entry; those of one customer come in the order in which their answers came."""
        self.entries.append(entry)
        self._stream.write(_encoder.encode(entry) + b"\n")

    def close(self) -> None:
        """Writes what is pending."""
        self._stream.close()


def read(file: Path) -> Iterator[Entry]:
    """The entries of a file."""
    with file.open("rb") as stream:
        for line in stream:
            yield _decoder.decode(line)

"""The mailbox: one SQLite file with the newest messages, each once."""

import datetime as dt
import email
import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Final, Self

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    sender TEXT NOT NULL,
    subject TEXT NOT NULL,
    received_at TEXT NOT NULL,
    deliveries INTEGER NOT NULL DEFAULT 1,
    content BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS recipients (
    address TEXT NOT NULL,
    message INTEGER NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    PRIMARY KEY (address, message)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS recipients_message ON recipients (message);
"""
_SUMMARY: Final = """
    SELECT m.id, m.message_id, m.sender, m.subject, m.received_at, m.deliveries, length(m.content),
        (SELECT group_concat(address, ' ') FROM recipients WHERE message = m.id)
    FROM messages m
"""
_TIDY_EVERY: Final = 500

_headers: Final = BytesHeaderParser()


@dataclass(frozen=True, slots=True)
class Summary:
    """A message without its content. ``deliveries`` counts how often it came; only the first is kept."""

    id: int
    message_id: str
    sender: str
    recipients: tuple[str, ...]
    subject: str
    received_at: str
    deliveries: int
    size: int


@dataclass(frozen=True, slots=True)
class Mail:
    """A message as a reader sees it; ``text`` and ``html`` are empty where it has no such part."""

    summary: Summary
    headers: tuple[tuple[str, str], ...]
    text: str
    html: str
    raw: bytes


class Mailbox:
    """Keeps messages. A message with a Message-ID that is known is counted and dropped, as mail servers do.

    Writes survive a kill of the process, not of the machine: there is no fsync.
    """

    def __init__(self, file: Path | str, *, kept: int) -> None:
        if isinstance(file, Path):
            file.parent.mkdir(parents=True, exist_ok=True)
        self._kept = kept
        self._stored = 0
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("PRAGMA foreign_keys = ON")
        self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def store(self, sender: str, recipients: Sequence[str], content: bytes, now: dt.datetime) -> bool:
        """Keeps a message; false if it is known."""
        message = _headers.parsebytes(content, headersonly=True)
        message_id = _header(message, "Message-ID").strip() or f"<{hashlib.sha256(content).hexdigest()}@mailsink>"
        self._database.execute("BEGIN IMMEDIATE")
        try:
            row = self._database.execute(
                """
                INSERT INTO messages (message_id, sender, subject, received_at, content) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT (message_id) DO UPDATE SET deliveries = deliveries + 1
                RETURNING id, deliveries
                """,
                (message_id, sender, _header(message, "Subject"), now.isoformat(), content),
            ).fetchone()
            addresses = {(address.strip().lower(), row[0]) for address in recipients}
            self._database.executemany("INSERT OR IGNORE INTO recipients VALUES (?, ?)", addresses)
            self._stored += 1
            if self._stored % _TIDY_EVERY == 0:
                self._database.execute("DELETE FROM messages WHERE id <= ?", (row[0] - self._kept,))
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")
        return bool(row[1] == 1)

    def page(self, *, to: str | None = None, before: int | None = None, limit: int = 50) -> list[Summary]:
        """The newest messages, to one address if given, older than the id ``before`` if given."""
        conditions, values = ["TRUE"], list[object]()
        if to is not None:
            conditions.append("m.id IN (SELECT message FROM recipients WHERE address = ?)")
            values.append(to.strip().lower())
        if before is not None:
            conditions.append("m.id < ?")
            values.append(before)
        query = f"{_SUMMARY} WHERE {' AND '.join(conditions)} ORDER BY m.id DESC LIMIT ?"
        return [_summary(row) for row in self._database.execute(query, [*values, limit])]

    def get(self, id: int) -> Mail | None:
        """One message; None if there is none, or none any more."""
        row = self._database.execute(f"{_SUMMARY} WHERE m.id = ?", (id,)).fetchone()
        content = self._database.execute("SELECT content FROM messages WHERE id = ?", (id,)).fetchone()
        if row is None or content is None:
            return None
        message = email.message_from_bytes(content[0])
        return Mail(
            summary=_summary(row),
            headers=tuple((name, _decoded(str(value))) for name, value in message.items()),
            text=_part(message, "text/plain"),
            html=_part(message, "text/html"),
            raw=content[0],
        )

    def count(self) -> int:
        """Messages that are kept."""
        return int(self._database.execute("SELECT count(*) FROM messages").fetchone()[0])


def _summary(row: tuple[int, str, str, str, str, int, int, str | None]) -> Summary:
    identity, message_id, sender, subject, received_at, deliveries, size, addresses = row
    recipients = tuple((addresses or "").split())
    return Summary(identity, message_id, sender, recipients, subject, received_at, deliveries, size)


def _header(message: Message, name: str) -> str:
    return _decoded(str(message.get(name, "")))


def _decoded(value: str) -> str:
    try:
        return str(make_header(decode_header(value)))
    except (LookupError, ValueError):
        return value


def _part(message: Message, media_type: str) -> str:
    for part in message.walk():
        if part.get_content_type() == media_type and not part.is_multipart():
            payload = part.get_payload(decode=True)
            assert isinstance(payload, bytes)
            try:
                return payload.decode(part.get_content_charset() or "utf-8", "replace")
            except LookupError:
                return payload.decode("latin-1")
    return ""

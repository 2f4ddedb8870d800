"""The simulator's books in SQLite: objects, remembered requests, money moved, webhooks to deliver.

Write-ahead logging without a sync for each commit: what was answered outlives ``kill -9`` of the process.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

Provider = Literal["stripe", "paypal"]
Movement = Literal["capture", "refund", "chargeback"]

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS objects (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    parent TEXT NOT NULL,
    order_id TEXT NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_objects_order ON objects (kind, order_id);
CREATE INDEX IF NOT EXISTS ix_objects_parent ON objects (kind, parent);
CREATE TABLE IF NOT EXISTS requests (
    provider TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (provider, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS movements (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL,
    id TEXT NOT NULL UNIQUE,
    order_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    amount INTEGER NOT NULL,
    currency TEXT NOT NULL,
    moved_at REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS ix_movements_order ON movements (order_id);
CREATE TABLE IF NOT EXISTS deliveries (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    provider TEXT NOT NULL,
    event_id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    body TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    due_at REAL,
    last_status TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS ix_deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS controls (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a request with an idempotency key was answered."""

    fingerprint: str
    status: int
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook on its way. ``due_at`` is None once it arrived or was given up."""

    sequence: int
    provider: Provider
    event_id: str
    type: str
    body: str
    tries: int
    due_at: float | None
    last_status: str


@dataclass(frozen=True, slots=True)
class OrderTotals:
    """What a provider moved for one order, in minor units."""

    order_id: str
    provider: Provider
    currency: str
    captures: int
    captured: int
    refunds: int
    refunded: int
    charged_back: int


class Store:
    """The books. Calls are short and run in the event loop; a change is one :meth:`transaction`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA busy_timeout = 5000")
        self._db.executescript(_SCHEMA)

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes of the block, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def put(self, kind: str, body: dict[str, Any], *, order_id: str = "", parent: str = "") -> None:
        """Writes an object, new or changed."""
        self._db.execute(
            "INSERT INTO objects (id, kind, parent, order_id, body) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (body["id"], kind, parent, order_id, orjson.dumps(body).decode()),
        )

    def get(self, kind: str, id: str) -> dict[str, Any] | None:
        """An object by id."""
        row = self._db.execute("SELECT body FROM objects WHERE id = ? AND kind = ?", (id, kind)).fetchone()
        return None if row is None else _loads(row[0])

    def order_of(self, id: str) -> str:
        """The shop's order that an object belongs to."""
        row = self._db.execute("SELECT order_id FROM objects WHERE id = ?", (id,)).fetchone()
        return "" if row is None else str(row[0])

    def find(
        self, kind: str, *, order_id: str | None = None, parent: str | None = None, limit: int = 100, after: str = ""
    ) -> list[dict[str, Any]]:
        """Objects, newest first, older than ``after``."""
        conditions, values = ["kind = ?"], [kind]
        if order_id is not None:
            conditions.append("order_id = ?")
            values.append(order_id)
        if parent is not None:
            conditions.append("parent = ?")
            values.append(parent)
        if after:
            conditions.append("sequence < (SELECT sequence FROM objects WHERE id = ?)")
            values.append(after)
        where = " AND ".join(conditions)
        query = f"SELECT body FROM objects WHERE {where} ORDER BY sequence DESC LIMIT ?"  # noqa: S608
        rows = self._db.execute(query, (*values, limit))
        return [_loads(row[0]) for row in rows]

    def recall(self, provider: Provider, key: str) -> Remembered | None:
        """What a key was answered."""
        row = self._db.execute(
            "SELECT fingerprint, status, body FROM requests WHERE provider = ? AND key = ?", (provider, key)
        ).fetchone()
        return None if row is None else Remembered(row[0], row[1], _loads(row[2]))

    def remember(self, provider: Provider, key: str, answer: Remembered) -> None:
        """Keeps what a key was answered."""
        self._db.execute(
            "INSERT OR IGNORE INTO requests (provider, key, fingerprint, status, body) VALUES (?, ?, ?, ?, ?)",
            (provider, key, answer.fingerprint, answer.status, orjson.dumps(answer.body).decode()),
        )

    def move(
        self, provider: Provider, kind: Movement, id: str, *, order_id: str, amount: int, currency: str, at: float
    ) -> None:
        """Books money that moved."""
        self._db.execute(
            "INSERT INTO movements (provider, id, order_id, kind, amount, currency, moved_at) VALUES (?,?,?,?,?,?,?)",
            (provider, id, order_id, kind, amount, currency.upper(), at),
        )

    def totals(self, *, after: str = "", limit: int = 1000, order_id: str | None = None) -> list[OrderTotals]:
        """What was moved for each order, by order id."""
        rows = self._db.execute(
            """
            SELECT order_id, provider, currency,
                   count(*) FILTER (WHERE kind = 'capture'), coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0),
                   count(*) FILTER (WHERE kind = 'refund'), coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0),
                   coalesce(sum(amount) FILTER (WHERE kind = 'chargeback'), 0)
            FROM movements WHERE order_id > ? AND (? IS NULL OR order_id = ?)
            GROUP BY order_id, provider, currency ORDER BY order_id, provider LIMIT ?
            """,
            (after, order_id, order_id, limit),
        )
        return [OrderTotals(*row) for row in rows]

    def enqueue(self, provider: Provider, event: dict[str, Any], type: str, body: str, due_at: float) -> None:
        """Has a webhook delivered."""
        self._db.execute(
            "INSERT INTO deliveries (provider, event_id, type, body, due_at) VALUES (?, ?, ?, ?, ?)",
            (provider, event["id"], type, body, due_at),
        )

    def due(self, now: float, limit: int) -> list[Delivery]:
        """Webhooks to deliver now, oldest first."""
        rows = self._db.execute(
            "SELECT sequence, provider, event_id, type, body, tries, due_at, last_status FROM deliveries "
            "WHERE due_at <= ? ORDER BY due_at, sequence LIMIT ?",
            (now, limit),
        )
        return [Delivery(*row) for row in rows]

    def deliveries(self, *, limit: int, after: int = 0) -> list[Delivery]:
        """All webhooks in the order they came up."""
        rows = self._db.execute(
            "SELECT sequence, provider, event_id, type, body, tries, due_at, last_status FROM deliveries "
            "WHERE sequence > ? ORDER BY sequence LIMIT ?",
            (after, limit),
        )
        return [Delivery(*row) for row in rows]

    def event_body(self, event_id: str) -> str | None:
        """What was sent for an event."""
        row = self._db.execute("SELECT body FROM deliveries WHERE event_id = ?", (event_id,)).fetchone()
        return None if row is None else str(row[0])

    def next_due(self) -> float | None:
        """When the next webhook is due."""
        row = self._db.execute("SELECT min(due_at) FROM deliveries WHERE due_at IS NOT NULL").fetchone()
        return None if row[0] is None else float(row[0])

    def reschedule(self, sequence: int, *, tries: int, due_at: float | None, last_status: str) -> None:
        """Notes how a delivery went."""
        self._db.execute(
            "UPDATE deliveries SET tries = ?, due_at = ?, last_status = ? WHERE sequence = ?",
            (tries, due_at, last_status, sequence),
        )

    def redeliver(self, event_id: str, now: float) -> bool:
        """Has an event sent again; False if there is none."""
        return self._db.execute("UPDATE deliveries SET due_at = ? WHERE event_id = ?", (now, event_id)).rowcount > 0

    def control(self, name: str) -> dict[str, Any] | None:
        """A control's stored value."""
        row = self._db.execute("SELECT value FROM controls WHERE name = ?", (name,)).fetchone()
        return None if row is None else _loads(row[0])

    def set_control(self, name: str, value: dict[str, Any]) -> None:
        """Stores a control's value."""
        self._db.execute(
            "INSERT INTO controls (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, orjson.dumps(value).decode()),
        )

    def clear(self) -> None:
        """Forgets everything."""
        with self.transaction():
            for table in ("objects", "requests", "movements", "deliveries", "controls"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608


def _loads(text: str) -> dict[str, Any]:
    loaded: dict[str, Any] = orjson.loads(text)
    return loaded

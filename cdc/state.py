"""What the warehouse knows of its own filling: which tables were copied, when, and of which point of the log."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS cdc.copies (
        raw text PRIMARY KEY,
        snapshot_at timestamptz NOT NULL,
        snapshot_lsn bigint NOT NULL,
        rows bigint NOT NULL,
        seconds double precision NOT NULL
    )
"""


@dataclass(frozen=True, slots=True)
class Copy:
    """A table's last whole copy. ``snapshot_lsn``: where the shop's log stood."""

    raw: str
    snapshot_at: dt.datetime
    snapshot_lsn: int
    rows: int
    seconds: float


async def ensure(connection: Any) -> None:
    """The table that keeps it."""
    await connection.execute(_TABLE)


async def copies(connection: Any) -> dict[str, Copy]:
    """The last copies by raw table."""
    return {row["raw"]: Copy(**dict(row)) for row in await connection.fetch("SELECT * FROM cdc.copies")}


async def keep(connection: Any, copy: Copy) -> None:
    """Remembers a copy."""
    await connection.execute(
        """
        INSERT INTO cdc.copies (raw, snapshot_at, snapshot_lsn, rows, seconds) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (raw) DO UPDATE SET snapshot_at = excluded.snapshot_at, snapshot_lsn = excluded.snapshot_lsn,
            rows = excluded.rows, seconds = excluded.seconds
        """,
        copy.raw,
        copy.snapshot_at,
        copy.snapshot_lsn,
        copy.rows,
        copy.seconds,
    )


async def forget(connection: Any, tables: Iterable[str]) -> None:
    """Forgets the copies of raw tables: they have to be copied anew."""
    await connection.execute("DELETE FROM cdc.copies WHERE raw = ANY($1::text[])", list(tables))

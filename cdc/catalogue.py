"""The shop's tables as its migrations made them: columns, types and keys, from the database's own catalogue."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cdc.tables import CAPTURED, Captured

_COLUMNS = """
    SELECT n.nspname || '.' || c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
           NOT a.attnotnull AS nullable, a.atthasdef AS defaulted, (a.attmissingval::text::text[])[1] AS missing,
           c.relreplident = 'f' AS old_rows,
           coalesce(array_position(k.conkey, a.attnum), 0) AS key
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
    WHERE n.nspname || '.' || c.relname = ANY($1) AND c.relkind IN ('r', 'p')
    ORDER BY 1, a.attnum
"""


class CatalogueError(Exception):
    """A table can't be captured as it is."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type is Postgres' name of it, with length or precision.

    ``missing``: what rows have that were there before the column was, if Postgres only remembers it.
    """

    name: str
    type: str
    nullable: bool
    defaulted: bool = False
    missing: str | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """A captured table as it is now. ``columns`` are those that are captured, in the table's order."""

    captured: Captured
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    old_rows: bool

    @property
    def name(self) -> str:
        return self.captured.name

    @property
    def raw(self) -> str:
        return self.captured.raw

    @property
    def topic(self) -> str:
        return self.captured.topic


async def read(connection: Any, wanted: Iterable[Captured] = CAPTURED) -> list[Table]:
    """The captured tables that exist, in the order in which they are listed.

    Raises:
        CatalogueError: if one has no primary key, or its key is among what is left out.
    """
    rows = await connection.fetch(_COLUMNS, [table.name for table in wanted])
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault(row["table"], []).append(row)
    tables = []
    for captured in wanted:
        columns = found.get(captured.name)
        if columns is None:
            continue
        key = tuple(row["name"] for row in sorted(columns, key=lambda row: row["key"]) if row["key"])
        if not key or captured.without & set(key):
            raise CatalogueError(f"{captured.name} has no primary key that could be captured")
        tables.append(
            Table(
                captured,
                tuple(
                    Column(row["name"], row["type"], row["nullable"], row["defaulted"], row["missing"])
                    for row in columns
                    if row["name"] not in captured.without
                ),
                key,
                columns[0]["old_rows"],
            )
        )
    return tables

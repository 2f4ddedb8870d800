"""The warehouse's raw tables: the shop's, column for column, and where each row came from.

A raw table grows with its source: a new column is added, a wider type taken over. A column that the source dropped
stays, empty in new rows: what was known is not forgotten.
"""

from typing import Any, Final

from cdc.catalogue import Column, Table
from cdc.tables import RAW

META: Final = (
    ("__op", "text"),
    ("__source_ts_ms", "bigint"),
    ("__source_lsn", "bigint"),
    ("__emitted_at", "timestamptz"),
)
"""Of every raw table: r, c, u or d (copied, created, updated, deleted); when and where in the shop's log it changed;
when its change entered Kafka, which grows in the order in which a table's rows are written."""

DELETED: Final = "__deleted"

EVENTS: Final = "storefront_events"
_EVENT_COLUMNS: Final = """
    event_id uuid PRIMARY KEY, kind text, session_id uuid, user_id uuid, product_id uuid, order_id uuid, query text,
    results integer, quantity integer, price numeric(12,2), device text, referrer text, experiment text, variant text,
    occurred_at timestamptz, __emitted_at timestamptz
"""

_RAW_COLUMNS = """
    SELECT c.relname AS table, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'r'
"""


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def qualified(table: str) -> str:
    """A raw table's name in SQL."""
    return f"{RAW}.{quoted(table)}"


def create(table: Table) -> str:
    """The statements that make a table's raw table. Only its key is NOT NULL: a delete may know no more than that."""
    columns = [f"{quoted(c.name)} {c.type}{' NOT NULL' if c.name in table.key else ''}" for c in table.columns]
    columns += [f"{name} {type_}" for name, type_ in META]
    columns.append(f"{DELETED} boolean GENERATED ALWAYS AS (__op = 'd') STORED")
    name = qualified(table.raw)
    return f"CREATE TABLE {name} ({', '.join(columns)}); {primary_key(table)}; {emitted_index(table.raw)}"


def primary_key(table: Table) -> str:
    """The statement that adds a raw table's key, which is its source's."""
    key = ", ".join(map(quoted, table.key))
    return f"ALTER TABLE {qualified(table.raw)} ADD CONSTRAINT {quoted(f'pk_{table.raw}')} PRIMARY KEY ({key})"


def emitted_index(raw: str) -> str:
    """The statement that indexes ``__emitted_at``, by which incremental models find what is new.

    A block range index: rows are written in that order, so it costs next to nothing and is small.
    """
    return (
        f"CREATE INDEX IF NOT EXISTS {quoted(f'ix_{raw}_emitted')} ON {qualified(raw)}"
        " USING brin (__emitted_at) WITH (pages_per_range = 32, autosummarize = on)"
    )


async def ensure(connection: Any, tables: list[Table]) -> list[str]:
    """Brings the raw tables to their sources' shape; returns what was changed, as sentences.

    A widened column is rewritten under the views that read it: they are put back as they were.
    """
    found: dict[str, dict[str, str]] = {}
    for row in await connection.fetch(_RAW_COLUMNS, RAW):
        found.setdefault(row["table"], {})[row["name"]] = row["type"]
    changed = []
    async with connection.transaction():
        if EVENTS not in found:
            await connection.execute(f"CREATE TABLE {qualified(EVENTS)} ({_EVENT_COLUMNS}); {emitted_index(EVENTS)}")
            changed.append(f"{EVENTS} created")
        for table in tables:
            present = found.get(table.raw)
            if present is None:
                await connection.execute(create(table))
                changed.append(f"{table.raw} created")
                continue
            for column in table.columns:
                if column.name not in present:
                    await _add(connection, table, column)
                    changed.append(f"{table.raw}.{column.name} added")
                elif present[column.name] != column.type:
                    await _retype(connection, table, column)
                    changed.append(f"{table.raw}.{column.name}: {present[column.name]} became {column.type}")
    return changed


async def _add(connection: Any, table: Table, column: Column) -> None:
    await connection.execute(f"ALTER TABLE {qualified(table.raw)} ADD COLUMN {quoted(column.name)} {column.type}")


async def _retype(connection: Any, table: Table, column: Column) -> None:
    name = quoted(column.name)
    await connection.execute(
        f"ALTER TABLE {qualified(table.raw)} ALTER COLUMN {name} TYPE {column.type} USING {name}::{column.type}"
    )

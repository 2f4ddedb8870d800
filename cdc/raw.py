"""The warehouse's raw tables: the shop's, column for column, and where each row came from.

A raw table grows with its source: a new column is added, a wider type taken over. A column that the source dropped
stays, empty in new rows: what was known is not forgotten.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from cdc import views
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

EVENTS_TABLE: Final = "storefront_events"
EVENT_COLUMNS: Final = (
    ("event_id", "uuid"),
    ("kind", "text"),
    ("session_id", "uuid"),
    ("user_id", "uuid"),
    ("product_id", "uuid"),
    ("order_id", "uuid"),
    ("query", "text"),
    ("results", "integer"),
    ("quantity", "integer"),
    ("price", "numeric(12,2)"),
    ("device", "text"),
    ("referrer", "text"),
    ("experiment", "text"),
    ("variant", "text"),
    ("occurred_at", "timestamp with time zone"),
    ("__emitted_at", "timestamp with time zone"),
)
"""What visitors do, from the topic ``storefront-events``; keyed by the event's id."""

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


def emitted_index_name(raw: str) -> str:
    """The name of a raw table's index of ``__emitted_at``."""
    return f"ix_{raw}_emitted"


def emitted_index(raw: str) -> str:
    """The statement that indexes ``__emitted_at``, by which incremental models find what is new.

    A tree: rows that are replaced fill gaps all over the table, so a block range index would soon tell nothing. A
    backfill's rows share their moment, and what comes later is put at the tree's end.
    """
    return f"CREATE INDEX IF NOT EXISTS {quoted(emitted_index_name(raw))} ON {qualified(raw)} (__emitted_at)"


@dataclass(frozen=True, slots=True)
class Evolution:
    """What became of the raw tables: sentences, and the tables whose rows can't be known without copying them anew."""

    changes: tuple[str, ...]
    stale: frozenset[str]


async def ensure(connection: Any, tables: list[Table]) -> Evolution:
    """Brings the raw tables to their sources' shape.

    A column that changes its type is rewritten under the views that read it: they are put back as they were.

    Raises:
        ViewError: if a materialised view reads such a column's table.
    """
    found: dict[str, dict[str, str]] = {}
    for row in await connection.fetch(_RAW_COLUMNS, RAW):
        found.setdefault(row["table"], {})[row["name"]] = row["type"]
    changes: list[str] = []
    stale: set[str] = set()
    async with connection.transaction():
        if EVENTS_TABLE not in found:
            columns = ", ".join(f"{name} {type_}" for name, type_ in EVENT_COLUMNS)
            await connection.execute(
                f"CREATE TABLE {qualified(EVENTS_TABLE)} ({columns}, PRIMARY KEY (event_id));"
                f" {emitted_index(EVENTS_TABLE)}"
            )
            changes.append(f"{EVENTS_TABLE} created")
        for table in tables:
            present = found.get(table.raw)
            if present is None:
                await connection.execute(create(table))
                changes.append(f"{table.raw} created")
                continue
            evolved = await _evolve(connection, table, present)
            changes += evolved.changes
            stale |= evolved.stale
    return Evolution(tuple(changes), frozenset(stale))


async def _evolve(connection: Any, table: Table, present: dict[str, str]) -> Evolution:
    changes: list[str] = []
    stale = False
    added = [column for column in table.columns if column.name not in present]
    gone = present.keys() - {column.name for column in table.columns} - {name for name, _ in META} - {DELETED}
    for column in added:
        await _add(connection, table, column)
        changes.append(f"{table.raw}.{column.name} added")
        stale |= not knowable(column)
    given_up = await _given_up(connection, table)
    # a column that went as another came may have been renamed
    stale |= bool(added and gone - given_up)
    for name in sorted(gone - given_up):
        await connection.execute(f"COMMENT ON COLUMN {qualified(table.raw)}.{quoted(name)} IS '{_GONE}'")
        changes.append(f"{table.raw}.{name} is no more in the shop")
    for name in sorted(given_up - gone):
        await connection.execute(f"COMMENT ON COLUMN {qualified(table.raw)}.{quoted(name)} IS NULL")
        changes.append(f"{table.raw}.{name} is back in the shop")
        stale = True
    retyped = [c for c in table.columns if c.name in present and present[c.name] != c.type]
    if retyped:
        taken = await views.take_down(connection, qualified(table.raw))
        for column in retyped:
            await _retype(connection, table, column)
            changes.append(f"{table.raw}.{column.name}: {present[column.name]} became {column.type}")
            stale |= not widens(present[column.name], column.type)
        await views.put_back(connection, taken)
    return Evolution(tuple(changes), frozenset({table.raw} if stale else ()))


_GONE: Final = "The shop has this column no more."


async def _given_up(connection: Any, table: Table) -> set[str]:
    rows = await connection.fetch(
        "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0"
        " AND col_description(attrelid, attnum) = $2",
        qualified(table.raw),
        _GONE,
    )
    return {row[0] for row in rows}


def knowable(column: Column) -> bool:
    """Whether the rows that were there before a new column have a value in it that needs no copying.

    That is NULL, or the one constant that Postgres remembers for them; a constant only where NULL can't be meant.
    """
    if column.nullable:
        return not column.defaulted
    return column.missing is not None


_INTEGERS: Final = ("smallint", "integer", "bigint")
_NUMERIC: Final = re.compile(r"numeric\((\d+),(\d+)\)")
_TEXT: Final = re.compile(r"character varying(\(\d+\))?|text")


def widens(before: str, after: str) -> bool:
    """Whether every value of one type is one of the other, and reads the same in a change that is on its way."""
    if before in _INTEGERS and after in _INTEGERS:
        return _INTEGERS.index(before) < _INTEGERS.index(after)
    narrow, wide = _NUMERIC.fullmatch(before), _NUMERIC.fullmatch(after)
    if narrow and wide:
        return int(wide[2]) >= int(narrow[2]) and int(wide[1]) - int(wide[2]) >= int(narrow[1]) - int(narrow[2])
    return bool(_TEXT.fullmatch(before) and _TEXT.fullmatch(after))


async def _add(connection: Any, table: Table, column: Column) -> None:
    name, to = quoted(column.name), qualified(table.raw)
    default = ""
    if column.missing is not None and not column.nullable:
        literal = await connection.fetchval("SELECT quote_literal($1::text)", column.missing)
        default = f" DEFAULT {literal}::{column.type}"
    await connection.execute(f"ALTER TABLE {to} ADD COLUMN {name} {column.type}{default}")
    if default:
        await connection.execute(f"ALTER TABLE {to} ALTER COLUMN {name} DROP DEFAULT")


async def _retype(connection: Any, table: Table, column: Column) -> None:
    name = quoted(column.name)
    await connection.execute(
        f"ALTER TABLE {qualified(table.raw)} ALTER COLUMN {name} TYPE {column.type} USING {name}::{column.type}"
    )

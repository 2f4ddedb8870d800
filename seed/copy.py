"""Bulk loading over one asyncpg connection."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg


class Table(NamedTuple):
    """A table and the columns that are filled, in the order of the rows' values."""

    schema: str
    name: str
    columns: tuple[str, ...]


def table(schema: str, name: str, columns: str) -> Table:
    """A table whose columns are given in one string."""
    return Table(schema, name, tuple(columns.replace(",", " ").split()))


async def copy(connection: asyncpg.Connection, target: Table, rows: Iterable[tuple[Any, ...]]) -> int:
    """Appends rows by COPY in the connection's transaction; returns how many."""
    status: str = await connection.copy_records_to_table(
        target.name, schema_name=target.schema, columns=list(target.columns), records=rows
    )
    return int(status.rsplit(" ", 1)[-1])


@asynccontextmanager
async def without_checks(connection: asyncpg.Connection, schemas: list[str]) -> AsyncIterator[None]:
    """Takes foreign keys and secondary indexes away while the block loads, and puts them back after it.

    Checking and sorting once at the end takes a fraction of the time. Needs a transaction, so that nobody ever sees the
    tables without them, and locks the tables until it ends.
    """
    keys = await connection.fetch(_FOREIGN_KEYS, schemas)
    indexes = await connection.fetch(_INDEXES, schemas)
    for key in keys:
        await connection.execute(f"ALTER TABLE {key['table']} DROP CONSTRAINT {key['name']}")
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    yield
    for index in indexes:
        await connection.execute(index["definition"])
    for key in keys:
        await connection.execute(f"ALTER TABLE {key['table']} ADD CONSTRAINT {key['name']} {key['definition']}")


_FOREIGN_KEYS = """
    SELECT conrelid::regclass::text AS table, quote_ident(conname) AS name, pg_get_constraintdef(oid) AS definition
    FROM pg_constraint WHERE contype = 'f' AND connamespace::regnamespace::text = ANY($1) ORDER BY conname
"""
_INDEXES = """
    SELECT i.indexrelid::regclass::text AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE c.relnamespace::regnamespace::text = ANY($1)
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)
    ORDER BY 1
"""

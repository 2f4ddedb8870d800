"""Bulk loading over one asyncpg connection."""

from collections.abc import Iterable
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

"""Bulk loading over one asyncpg connection."""

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final, NamedTuple

import asyncpg

_BLOCK: Final = 1 << 20


class Table(NamedTuple):
    """A table and the columns that are filled, in the order of the rows' values."""

    schema: str
    name: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def table(schema: str, name: str, columns: str) -> Table:
    """A table whose columns are given in one string."""
    return Table(schema, name, tuple(columns.replace(",", " ").split()))


async def copy(connection: asyncpg.Connection, target: Table, rows: Iterable[tuple[Any, ...]]) -> int:
    """Appends rows by COPY in the connection's transaction; returns how many."""
    status: str = await connection.copy_records_to_table(
        target.name, schema_name=target.schema, columns=list(target.columns), records=rows
    )
    return int(status.rsplit(" ", 1)[-1])


async def stream(connection: asyncpg.Connection, target: Table, payload: Sequence[memoryview]) -> int:
    """Appends rows that are in the binary COPY format already (see :mod:`seed.wire`); returns how many."""

    async def blocks() -> AsyncIterator[memoryview]:
        for part in payload:
            for at in range(0, len(part), _BLOCK):
                yield part[at : at + _BLOCK]

    status: str = await connection.copy_to_table(
        target.name, schema_name=target.schema, columns=list(target.columns), source=blocks(), format="binary"
    )
    return int(status.rsplit(" ", 1)[-1])

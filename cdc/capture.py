"""What the shop's database publishes: the outbox always, the captured tables once there is a warehouse."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from cdc.catalogue import Table
from cdc.raw import quoted
from cdc.source import OUTBOX_TABLE, PUBLICATION

_ATTEMPTS: Final = 40
_LOCK_MS: Final = 250
"""Shorter than a deadlock takes to be found: it is never the shop's transaction that gives way."""

_FIRM_MS: Final = 1_500
_FIRM_EVERY: Final = 6
"""Autovacuum gives way to who has waited for a second, and to nobody else: now and then a try waits that long."""

_PUBLISHED: Final = "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = $1"


def _sql_name(table: str) -> str:
    return ".".join(map(quoted, table.split(".")))


async def unpublished(connection: Any, tables: Sequence[Table]) -> list[Table]:
    """Those of the tables whose changes are not published."""
    published = {row[0] for row in await connection.fetch(_PUBLISHED, PUBLICATION)}
    return [table for table in tables if table.name not in published]


async def publish(connection: Any, tables: Sequence[Table], *, reader: str) -> list[str]:
    """Has every change of these tables published from now on, and of no others; returns the names of the new ones.

    ``connection`` is the owner's; ``reader`` is the role that Debezium has. The tables are locked against writing for
    the moment of the change, so that no transaction is half captured: what began before it is over, and in a snapshot
    that is taken afterwards.

    Raises:
        asyncpg.LockNotAvailableError: if the tables were never free together.
    """
    published = {row[0] for row in await connection.fetch(_PUBLISHED, PUBLICATION)}
    fresh = [table for table in tables if table.name not in published]
    identities = [table for table in tables if not table.captured.hot and not table.old_rows]
    surplus = sorted(published - {table.name for table in tables} - {OUTBOX_TABLE})
    if not fresh and not identities and not surplus:
        return []
    names = ", ".join(_sql_name(table.name) for table in fresh)
    statements = [f"ALTER TABLE {_sql_name(table.name)} REPLICA IDENTITY FULL" for table in identities]
    schemas = sorted({table.captured.schema for table in tables})
    statements += [f"GRANT USAGE ON SCHEMA {quoted(schema)} TO {quoted(reader)}" for schema in schemas]
    statements += [f"GRANT SELECT ON {_sql_name(table.name)} TO {quoted(reader)}" for table in fresh]
    if fresh:
        statements.append(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        statements.append(f"ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert, update, delete')")
        statements.append(f"ALTER PUBLICATION {PUBLICATION} ADD TABLE {names}")
    if surplus:
        statements.append(f"ALTER PUBLICATION {PUBLICATION} DROP TABLE {', '.join(map(_sql_name, surplus))}")
    await _patiently(connection, "; ".join(statements))
    return [table.name for table in fresh]


async def withdraw(connection: Any) -> None:
    """Publishes the outbox alone again: changes of the tables are no longer decoded, and the warehouse falls behind."""
    await _patiently(
        connection,
        f"ALTER PUBLICATION {PUBLICATION} SET TABLE {OUTBOX_TABLE};"
        f" ALTER PUBLICATION {PUBLICATION} SET (publish = 'insert')",
    )


async def _patiently(connection: Any, statements: str) -> None:
    for attempt in range(_ATTEMPTS):
        patience = _FIRM_MS if attempt % _FIRM_EVERY == _FIRM_EVERY - 1 else _LOCK_MS
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = {patience}; {statements}")
            return
        except asyncpg.LockNotAvailableError:
            if attempt == _ATTEMPTS - 1:
                raise
            await asyncio.sleep(0.1)

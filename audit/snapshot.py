"""One state of Postgres, read over several connections at a time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from audit.books import Check, judge
from audit.report import Finding
from audit.settings import AuditSettings

CONNECTIONS: Final = 3
"""Queries that run side by side."""

_T = TypeVar("_T")


async def side_by_side(readings: Iterable[Coroutine[Any, Any, _T]]) -> list[_T]:
    """What all of them return, in their order. The first failure ends the others and is raised by itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reading) for reading in readings]
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return [task.result() for task in tasks]


class Snapshot:
    """Connections whose transactions all see what the first of them saw when it began.

    ``now()`` differs between them by the moments that they began apart.
    """

    def __init__(self, connections: Sequence[asyncpg.Connection]) -> None:
        self._free: asyncio.LifoQueue[asyncpg.Connection] = asyncio.LifoQueue()
        for connection in connections:
            self._free.put_nowait(connection)

    async def read(self, reading: Callable[[asyncpg.Connection], Awaitable[_T]]) -> _T:
        """What ``reading`` returns of a connection that nobody else uses meanwhile."""
        connection = await self._free.get()
        try:
            return await reading(connection)
        finally:
            self._free.put_nowait(connection)

    async def judge(self, checks: Sequence[Check]) -> list[Finding]:
        """The findings of checks, in their order."""
        return await self.read(lambda connection: judge(connection, checks))


@contextlib.asynccontextmanager
async def snapshot(settings: AuditSettings, connections: int = CONNECTIONS) -> AsyncIterator[Snapshot]:
    """The books as they are now, for as long as the block runs.

    Raises:
        OSError, asyncpg.PostgresError: if Postgres is away.
    """
    async with contextlib.AsyncExitStack() as stack:
        opened = await side_by_side(_connect(settings, stack) for _ in range(connections))
        first, *others = opened
        await stack.enter_async_context(first.transaction(isolation="repeatable_read", readonly=True))
        name = await first.fetchval("SELECT pg_export_snapshot()")
        for connection in others:
            await stack.enter_async_context(connection.transaction(isolation="repeatable_read", readonly=True))
            await connection.execute(f"SET TRANSACTION SNAPSHOT '{name}'")
        yield Snapshot(opened)


async def _connect(settings: AuditSettings, stack: contextlib.AsyncExitStack) -> asyncpg.Connection:
    url = settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
    connection = await asyncpg.connect(
        url,
        timeout=5,
        server_settings={
            "application_name": f"{settings.instance}.audit",
            "jit": "off",
            # the log of a day's orders is read meanwhile: longer than a service may leave a transaction idle
            "idle_in_transaction_session_timeout": "15min",
        },
    )
    stack.push_async_callback(connection.close)
    return connection

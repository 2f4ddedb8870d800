"""Background tasks of a process: started together, started again with back-off when they fail, stopped together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from kit import telemetry

log = structlog.get_logger()

RETRY_SECONDS: Final = 2.0
"""Seconds until a periodic task whose round failed tries again, if its next round is not sooner."""


class Task(Protocol):
    """Something that runs until it is cancelled. ``ready`` is false while it can't work."""

    name: str
    ready: bool

    async def run(self) -> None:
        """Runs; raises when it fails."""
        ...


@dataclass
class Periodic:
    """A task that does its work every ``seconds``.

    A round that fails as something is away is logged and tried again after :data:`RETRY_SECONDS`: what works once an
    hour would otherwise not be ready for an hour.
    """

    name: str
    work: Callable[[], Awaitable[None]]
    seconds: float
    ready: bool = True

    async def run(self) -> None:
        """Works until cancelled."""
        # it knows every driver's errors, and takes as long to import as the rest of a process without a database
        from kit.transient import is_transient

        while True:
            try:
                await self.work()
                self.ready = True
            except Exception as error:
                if not is_transient(error):
                    raise
                self.ready = False
                log.warning("task.waiting", task=self.name, error=repr(error))
            await asyncio.sleep(self.seconds if self.ready else min(self.seconds, RETRY_SECONDS))


async def _keep_running(task: Task) -> None:
    delay = 0.1
    while True:
        started = asyncio.get_running_loop().time()
        try:
            await task.run()
            return
        except asyncio.CancelledError:
            raise
        except Exception as error:
            telemetry.RESTARTS.labels(task.name).inc()
            if asyncio.get_running_loop().time() - started > 30:
                delay = 0.1
            log.error("task.failed", task=task.name, restart_in=delay, exc_info=error)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 3.0)


@asynccontextmanager
async def running(tasks: Sequence[Task]) -> AsyncIterator[None]:
    """Keeps the tasks running while the block runs."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(_keep_running(task), name=task.name) for task in tasks]
        try:
            yield
        finally:
            for task in started:
                task.cancel()

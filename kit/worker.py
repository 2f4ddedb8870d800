"""Background tasks of a process: started together, started again with back-off when they fail, stopped together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from fastapi import FastAPI

from kit import telemetry
from kit.app import Check, create_app
from kit.resources import Resources
from kit.settings import Settings

log = structlog.get_logger()


class Task(Protocol):
    """Something that runs until it is cancelled. ``ready`` is false while it can't work."""

    name: str
    ready: bool

    async def run(self) -> None:
        """Runs; raises when it fails."""
        ...


@dataclass
class Periodic:
    """A task that does its work every ``seconds``; a failed round is logged and the next one tries again."""

    name: str
    work: Callable[[], Awaitable[None]]
    seconds: float
    ready: bool = True

    async def run(self) -> None:
        """Works until cancelled."""
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
            await asyncio.sleep(self.seconds)


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


def create_worker(
    settings: Settings,
    *,
    title: str,
    tasks: Callable[[Resources, AsyncExitStack], Awaitable[Sequence[Task]]],
    ready: Sequence[Check] = (),
) -> FastAPI:
    """A process without a public API: its tasks, with health, readiness and metrics over HTTP.

    ``tasks`` builds them; what they hold open goes on the exit stack. Readiness asks that every task is ready.
    """
    holder: list[Task] = []

    @asynccontextmanager
    async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            holder.extend(await tasks(resources, stack))
            async with running(holder):
                yield {}

    async def tasks_run(_: Resources) -> None:
        waiting = [task.name for task in holder if not task.ready]
        if waiting:
            raise RuntimeError(f"not ready: {', '.join(waiting)}")

    return create_app(settings, title=title, lifespan=lifespan, ready=[*ready, tasks_run])

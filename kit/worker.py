"""A process whose work is background tasks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from kit.app import Check, create_app
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import Task, running


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

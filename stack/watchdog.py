"""Keeps Connect's connectors running: a task that failed is started again without a person.

``python -m stack.watchdog``
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack

import structlog
from pydantic import Field

from cdc.connect import ConnectClient, ConnectError
from kit.app import serve
from kit.resources import Resources
from kit.settings import Settings
from kit.worker import Periodic, Task, create_worker

log = structlog.get_logger()


class WatchdogSettings(Settings):
    """What the watchdog needs besides what all processes share."""

    connect_url: str = Field(description="Kafka Connect's REST interface.")
    sink_url: str = Field(default="", description="That of the worker that writes into the warehouse, if there is one.")
    watchdog_seconds: float = Field(default=2.0, gt=0, description="How often the connectors are looked at.")


async def look(client: ConnectClient) -> None:
    """Restarts what failed. A worker that does not answer is the supervisor's business."""
    try:
        for name in await client.heal():
            log.warning("connector.restarted", connector=name)
    except ConnectError as error:
        log.info("connector.unknown", error=str(error))


def main() -> None:
    """Serves until SIGTERM."""
    settings = WatchdogSettings()

    async def tasks(_: Resources, stack: AsyncExitStack) -> Sequence[Task]:
        def looking(client: ConnectClient) -> Callable[[], Coroutine[None, None, None]]:
            async def work() -> None:
                await look(client)

            return work

        workers = {"connectors": settings.connect_url}
        if settings.sink_url:
            workers["sinks"] = settings.sink_url
        return [
            Periodic(name, looking(await stack.enter_async_context(ConnectClient(url))), settings.watchdog_seconds)
            for name, url in workers.items()
        ]

    serve(create_worker(settings, title="watchdog", tasks=tasks), settings)


if __name__ == "__main__":
    main()

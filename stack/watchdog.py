"""Keeps Connect's connectors running: a task that failed is started again without a person. Watches the slot.

``python -m stack.watchdog``
"""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Final

import structlog
from prometheus_client import Gauge
from pydantic import Field
from sqlalchemy import text

from cdc.connect import ConnectClient, ConnectError
from cdc.source import SLOT
from kit.app import serve
from kit.db import Database
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import Periodic, Task
from kit.worker import create_worker

log = structlog.get_logger()

_RETAINED_BYTES: Final = text(
    "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots"
    " WHERE slot_name = :slot"
)


_RETAINED = Gauge(
    "surge_slot_retained_bytes", "Bytes of the shop's log that the replication slot keeps back.", ["slot"]
)
_ALERT = Gauge("surge_slot_alert_bytes", "From how many retained bytes on somebody has to look.", ["slot"])
_SLOT_SECONDS: Final = 5.0


class WatchdogSettings(Settings):
    """What the watchdog needs besides what all processes share."""

    connect_url: str = Field(description="Kafka Connect's REST interface.")
    sink_url: str = Field(default="", description="That of the worker that writes into the warehouse, if there is one.")
    cdc_wal_alert_mb: int = Field(default=1024, ge=1, description="Megabytes that the slot may keep back untold.")
    watchdog_seconds: float = Field(default=2.0, gt=0, description="How often the connectors are looked at.")


async def look(client: ConnectClient) -> None:
    """Restarts what failed. A worker that does not answer is the supervisor's business."""
    try:
        for name in await client.heal():
            log.warning("connector.restarted", connector=name)
    except ConnectError as error:
        log.info("connector.unknown", error=str(error))


async def measure(database: Database, alert_mb: int) -> None:
    """Sets the gauges; says so in the log while the slot keeps back more than it may."""
    async with database.read() as session:
        retained = await session.scalar(_RETAINED_BYTES, {"slot": SLOT})
    if retained is None:
        log.warning("slot.missing", slot=SLOT)
        return
    alert = alert_mb * 2**20
    _RETAINED.labels(SLOT).set(retained)
    _ALERT.labels(SLOT).set(alert)
    if retained >= alert:
        log.warning("slot.retains", slot=SLOT, bytes=retained, alert=alert)


def main() -> None:
    """Serves until SIGTERM."""
    settings = WatchdogSettings()

    async def tasks(resources: Resources, stack: AsyncExitStack) -> Sequence[Task]:
        def looking(client: ConnectClient) -> Callable[[], Coroutine[None, None, None]]:
            async def work() -> None:
                await look(client)

            return work

        workers = {"connectors": settings.connect_url}
        if settings.sink_url:
            workers["sinks"] = settings.sink_url

        async def watch_slot() -> None:
            await measure(resources.database, settings.cdc_wal_alert_mb)

        return [
            *[
                Periodic(name, looking(await stack.enter_async_context(ConnectClient(url))), settings.watchdog_seconds)
                for name, url in workers.items()
            ],
            Periodic("slot", watch_slot, _SLOT_SECONDS),
        ]

    serve(create_worker(settings, title="watchdog", tasks=tasks), settings)


if __name__ == "__main__":
    main()

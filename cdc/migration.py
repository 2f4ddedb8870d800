"""The shop's migrations, with the sinks held meanwhile: no change is written under a schema that is not its own.

Changes gather in Kafka while the shop is migrated, its raw tables follow, and the sinks are rendered anew. What was on
its way lacks a column that is new; the sink then writes the value that the shop gave to rows that were there already.
"""

from collections.abc import Awaitable, Callable

from cdc import run, sink
from cdc.connect import ConnectClient, ConnectError
from cdc.settings import CdcSettings


async def hold(settings: CdcSettings) -> set[str]:
    """Stops the sinks that there are; returns their names.

    Raises:
        ConnectError: if the worker is there, but does not stop them.
    """
    async with ConnectClient(settings.sink_url) as worker:
        try:
            known = set(await worker.names())
        except ConnectError:
            return set()  # a worker that is away writes nothing
        held = known & {sink.TABLES, sink.EVENTS}
        for name in held:
            await worker.stop(name)
    return held


async def migrate(settings: CdcSettings, upgrade: Callable[[], Awaitable[str]]) -> str:
    """Runs the migrations between holding the sinks and bringing capture after them."""
    held = await hold(settings)
    try:
        done = await upgrade()
    except BaseException:
        async with ConnectClient(settings.sink_url) as worker:
            for name in held:
                await worker.resume(name)
        raise
    return f"{done}; capture: {await run.ensure(settings)}" if held else done

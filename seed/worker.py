"""One of the processes that fill a large shop: ``python -m seed.worker``.

It is told the plan on its first line of input and then, line by line, which chunk to write next; each is answered by a
line with its number and how many rows it wrote. The end of the input is its end.
"""

import asyncio
import json
import sys

from seed.loading import connected, network, plan_of, renderer
from seed.settings import SeedSettings
from seed.writing import Writer


async def work(settings: SeedSettings) -> None:
    """Writes chunks until the input ends."""
    plan = plan_of(json.loads(sys.stdin.readline()))
    rendered = renderer(settings, plan)
    chunks = list(plan.chunks())
    async with connected(settings, bulk=True) as connection:
        writer = Writer(connection, rendered, network(), settings.folder)
        while line := await asyncio.to_thread(sys.stdin.readline):
            number = int(line)
            rows = await writer.chunk(chunks[number])
            print(number, rows, flush=True)


if __name__ == "__main__":
    asyncio.run(work(SeedSettings()))

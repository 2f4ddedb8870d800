"""``python -m oltp.metrics``: keeps the live metrics."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from fastapi import FastAPI

from kit.app import broker_answers, redis_answers, serve
from kit.resources import Resources
from kit.settings import Settings
from kit.tasks import Periodic, Task
from kit.worker import create_worker
from oltp.metrics.consumer import LiveConsumer
from oltp.metrics.lag import LagWatch
from oltp.metrics.sampler import Sampler
from oltp.metrics.store import LiveStore

SAMPLE_SECONDS: Final = 1.0


def create(settings: Settings) -> FastAPI:
    """The worker's application."""

    async def tasks(resources: Resources, stack: AsyncExitStack) -> Sequence[Task]:
        store = LiveStore(resources.redis)
        lag = LagWatch(settings)
        stack.push_async_callback(lag.close)
        sampler = Sampler(store, lag, resources.clock)
        return [
            LiveConsumer(settings, store=store, clock=resources.clock),
            Periodic("live-sampler", sampler.look, SAMPLE_SECONDS),
        ]

    return create_worker(settings, title="Live metrics", tasks=tasks, ready=[broker_answers, redis_answers])


if __name__ == "__main__":
    settings = Settings()
    serve(create(settings), settings)

"""The shipping worker: ``python -m oltp.shipping``."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from contracts import topics
from contracts.commands import CancelShipment, CreateShipment
from kit.app import broker_answers, database_answers, serve
from kit.kafka import Consumer, in_transaction
from kit.resources import Resources
from kit.tasks import Periodic, Task
from kit.worker import create_worker
from oltp.shipping.service import CommandService, ParcelClock
from oltp.shipping.settings import ShippingSettings

GROUP: Final = "shipping"


def main() -> None:
    """Serves until SIGTERM."""
    settings = ShippingSettings()

    async def tasks(resources: Resources, _: AsyncExitStack) -> Sequence[Task]:
        carriers = settings.carriers()
        commands = CommandService(resources.clock, carriers)
        clock = ParcelClock(resources.database, resources.clock, carriers, batch=settings.shipping_clock_batch)
        consumer = Consumer(
            settings,
            group=GROUP,
            subscribe=[topics.SHIPPING_COMMANDS],
            handles=[CreateShipment, CancelShipment],
            process=in_transaction(resources.database, commands.answer),
            producer=resources.producer,
        )
        return [consumer, Periodic("parcel-clock", clock.tick, settings.shipping_clock_seconds)]

    app = create_worker(settings, title="Shipping", tasks=tasks, ready=[database_answers, broker_answers])
    serve(app, settings)


if __name__ == "__main__":
    main()

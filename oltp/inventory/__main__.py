"""The inventory worker: ``python -m oltp.inventory``."""

import datetime as dt
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from contracts import topics
from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.events import InventoryAdjusted, OrderConfirmed, ProductChanged, SaleEnded
from kit.app import broker_answers, database_answers, redis_answers, serve
from kit.kafka import Consumer
from kit.resources import Resources
from kit.tasks import Periodic, Task
from kit.worker import create_worker
from oltp.inventory.gate import Gate
from oltp.inventory.handlers import StockKeeper
from oltp.inventory.postgres_gate import Counted, PostgresGate
from oltp.inventory.reconciler import Reconciler, redis_gate
from oltp.inventory.repository import DatabaseBooks
from oltp.inventory.service import HoldClock
from oltp.inventory.settings import InventorySettings

COMMAND_GROUP: Final = "inventory"
EVENT_GROUP: Final = "inventory-observer"
BREATH: Final = 0.5
"""Nobody waits for what is only taken note of; the hold that a payment ends lasts ten minutes."""


def main() -> None:
    """Serves until SIGTERM."""
    settings = InventorySettings()

    async def tasks(resources: Resources, _: AsyncExitStack) -> Sequence[Task]:
        counters = redis_gate(
            resources, hold_seconds=settings.inventory_hold_seconds, quiet_ms=settings.inventory_quiet_ms
        )
        gate: Gate = counters
        keepers: list[Task] = []
        if settings.inventory_gate == "postgres":
            units = PostgresGate(resources.database)
            gate = Counted(units, counters)
            keepers.append(Periodic("gate-units", units.round, settings.inventory_reconcile_seconds))
        keeper = StockKeeper(
            resources.database,
            gate,
            resources.clock,
            hold=dt.timedelta(seconds=settings.inventory_hold_seconds),
            slow=dt.timedelta(milliseconds=settings.inventory_quiet_ms / 2),
        )
        reconciler = Reconciler(
            counters,
            DatabaseBooks(resources.database),
            moved=settings.inventory_reconcile_moved,
            rotation=settings.inventory_reconcile_rotation,
        )
        holds = HoldClock(
            resources.database,
            resources.clock,
            ask_again=dt.timedelta(seconds=settings.inventory_hold_ask_seconds),
        )
        commands = Consumer(
            settings,
            group=COMMAND_GROUP,
            subscribe=[topics.INVENTORY_COMMANDS],
            handles=[ReserveInventory, ReleaseInventory, FulfilInventory],
            process=keeper.obey,
            producer=resources.producer,
        )
        observer = Consumer(
            settings,
            group=EVENT_GROUP,
            subscribe=[topics.INVENTORY_EVENTS, topics.ORDER_EVENTS, topics.CATALOG_EVENTS, topics.SALE_EVENTS],
            handles=[InventoryAdjusted, OrderConfirmed, ProductChanged, SaleEnded],
            process=keeper.observe,
            producer=resources.producer,
            breath=BREATH,
        )
        return [
            commands,
            observer,
            *keepers,
            Periodic("reconciler", reconciler.round, settings.inventory_reconcile_seconds),
            Periodic("hold-clock", holds.tick, settings.inventory_hold_scan_seconds),
            Periodic("sale-clock", keeper.close_ended_sales, settings.inventory_sale_scan_seconds),
        ]

    ready = [database_answers, redis_answers, broker_answers]
    serve(create_worker(settings, title="Inventory", tasks=tasks, ready=ready), settings)


if __name__ == "__main__":
    main()

"""The order saga's process: its consumer, and the clock that finds what is overdue."""

import datetime as dt
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import structlog
from fastapi import FastAPI

from contracts import commands, events, topics  # noqa: F401 (importing registers the message types)
from contracts.envelope import Message, registry
from kit.app import broker_answers, database_answers
from kit.kafka import Consumer, in_transaction
from kit.resources import Resources
from kit.tasks import Periodic, Task
from kit.worker import create_worker
from sagas import order as order_saga
from sagas import store
from sagas.batch import Changes
from sagas.engine import Saga, due
from sagas.handlers import OrderSagaHandler
from sagas.settings import SagaSettings

log = structlog.get_logger()

GROUP = "order-saga"
TOPICS = (
    topics.ORDER_EVENTS,
    topics.ORDER_COMMANDS,
    topics.INVENTORY_EVENTS,
    topics.PAYMENT_EVENTS,
    topics.SHIPPING_EVENTS,
)


def handled(saga: Saga) -> list[type[Message]]:
    """The message types that the saga's table speaks of."""
    names = {saga.start, *(name for state in saga.states.values() for name in state.on)}
    names.update(*saga.answers.values())
    return [registry.resolve(name) for name in sorted(names)]


@dataclass
class Clock:
    """Sends again what was not answered, and tells the saga of states that lasted too long.

    What is due is sent before that is committed: should the process die between, the next one sends it at once, with
    the same ids.
    """

    resources: Resources
    most: int = 500

    async def tick(self) -> None:
        """Looks at every order that is due now."""
        while await self._round(self.resources.clock.now()) == self.most:
            pass

    async def _round(self, now: dt.datetime) -> int:
        messages = []
        async with self.resources.database.write() as session:
            orders = await store.load_due(session, now, self.most)
            if not orders:
                return 0
            found = [(order, due(order.instance, now)) for order in orders]
            unsent = [o.order_id for o, d in found if any(c.command == "inventory.reserve" for c in d.send)]
            lines = await store.load_lines(session, unsent) if unsent else {}
            changes = Changes()
            for order, is_due in found:
                order = order_saga.with_instance(order, is_due.instance, lines.get(order.order_id, ()))
                changes.orders[order.order_id] = order
                messages += [order_saga.resend(order, command, now) for command in is_due.send]
                if is_due.timed_out:
                    messages.append(order_saga.time_out(order, now))
            await self.resources.producer.send(messages)
            await store.save(session, changes, now)
        log.info("saga.due", orders=len(orders), messages=len(messages))
        return len(orders)


def create(settings: SagaSettings) -> FastAPI:
    """The worker's application."""
    saga = order_saga.order_saga(dt.timedelta(seconds=settings.payment_timeout_seconds))

    async def tasks(resources: Resources, _: AsyncExitStack) -> Sequence[Task]:
        handler = OrderSagaHandler(saga, resources.redis, resources.clock)
        consumer = Consumer(
            settings,
            group=GROUP,
            subscribe=TOPICS,
            handles=handled(saga),
            process=in_transaction(resources.database, handler),
            producer=resources.producer,
        )
        return [consumer, Periodic("clock", Clock(resources).tick, settings.saga_clock_seconds)]

    return create_worker(settings, title="Order saga", tasks=tasks, ready=[database_answers, broker_answers])

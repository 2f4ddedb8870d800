"""The notifications worker: ``python -m oltp.notifications``."""

import datetime as dt
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from contracts import events, topics
from kit.app import broker_answers, database_answers, serve
from kit.kafka import Consumer, in_transaction
from kit.resources import Resources
from kit.tasks import Periodic, Task
from kit.worker import create_worker
from oltp.notifications.channels import EmailSender, RecordingSender
from oltp.notifications.domain import Channel
from oltp.notifications.service import Dispatcher, NewsService, Pruner
from oltp.notifications.settings import NotificationSettings

GROUP: Final = "notifications"
BREATH: Final = 0.5
"""An email may be half a second later; an order's news come in fewer, larger batches."""

READS: Final = (
    topics.ORDER_EVENTS,
    topics.SHIPPING_EVENTS,
    topics.PAYMENT_EVENTS,
    topics.ACCOUNT_EVENTS,
    topics.PLATFORM_EVENTS,
)
HANDLES: Final = (
    events.OrderCreated,
    events.OrderConfirmed,
    events.OrderShipped,
    events.OrderDelivered,
    events.OrderCancelled,
    events.OrderCancellationRefused,
    events.ShipmentCreated,
    events.ShipmentMoved,
    events.PaymentRefunded,
    events.AccountRegistered,
    events.AccountChanged,
    events.AccountEmailChanged,
    events.AlertRaised,
)


def main() -> None:
    """Serves until SIGTERM."""
    settings = NotificationSettings()

    async def tasks(resources: Resources, stack: AsyncExitStack) -> Sequence[Task]:
        database, clock = resources.database, resources.clock
        email = EmailSender(settings, clock)
        stack.push_async_callback(email.close)
        dispatcher = Dispatcher(
            database,
            clock,
            {
                Channel.EMAIL: email,
                Channel.SMS: RecordingSender(Channel.SMS, database, clock),
                Channel.PUSH: RecordingSender(Channel.PUSH, database, clock),
            },
            patience=settings.patience(),
            batch=settings.notifications_batch,
            lease=dt.timedelta(seconds=settings.notifications_lease_seconds),
            poll_seconds=settings.notifications_poll_seconds,
        )
        news = NewsService(
            clock,
            max_age=dt.timedelta(seconds=settings.notifications_max_age_seconds),
            wake=dispatcher.wake,
        )
        consumer = Consumer(
            settings,
            group=GROUP,
            subscribe=READS,
            handles=HANDLES,
            process=in_transaction(database, news.note),
            producer=resources.producer,
            breath=BREATH,
        )
        pruner = Pruner(database, clock, kept=dt.timedelta(days=settings.notifications_kept_days))
        return [consumer, dispatcher, Periodic("pruner", pruner.prune, 3600)]

    app = create_worker(settings, title="Notifications", tasks=tasks, ready=[database_answers, broker_answers])
    serve(app, settings)


if __name__ == "__main__":
    main()

"""The payments worker: ``python -m oltp.payments``."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from contracts import topics
from kit.app import broker_answers, database_answers, serve
from kit.kafka import Consumer
from kit.resources import Resources
from kit.tasks import Periodic, Task
from kit.worker import create_worker
from oltp.payments.handlers import COMMANDS, PaymentHandlers
from oltp.payments.providers import open_providers
from oltp.payments.service import Cashier
from oltp.payments.settings import PaymentsSettings

GROUP: Final = "payments"
_TIDY_SECONDS: Final = 3600


def main() -> None:
    """Serves until SIGTERM."""
    settings = PaymentsSettings()

    async def tasks(resources: Resources, stack: AsyncExitStack) -> Sequence[Task]:
        providers = open_providers(settings)
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        cashier = Cashier(resources.database, providers, resources.clock, settings)
        stack.push_async_callback(cashier.close)
        commands = Consumer(
            settings,
            group=GROUP,
            subscribe=[topics.PAYMENT_COMMANDS],
            handles=COMMANDS,
            process=PaymentHandlers(cashier).obey,
            producer=resources.producer,
        )
        return [
            commands,
            Periodic("payment-resolver", cashier.resolve, settings.payments_resolver_seconds),
            Periodic("payment-tidy", cashier.tidy, _TIDY_SECONDS),
        ]

    serve(create_worker(settings, title="Payments", tasks=tasks, ready=[database_answers, broker_answers]), settings)


if __name__ == "__main__":
    main()

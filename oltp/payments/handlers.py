"""Commands from Kafka to the cashier, and its replies back."""

from collections.abc import Sequence

from contracts.commands import ChargePayment, RefundPayment, VoidPayment
from kit.kafka import Outcome, Received
from oltp.payments.domain import Cause, Command
from oltp.payments.service import Cashier

COMMANDS = (ChargePayment, VoidPayment, RefundPayment)


class PaymentHandlers:
    """The payment-commands consumer's work."""

    def __init__(self, cashier: Cashier) -> None:
        self._cashier = cashier

    async def obey(self, batch: Sequence[Received]) -> Outcome:
        """Carries a batch of commands out; replies that can't be given yet follow through the outbox."""
        return Outcome(await self._cashier.carry_out([_command(received) for received in batch]))


def _command(received: Received) -> tuple[Cause, Command]:
    payload, envelope = received.payload, received.envelope
    if not isinstance(payload, COMMANDS):
        raise TypeError(f"{envelope.type} is no payment command")
    cause = Cause(
        id=envelope.id, type=envelope.type, correlation_id=envelope.correlationid, traceparent=envelope.traceparent
    )
    return cause, payload

"""Payments on a real database. Their time is 1990, so that their due payments and a running shop's never meet."""

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from contracts.commands import ChargePayment, RefundPayment, VoidPayment
from contracts.envelope import Envelope, Message, registry, seal
from contracts.orders import PaymentMethod, PaymentMethodType
from kit import outbox
from kit.clock import FixedClock
from kit.db import Database, WriteSession
from kit.ids import new_id
from kit.kafka import Received
from oltp.payments import service
from oltp.payments.domain import Captured, Charge, Declined, Payment, Refund, Refunded, Refused, Unknown, Void, Voided
from oltp.payments.handlers import PaymentHandlers
from oltp.payments.repository import PaymentRepository
from oltp.payments.service import Cashier
from oltp.payments.settings import PaymentsSettings

NOW = dt.datetime(1990, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
USER = "0198c5f0-0000-7000-8000-0000000000aa"


class Bank:
    """A provider whose answers can be lost, slow or refused, and that keeps honest books by key."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.outcomes: dict[str, Captured | Declined | Refunded] = {}
        self.captured: dict[str, int] = {}
        self.refunded: dict[str, int] = {}
        self.declines = ""
        self.refuses = ""
        self.away = False
        self.loses_answers = 0
        self.seconds = 0.0

    async def charge(self, charge: Charge) -> Captured | Declined | Unknown:
        await self._arrive(charge.key)
        if self.away:
            return Unknown("connection refused")
        if charge.key not in self.outcomes:
            if self.declines:
                self.outcomes[charge.key] = Declined(self.declines)
            else:
                self.outcomes[charge.key] = Captured(f"ref_{charge.key}")
                self.captured[charge.order_id] = self.captured.get(charge.order_id, 0) + charge.amount
        outcome = self.outcomes[charge.key]
        assert not isinstance(outcome, Refunded)
        return Unknown("timeout") if self._loses() else outcome

    async def void(self, void: Void) -> Voided | Captured | Unknown:
        await self._arrive(void.key)
        if self.away:
            return Unknown("connection refused")
        outcome = self.outcomes.setdefault(void.charge.key, Declined("cancelled"))
        if self._loses():
            return Unknown("timeout")
        return outcome if isinstance(outcome, Captured) else Voided()

    async def refund(self, refund: Refund) -> Refunded | Refused | Unknown:
        await self._arrive(refund.key)
        if self.away:
            return Unknown("connection refused")
        if self.refuses:
            return Refused(self.refuses)
        if refund.key not in self.outcomes:
            self.outcomes[refund.key] = Refunded(f"re_{refund.key}")
            self.refunded[refund.charge.order_id] = refund.charge.amount
        outcome = self.outcomes[refund.key]
        assert isinstance(outcome, Refunded)
        return Unknown("timeout") if self._loses() else outcome

    async def close(self) -> None:
        return None

    async def _arrive(self, key: str) -> None:
        self.asked.append(key)
        if self.seconds:
            await asyncio.sleep(self.seconds)

    def _loses(self) -> bool:
        self.loses_answers -= 1
        return self.loses_answers >= 0


@dataclass
class Desk:
    """The payments worker in hand: its clock, its bank, and what it said through the outbox."""

    database: Database
    settings: PaymentsSettings
    bank: Bank = field(default_factory=Bank)
    clock: FixedClock = field(default_factory=lambda: FixedClock(NOW))
    published: list[Envelope] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """A process that remembers nothing."""
        self.cashier = Cashier(self.database, {"simulated": self.bank}, self.clock, self.settings)
        self.handlers = PaymentHandlers(self.cashier)

    async def obey(self, *batch: Received) -> list[Envelope]:
        """Hands a batch over and returns what is sent for it."""
        return (await self.handlers.obey(batch)).messages

    async def resolve(self, after: float = 0) -> None:
        """Lets so many seconds pass and looks for due payments."""
        self.clock.advance(dt.timedelta(seconds=after))
        await self.cashier.resolve()

    async def payment(self, order_id: str) -> Payment:
        async with self.database.write() as session:
            return (await PaymentRepository(session).lock([order_id]))[order_id]

    async def rows(self, table: str, order_id: str) -> list[dict[str, Any]]:
        async with self.database.read() as session:
            rows = await session.execute(text(f"SELECT * FROM payments.{table} WHERE order_id = '{order_id}'"))
            return [dict(row) for row in rows.mappings()]

    async def due(self, order_id: str) -> dt.datetime | None:
        (row,) = await self.rows("payments", order_id)
        due: dt.datetime | None = row["next_attempt_at"]
        return due


def received(payload: Message, id: str = "") -> Received:
    """A command as the consumer hands it over."""
    order_id = str(getattr(payload, "order_id", ""))
    name = registry.name_of(type(payload))
    envelope = seal(
        payload, id=id or f"{order_id}/{name}", source="test", subject=order_id, time=NOW, correlationid="followed"
    )
    return Received(envelope, payload, "payment-commands", 0, 0)


def charge(order_id: str, id: str = "", method: str = "wallet") -> Received:
    chosen = PaymentMethod(type=PaymentMethodType(method), token="tok_ok")
    payload = ChargePayment(order_id=order_id, user_id=USER, amount=4999, currency="USD", method=chosen)
    return received(payload, id)


def void(order_id: str, id: str = "") -> Received:
    return received(VoidPayment(order_id=order_id), id)


def refund(order_id: str, id: str = "") -> Received:
    return received(RefundPayment(order_id=order_id), id)


def said(envelopes: Sequence[Envelope]) -> list[tuple[str, str]]:
    """What was said of which order."""
    return [(envelope.subject, envelope.type) for envelope in envelopes]


@pytest.fixture
def payments_settings() -> PaymentsSettings:
    return PaymentsSettings(
        payments_providers={
            PaymentMethodType.CARD: "simulated",
            PaymentMethodType.PAYPAL: "simulated",
            PaymentMethodType.WALLET: "simulated",
        },
        payments_batch_seconds=0.3,
        payments_timeout_seconds=0.8,
        payments_retry_seconds=1,
        payments_retry_max_seconds=8,
    )


@pytest.fixture
async def desk(database: Database, payments_settings: PaymentsSettings, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = Desk(database, payments_settings)
    publish = outbox.publish

    async def recorded(session: WriteSession, envelopes: Sequence[Envelope]) -> None:
        made.published += list(envelopes)
        await publish(session, envelopes)

    monkeypatch.setattr(service.outbox, "publish", recorded)
    yield made
    await made.cashier.close()
    async with database.write() as session:
        await session.execute(
            text("UPDATE payments.payments SET next_attempt_at = NULL WHERE created_at < :end"),
            {"end": NOW + dt.timedelta(days=365)},
        )


@pytest.fixture
def order_id() -> str:
    return new_id()

"""Every query of the payments schema. Statements of the command path take whole batches, as arrays.

``amount`` is NUMERIC in the tables and minor units in code. Rows are locked in the order of their ids.
"""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import orjson
from sqlalchemy import Row, TextClause, text

from kit.db import ReadSession, WriteSession
from oltp.payments.domain import Cause, Payment, Status

_COLUMNS: Final[Mapping[str, str]] = {
    "order_id": "uuid",
    "payment_id": "uuid",
    "user_id": "uuid",
    "provider": "text",
    "method": "text",
    "token": "text",
    "amount": "numeric",
    "currency": "text",
    "status": "text",
    "reason": "text",
    "obstacle": "text",
    "tombstone": "boolean",
    "answer": "text",
    "attempt": "integer",
    "attempts": "integer",
    "tries": "integer",
    "duration_ms": "integer",
    "provider_reference": "text",
    "waiting": "jsonb",
    "next_attempt_at": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
_FIXED: Final = frozenset({"order_id", "payment_id", "created_at"})
_NAMES: Final = ", ".join(_COLUMNS)


def _arrays(columns: Mapping[str, str]) -> str:
    arrays = ", ".join(f"CAST(:{name} AS {type}[])" for name, type in columns.items())
    return f"unnest({arrays}) AS given ({', '.join(columns)})"


def _by_column(columns: Iterable[str], rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in columns}


# the statements below are put together from the constants above alone
_LOCK: Final = text(
    f"SELECT {_NAMES} FROM payments.payments WHERE order_id = ANY(CAST(:order_ids AS uuid[])) "  # noqa: S608
    "ORDER BY order_id FOR UPDATE"
)
_INSERT: Final = text(
    f"INSERT INTO payments.payments ({_NAMES}) SELECT {_NAMES} FROM {_arrays(_COLUMNS)} "  # noqa: S608
    "ON CONFLICT (order_id) DO NOTHING RETURNING order_id"
)
_UPDATE: Final = text(
    f"UPDATE payments.payments AS kept SET {', '.join(f'{n} = given.{n}' for n in _COLUMNS if n not in _FIXED)} "  # noqa: S608
    f"FROM {_arrays(_COLUMNS)} WHERE kept.order_id = given.order_id"
)
_CLAIM: Final = text(
    f"""
    UPDATE payments.payments SET next_attempt_at = :leased_until WHERE order_id IN (
        SELECT order_id FROM payments.payments WHERE next_attempt_at <= :now
        ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) RETURNING {_NAMES}
    """  # noqa: S608
)

_ATTEMPT_COLUMNS: Final[Mapping[str, str]] = {
    "order_id": "uuid",
    "action": "text",
    "provider": "text",
    "idempotency_key": "text",
    "outcome": "text",
    "detail": "text",
    "duration_ms": "integer",
    "attempted_at": "timestamptz",
}
_INSERT_ATTEMPTS: Final = text(
    f"INSERT INTO payments.payment_attempts ({', '.join(_ATTEMPT_COLUMNS)}) "  # noqa: S608
    f"SELECT {', '.join(_ATTEMPT_COLUMNS)} FROM {_arrays(_ATTEMPT_COLUMNS)}"
)

_REFUND_COLUMNS: Final[Mapping[str, str]] = {
    "order_id": "uuid",
    "payment_id": "uuid",
    "provider": "text",
    "amount": "numeric",
    "currency": "text",
    "status": "text",
    "provider_reference": "text",
    "requested_at": "timestamptz",
    "completed_at": "timestamptz",
}
_UPSERT_REFUNDS: Final = text(
    f"INSERT INTO payments.refunds ({', '.join(_REFUND_COLUMNS)}) "  # noqa: S608
    f"SELECT {', '.join(_REFUND_COLUMNS)} FROM {_arrays(_REFUND_COLUMNS)} "
    "ON CONFLICT (order_id) DO UPDATE SET status = excluded.status, completed_at = excluded.completed_at, "
    "provider_reference = excluded.provider_reference WHERE refunds.status = 'pending'"
)

_REMEMBER_EVENT: Final = text(
    "INSERT INTO payments.webhook_events (provider, event_id, type, received_at) "
    "VALUES (:provider, :event_id, :type, :received_at) ON CONFLICT DO NOTHING RETURNING event_id"
)
_FORGET_EVENTS: Final = text("DELETE FROM payments.webhook_events WHERE received_at < :before")
_BY_REFERENCE: Final = text(
    "SELECT order_id FROM payments.payments WHERE provider_reference = :reference AND provider = :provider LIMIT 1"
)
_UPSERT_DISPUTE: Final = text(
    """
    INSERT INTO payments.disputes (provider, dispute_id, order_id, payment_id, amount, currency, reason, status,
        opened_at, closed_at, updated_at)
    VALUES (:provider, :dispute_id, CAST(:order_id AS uuid), CAST(:payment_id AS uuid), :amount, :currency, :reason,
        CAST(:status AS text), :opened_at, CASE WHEN CAST(:status AS text) <> 'open' THEN CAST(:now AS timestamptz) END,
        :now)
    ON CONFLICT (provider, dispute_id) DO UPDATE SET status = excluded.status, closed_at = excluded.closed_at,
        updated_at = excluded.updated_at
    WHERE disputes.status = 'open' AND excluded.status <> 'open'
    RETURNING dispute_id
    """
)

_PAGE_COLUMNS: Final = (
    "order_id, payment_id, user_id, provider, method, amount, currency, status, reason, obstacle, attempts, tries, "
    "duration_ms, provider_reference, next_attempt_at, created_at, updated_at"
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One provider call as it is recorded."""

    order_id: str
    action: str
    provider: str
    idempotency_key: str
    outcome: str
    detail: str
    duration_ms: int
    attempted_at: dt.datetime


@dataclass(frozen=True, slots=True)
class DisputeRecord:
    """A dispute as the provider tells of it. ``status`` is open, won or lost, seen from the shop."""

    provider: str
    dispute_id: str
    order_id: str
    payment_id: str
    amount: int
    currency: str
    reason: str
    status: str
    opened_at: dt.datetime


@dataclass(frozen=True, slots=True)
class PaymentFilter:
    """Which payments an admin asks for; None leaves a filter out. ``before`` is the last row's place in the list."""

    status: str | None = None
    method: str | None = None
    reason: str | None = None
    before: tuple[dt.datetime, str] | None = None


class PaymentRepository:
    """Payments and what belongs to them, in one transaction."""

    def __init__(self, session: WriteSession) -> None:
        self._session = session

    async def lock(self, order_ids: Collection[str]) -> dict[str, Payment]:
        """Those of the orders' payments that exist, locked until the transaction ends."""
        if not order_ids:
            return {}
        rows = await self._session.execute(_LOCK, {"order_ids": sorted(order_ids)})
        return {str(row.order_id): _payment(row) for row in rows}

    async def insert(self, payments: Mapping[str, Payment], due: Mapping[str, dt.datetime], now: dt.datetime) -> int:
        """Writes new payments and returns how many were new: another process may have been first."""
        if not payments:
            return 0
        rows = [_row(payments[order_id], due.get(order_id), now) for order_id in sorted(payments)]
        return len((await self._session.execute(_INSERT, _by_column(_COLUMNS, rows))).all())

    async def update(self, payments: Mapping[str, Payment], due: Mapping[str, dt.datetime], now: dt.datetime) -> None:
        """Writes locked payments back; ``due`` says when each has its next call, if it has one."""
        if payments:
            rows = [_row(payments[order_id], due.get(order_id), now) for order_id in sorted(payments)]
            await self._session.execute(_UPDATE, _by_column(_COLUMNS, rows))

    async def claim_due(self, *, now: dt.datetime, leased_until: dt.datetime, limit: int) -> dict[str, Payment]:
        """Payments whose next call is due, kept from other claimants until ``leased_until``."""
        values = {"now": now, "leased_until": leased_until, "limit": limit}
        return {str(row.order_id): _payment(row) for row in await self._session.execute(_CLAIM, values)}

    async def record_attempts(self, attempts: Sequence[Attempt]) -> None:
        """Records provider calls."""
        if attempts:
            rows = [{name: getattr(attempt, name) for name in _ATTEMPT_COLUMNS} for attempt in attempts]
            await self._session.execute(_INSERT_ATTEMPTS, _by_column(_ATTEMPT_COLUMNS, rows))

    async def record_refunds(
        self, payments: Iterable[Payment], references: Mapping[str, str], now: dt.datetime
    ) -> None:
        """Records what was asked to go back and what went back; ``references`` are the provider's, by order."""
        rows = [
            {
                "order_id": payment.order_id,
                "payment_id": payment.payment_id,
                "provider": payment.provider,
                "amount": _decimal(payment.amount),
                "currency": payment.currency,
                "status": "succeeded" if payment.status is Status.REFUNDED else "pending",
                "provider_reference": references.get(payment.order_id, ""),
                "requested_at": now,
                "completed_at": now if payment.status is Status.REFUNDED else None,
            }
            for payment in sorted(payments, key=lambda payment: payment.order_id)
            if payment.amount > 0 and payment.status in (Status.REFUNDING, Status.REFUNDED)
        ]
        if rows:
            await self._session.execute(_UPSERT_REFUNDS, _by_column(_REFUND_COLUMNS, rows))

    async def remember_event(self, provider: str, event_id: str, type: str, now: dt.datetime) -> bool:
        """Whether a webhook comes for the first time."""
        values = {"provider": provider, "event_id": event_id, "type": type, "received_at": now}
        return (await self._session.execute(_REMEMBER_EVENT, values)).first() is not None

    async def forget_events(self, before: dt.datetime) -> None:
        """Drops webhooks so old that they can't come again."""
        await self._session.execute(_FORGET_EVENTS, {"before": before})

    async def order_of(self, provider: str, reference: str) -> str | None:
        """The order that a provider's object was made for."""
        row = (await self._session.execute(_BY_REFERENCE, {"provider": provider, "reference": reference})).first()
        return None if row is None else str(row.order_id)

    async def record_dispute(self, dispute: DisputeRecord, now: dt.datetime) -> bool:
        """Whether the dispute is news: opened, or closed after it was open."""
        values = {
            "provider": dispute.provider,
            "dispute_id": dispute.dispute_id,
            "order_id": dispute.order_id,
            "payment_id": dispute.payment_id,
            "amount": _decimal(dispute.amount),
            "currency": dispute.currency,
            "reason": dispute.reason,
            "status": dispute.status,
            "opened_at": dispute.opened_at,
            "now": now,
        }
        return (await self._session.execute(_UPSERT_DISPUTE, values)).first() is not None


class PaymentReads:
    """What admins see."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def page(self, chosen: PaymentFilter, limit: int) -> list[Row[Any]]:
        """Payments, newest first."""
        rows = await self._session.execute(_page(chosen), _page_values(chosen, limit))
        return list(rows)

    async def get(self, order_id: str) -> Row[Any] | None:
        """An order's payment."""
        query = text(f"SELECT {_PAGE_COLUMNS} FROM payments.payments WHERE order_id = CAST(:order_id AS uuid)")  # noqa: S608
        return (await self._session.execute(query, {"order_id": order_id})).first()

    async def attempts(self, order_id: str) -> list[Row[Any]]:
        """The calls made for an order, in their order; the last 200."""
        query = text(
            "SELECT * FROM (SELECT id, action, provider, idempotency_key, outcome, detail, duration_ms, attempted_at "
            "FROM payments.payment_attempts WHERE order_id = CAST(:order_id AS uuid) ORDER BY id DESC LIMIT 200) "
            "AS latest ORDER BY id"
        )
        return list(await self._session.execute(query, {"order_id": order_id}))

    async def refund(self, order_id: str) -> Row[Any] | None:
        """An order's refund."""
        query = text(
            "SELECT amount, currency, status, provider_reference, requested_at, completed_at FROM payments.refunds "
            "WHERE order_id = CAST(:order_id AS uuid)"
        )
        return (await self._session.execute(query, {"order_id": order_id})).first()

    async def disputes(self, order_id: str) -> list[Row[Any]]:
        """An order's disputes, newest first."""
        query = text(
            "SELECT provider, dispute_id, amount, currency, reason, status, opened_at, closed_at "
            "FROM payments.disputes WHERE order_id = CAST(:order_id AS uuid) ORDER BY opened_at DESC LIMIT 50"
        )
        return list(await self._session.execute(query, {"order_id": order_id}))


def _page(chosen: PaymentFilter) -> TextClause:
    conditions = ["true"]
    if chosen.status is not None:
        conditions.append("status = :status")
    if chosen.method is not None:
        conditions.append("method = :method")
    if chosen.reason is not None:
        # the index on reasons is partial
        conditions.append("reason = :reason AND reason <> ''")
    if chosen.before is not None:
        conditions.append("(created_at, order_id) < (:created_at, CAST(:order_id AS uuid))")
    return text(
        f"SELECT {_PAGE_COLUMNS} FROM payments.payments WHERE {' AND '.join(conditions)} "  # noqa: S608
        "ORDER BY created_at DESC, order_id DESC LIMIT :limit"
    )


def _page_values(chosen: PaymentFilter, limit: int) -> dict[str, Any]:
    values: dict[str, Any] = {"limit": limit}
    for name in ("status", "method", "reason"):
        if (value := getattr(chosen, name)) is not None:
            values[name] = value
    if chosen.before is not None:
        values["created_at"], values["order_id"] = chosen.before
    return values


def minor_units(amount: Decimal) -> int:
    """A column's amount in minor units."""
    return int(amount.scaleb(2))


def _decimal(amount: int) -> Decimal:
    return Decimal(amount).scaleb(-2)


def _row(payment: Payment, due: dt.datetime | None, now: dt.datetime) -> dict[str, Any]:
    return {
        "order_id": payment.order_id,
        "payment_id": payment.payment_id,
        "user_id": payment.user_id or None,
        "provider": payment.provider,
        "method": payment.method,
        "token": payment.token,
        "amount": _decimal(payment.amount),
        "currency": payment.currency,
        "status": payment.status.value,
        "reason": payment.reason,
        "obstacle": payment.obstacle[:500].replace("\x00", ""),
        "tombstone": payment.tombstoned,
        "answer": payment.answer,
        "attempt": payment.attempt,
        "attempts": payment.attempts,
        "tries": payment.tries,
        "duration_ms": min(payment.duration_ms, 2**31 - 1),
        "provider_reference": payment.reference,
        "waiting": orjson.dumps([_cause_row(cause) for cause in payment.waiting]).decode(),
        "next_attempt_at": due,
        "created_at": payment.started_at,
        "updated_at": now,
    }


def _cause_row(cause: Cause) -> dict[str, str]:
    return {
        "id": cause.id,
        "type": cause.type,
        "correlation_id": cause.correlation_id,
        "traceparent": cause.traceparent,
    }


def _payment(row: Row[Any]) -> Payment:
    user_id: uuid.UUID | None = row.user_id
    waiting = orjson.loads(row.waiting) if isinstance(row.waiting, str | bytes) else row.waiting
    return Payment(
        order_id=str(row.order_id),
        payment_id=str(row.payment_id),
        status=Status(row.status),
        started_at=row.created_at,
        tombstoned=row.tombstone,
        user_id="" if user_id is None else str(user_id),
        amount=minor_units(row.amount),
        currency=row.currency,
        method=row.method,
        token=row.token,
        provider=row.provider,
        attempt=row.attempt,
        attempts=row.attempts,
        tries=row.tries,
        answer=row.answer,
        reason=row.reason,
        obstacle=row.obstacle,
        reference=row.provider_reference,
        duration_ms=row.duration_ms,
        waiting=tuple(Cause(**cause) for cause in waiting),
    )

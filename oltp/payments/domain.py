"""What a payment may do: pure decisions, total over every order of commands and provider results.

A payment belongs to one order and moves like this (``tombstoned`` means: nothing may stay charged)::

    (none) --charge--> pending --captured--> succeeded --void or refund--> refunding --refunded--> refunded
                       pending --declined--> failed
                       pending --unknown---> unknown, and the same call again with the same key
    (none) --void--> voided; a later charge is answered "cancelled" and reaches no provider
    pending or unknown --void--> tombstoned; the provider is asked to void: voided, or captured and then refunded

:func:`decide` takes a command, :func:`conclude` what a provider answered. Both return the next state, the provider
call that is due (at most one at a time), and the replies that can be given now. A command that cannot be answered yet
waits in the state until a conclusion answers it; a command that comes again gets the same reply again.
"""

import datetime as dt
import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from contracts.commands import ChargePayment, RefundPayment, VoidPayment
from contracts.envelope import registry
from contracts.events import PaymentFailed, PaymentRefunded, PaymentSucceeded, PaymentVoided

Command: TypeAlias = ChargePayment | VoidPayment | RefundPayment
Answer: TypeAlias = PaymentSucceeded | PaymentFailed | PaymentVoided | PaymentRefunded

CANCELLED: Final = "cancelled"
"""Why a charge fails that was voided before it came to anything."""

TRANSIENT_DECLINES: Final = frozenset({"processing_error", "issuer_not_available", "try_again_later"})
"""Declines that a second attempt, with a key of its own, can turn into a capture."""

MAX_ATTEMPTS: Final = 2


class Status(enum.StrEnum):
    """Where a payment stands."""

    PENDING = "pending"
    UNKNOWN = "unknown"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    VOIDED = "voided"
    REFUNDING = "refunding"
    REFUNDED = "refunded"


@dataclass(frozen=True, slots=True)
class Cause:
    """A command's identity: replies to it have ids that follow from ``id``, so that they are the same each time."""

    id: str
    type: str
    correlation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command is answered."""

    cause: Cause
    payload: Answer


class Charge(msgspec.Struct, frozen=True):
    """Take the amount. ``key`` is the provider's idempotency key, ``order_id:attempt``.

    ``tries`` counts the unanswered calls with this key; ``reference`` is the provider's object, if an earlier one
    brought it to light.
    """

    order_id: str
    attempt: int
    user_id: str
    amount: int
    currency: str
    method: str
    token: str
    provider: str
    reference: str = ""
    tries: int = 0

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"{self.order_id}:{self.attempt}"


@dataclass(frozen=True, slots=True)
class Void:
    """Make sure that ``charge`` takes nothing any more, or say that it has."""

    charge: Charge

    @property
    def key(self) -> str:
        """The idempotency key."""
        return f"{self.charge.key}:void"


@dataclass(frozen=True, slots=True)
class Refund:
    """Give the whole amount back."""

    charge: Charge

    @property
    def key(self) -> str:
        """The idempotency key: one per order, whatever was attempted."""
        return f"{self.charge.order_id}:refund"


Action: TypeAlias = Charge | Void | Refund


@dataclass(frozen=True, slots=True)
class Captured:
    """The amount was taken; ``reference`` is what a refund names."""

    reference: str


@dataclass(frozen=True, slots=True)
class Declined:
    """Nothing was taken with this key, and nothing will be."""

    reason: str


@dataclass(frozen=True, slots=True)
class Voided:
    """Nothing was taken, and nothing can be."""


@dataclass(frozen=True, slots=True)
class Refunded:
    """The amount went back."""

    reference: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider does not refund at present, for example while a dispute is open. It is asked again later."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer that says what happened. ``reference`` is the provider's object as far as it is known."""

    detail: str
    reference: str = ""


Result: TypeAlias = Captured | Declined | Voided | Refunded | Refused | Unknown


class Payment(msgspec.Struct, frozen=True):
    """A payment's state.

    ``attempt`` counts idempotency keys, ``attempts`` all calls to charge, ``tries`` the unanswered calls of what is due
    now, and ``obstacle`` is what the last of those said. ``answer`` is what ``payment.charge`` was or will be answered,
    once that is settled. ``user_id`` is empty as long as only a void has been seen.
    """

    order_id: str
    payment_id: str
    status: Status
    started_at: dt.datetime
    tombstoned: bool = False
    user_id: str = ""
    amount: int = 0
    currency: str = ""
    method: str = ""
    token: str = ""
    provider: str = ""
    attempt: int = 1
    attempts: int = 0
    tries: int = 0
    answer: str = ""
    reason: str = ""
    obstacle: str = ""
    reference: str = ""
    duration_ms: int = 0
    waiting: tuple[Cause, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows: the next state, the provider call that is due, and the replies that can be given now."""

    state: Payment
    action: Action | None
    replies: tuple[Reply, ...] = ()


def decide(
    current: Payment | None, command: Command, cause: Cause, *, payment_id: str, provider: str, now: dt.datetime
) -> Decision:
    """What a command leads to.

    ``payment_id`` and ``provider`` (who serves the command's method) are used only where they are not fixed yet.
    A void and a refund mean the same: nothing stays charged. They differ in their answers (see :func:`answer`).
    """
    if isinstance(command, ChargePayment):
        state = _charged(current, command, payment_id=payment_id, provider=provider, now=now)
    else:
        state = _withdrawn(current, command.order_id, payment_id=payment_id, now=now)
    if all(known.id != cause.id for known in state.waiting):
        state = replace(state, waiting=(*state.waiting, cause))
    return settle(state)


def conclude(current: Payment, action: Action, result: Result, *, now: dt.datetime, calls: int = 1) -> Decision:
    """What a provider's answer to ``action`` leads to.

    The answer may be late: about an attempt that is over, or a payment that has moved on. ``calls`` is how many calls
    it took, 0 if the provider spoke by itself (a webhook).
    """
    state = current
    if isinstance(action, Charge) and state.status in _OPEN:
        state = replace(state, attempts=state.attempts + calls)
    match result:
        case Captured():
            state = _captured(state, result, now)
        case Declined():
            if isinstance(action, Charge) and action.attempt == state.attempt:
                state = _declined(state, result.reason, now)
        case Voided():
            if state.status in _OPEN and _charge_of(action).attempt == state.attempt:
                state = _ended(replace(state, status=Status.VOIDED, reason=state.reason or CANCELLED), now)
        case Refunded():
            if state.status in (*_OPEN, Status.SUCCEEDED, Status.REFUNDING):
                state = _ended(replace(state, status=Status.REFUNDED), now)
        case Refused():
            if state.status is Status.REFUNDING:
                state = replace(state, tries=state.tries + calls, obstacle=result.reason)
        case Unknown():
            if _same_call(next_action(state), action):
                state = replace(
                    state,
                    status=Status.UNKNOWN if state.status is Status.PENDING else state.status,
                    tries=state.tries + calls,
                    reference=state.reference or result.reference,
                    obstacle=result.detail,
                )
    return settle(state)


def settle(state: Payment) -> Decision:
    """The replies that waiting commands can be given in a state; :func:`decide` and :func:`conclude` end with it."""
    replies: list[Reply] = []
    waiting: list[Cause] = []
    for cause in state.waiting:
        payload = answer(state, cause.type)
        if payload is None:
            waiting.append(cause)
        else:
            replies.append(Reply(cause, payload))
    if len(waiting) != len(state.waiting):
        state = replace(state, waiting=tuple(waiting))
    return Decision(state, next_action(state), tuple(replies))


def next_action(state: Payment) -> Action | None:
    """The provider call that is due in a state; asking twice is harmless, since the key is the same."""
    charge = Charge(
        order_id=state.order_id,
        attempt=state.attempt,
        user_id=state.user_id,
        amount=state.amount,
        currency=state.currency,
        method=state.method,
        token=state.token,
        provider=state.provider,
        reference=state.reference,
        tries=state.tries,
    )
    if state.status in _OPEN:
        return Void(charge) if state.tombstoned else charge
    if state.status is Status.REFUNDING:
        return Refund(charge)
    return None


def answer(state: Payment, command_type: str) -> Answer | None:
    """What a command of this type is answered in a state; None while that is not settled.

    ``payment.refund`` is always answered by ``payment.refunded``, with amount 0 where nothing had been taken.
    """
    if command_type == _CHARGE:
        if state.answer == Status.SUCCEEDED:
            return PaymentSucceeded(
                order_id=state.order_id,
                payment_id=state.payment_id,
                provider=state.provider,
                amount=state.amount,
                currency=state.currency,
                attempts=state.attempts,
                duration_ms=state.duration_ms,
            )
        if state.answer == Status.FAILED:
            return PaymentFailed(
                order_id=state.order_id,
                payment_id=state.payment_id,
                provider=state.provider,
                reason=state.reason or CANCELLED,
                attempts=state.attempts,
                duration_ms=state.duration_ms,
            )
        return None
    if state.status is Status.REFUNDED:
        return _refunded(state, state.amount)
    if state.tombstoned and state.status in (Status.FAILED, Status.VOIDED):
        if command_type == _REFUND:
            return _refunded(state, 0)
        return PaymentVoided(order_id=state.order_id, payment_id=state.payment_id)
    return None


_OPEN: Final = frozenset({Status.PENDING, Status.UNKNOWN})
_CHARGE: Final = registry.name_of(ChargePayment)
_REFUND: Final = registry.name_of(RefundPayment)


def _charged(
    current: Payment | None, command: ChargePayment, *, payment_id: str, provider: str, now: dt.datetime
) -> Payment:
    if current is not None and current.user_id:
        return current
    state = replace(
        current or Payment(order_id=command.order_id, payment_id=payment_id, status=Status.PENDING, started_at=now),
        user_id=command.user_id,
        amount=command.amount,
        currency=command.currency,
        method=command.method.type.value,
        token=command.method.token,
        provider=provider,
    )
    return state if current is None else replace(state, answer=Status.FAILED, reason=CANCELLED)


def _withdrawn(current: Payment | None, order_id: str, *, payment_id: str, now: dt.datetime) -> Payment:
    if current is None:
        return Payment(order_id=order_id, payment_id=payment_id, status=Status.VOIDED, started_at=now, tombstoned=True)
    state = current if current.tombstoned else replace(current, tombstoned=True, tries=0)
    if state.status is Status.SUCCEEDED:
        return replace(state, status=Status.REFUNDING)
    return state


def _captured(state: Payment, result: Captured, now: dt.datetime) -> Payment:
    if state.status in (Status.SUCCEEDED, Status.REFUNDING, Status.REFUNDED):
        return state
    state = replace(state, reference=result.reference, tries=0, obstacle="")
    if state.tombstoned or state.status not in _OPEN:
        return replace(state, status=Status.REFUNDING, tombstoned=True)
    return _ended(replace(state, status=Status.SUCCEEDED, reason=""), now)


def _declined(state: Payment, reason: str, now: dt.datetime) -> Payment:
    if state.status not in _OPEN:
        return state
    if reason in TRANSIENT_DECLINES and state.attempt < MAX_ATTEMPTS and not state.tombstoned:
        return replace(state, status=Status.PENDING, attempt=state.attempt + 1, tries=0, reference="", reason=reason)
    return _ended(replace(state, status=Status.FAILED, reason=reason), now)


def _ended(state: Payment, now: dt.datetime) -> Payment:
    if state.answer:
        return replace(state, tries=0, obstacle="")
    return replace(
        state,
        tries=0,
        obstacle="",
        answer=Status.SUCCEEDED if state.status is Status.SUCCEEDED else Status.FAILED,
        duration_ms=max(0, round((now - state.started_at).total_seconds() * 1000)),
    )


def _refunded(state: Payment, amount: int) -> PaymentRefunded:
    return PaymentRefunded(order_id=state.order_id, payment_id=state.payment_id, amount=amount, currency=state.currency)


def _charge_of(action: Action) -> Charge:
    return action if isinstance(action, Charge) else action.charge


def _same_call(due: Action | None, made: Action) -> bool:
    return due is not None and due.key == made.key

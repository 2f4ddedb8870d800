"""Carries payments out: records what is intended, calls providers outside of any transaction, records what came of it.

Redelivery, a crash between the steps and a second process at the same payment all lead to the same end, because every
provider call can be repeated with its key, and every result is concluded on the row as it stands, under its lock.
"""

import asyncio
import datetime as dt
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import structlog
from msgspec.structs import replace
from prometheus_client import Counter, Histogram

from contracts.envelope import Envelope, caused_id, registry, seal
from contracts.events import PaymentDisputed, PaymentRefunded
from contracts.orders import PaymentMethodType
from kit import outbox
from kit.clock import Clock
from kit.db import Database, WriteSession
from kit.errors import Unavailable
from kit.ids import new_id
from kit.transient import is_transient
from oltp.payments.domain import (
    Action,
    Captured,
    Cause,
    Charge,
    Command,
    Declined,
    Payment,
    Refund,
    Refunded,
    Refused,
    Reply,
    Result,
    Status,
    Unknown,
    Void,
    Voided,
    answer,
    conclude,
    decide,
    next_action,
    settle,
)
from oltp.payments.providers.port import Provider, perform
from oltp.payments.repository import Attempt, DisputeRecord, PaymentRepository
from oltp.payments.settings import PaymentsSettings

log = structlog.get_logger()

SOURCE: Final = "surge/payments"
_LONGEST_CHAIN: Final = 5
"""Calls that can follow from each other at once: two attempts to charge, a void, a refund, and one to spare."""
_CALL_IS_LOST: Final = dt.timedelta(seconds=1)
"""How long after a webhook the call that it tells of may still be expected to answer."""
_EVENTS_KEPT: Final = dt.timedelta(days=30)

CALL_SECONDS = Histogram(
    "surge_payment_call_seconds",
    "Time that a provider takes for a call.",
    ["provider", "action", "outcome"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
CONCLUDED = Counter("surge_payments_concluded_total", "Payments that came to an end.", ["method", "status", "reason"])

_ACTIONS: Final = {Charge: "charge", Void: "void", Refund: "refund"}
_OUTCOMES: Final = {
    Captured: "captured",
    Declined: "declined",
    Voided: "voided",
    Refunded: "refunded",
    Refused: "refused",
    Unknown: "unknown",
}


@dataclass(frozen=True, slots=True)
class Call:
    """A provider call that was made."""

    action: Action
    provider: str
    result: Result
    started_at: dt.datetime
    ended_at: dt.datetime
    duration_ms: int


@dataclass(slots=True)
class _Round:
    """Calls made for some payments. ``late`` are still under way, ``left`` were never begun."""

    calls: dict[str, list[Call]] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)


class _Raced(Exception):
    """Another process recorded one of the payments first."""


class Cashier:
    """The use cases of the payments worker."""

    def __init__(
        self, database: Database, providers: Mapping[str, Provider], clock: Clock, settings: PaymentsSettings
    ) -> None:
        self._database = database
        self._providers = providers
        self._clock = clock
        self._settings = settings
        # one provider that hangs takes no slot from another
        self._slots = defaultdict[str, asyncio.Semaphore](lambda: asyncio.Semaphore(settings.payments_concurrency))
        self._late: set[asyncio.Task[None]] = set()
        self._finished: dict[str, list[Call]] = {}
        self._concluding = asyncio.Lock()

    async def carry_out(self, commands: Sequence[tuple[Cause, Command]]) -> list[Envelope]:
        """Does what the commands say and returns the replies to them that can be given now.

        A call that takes longer than ``payments_batch_seconds`` is left to itself, and its reply to the outbox.
        """
        while True:
            try:
                due, replies = await self._record(commands)
                break
            except _Raced:
                continue
        if not due:
            return replies
        answered = {reply.causationid for reply in replies}
        asking = {cause: command.order_id for cause, command in commands if cause.id not in answered}
        return [*replies, *await self._conclude(await self._call(due), asking)]

    async def resolve(self) -> None:
        """Asks again for what is due: unknown outcomes, refused refunds, calls that a crash or a batch left behind."""
        limit = self._settings.payments_concurrency
        while True:
            now = self._clock.now()
            async with self._database.write() as session:
                due = await PaymentRepository(session).claim_due(now=now, leased_until=now + self._lease, limit=limit)
            await self._conclude(await self._call(due))
            if len(due) < limit:
                return

    async def tidy(self) -> None:
        """Forgets webhooks that are too old to come again."""
        async with self._database.write() as session:
            await PaymentRepository(session).forget_events(self._clock.now() - _EVENTS_KEPT)

    async def close(self) -> None:
        """Waits for the calls that are still under way, at most as long as one call may take."""
        if self._late:
            _, unfinished = await asyncio.wait(self._late, timeout=self._settings.payments_timeout_seconds)
            for task in unfinished:
                task.cancel()

    @property
    def _lease(self) -> dt.timedelta:
        return dt.timedelta(seconds=self._settings.payments_timeout_seconds + self._settings.payments_batch_seconds + 2)

    async def _record(self, commands: Sequence[tuple[Cause, Command]]) -> tuple[dict[str, Payment], list[Envelope]]:
        now = self._clock.now()
        replies: list[Reply] = []
        async with self._database.write() as session:
            payments = PaymentRepository(session)
            known = await payments.lock({command.order_id for _, command in commands})
            states = dict(known)
            for cause, command in commands:
                decision = decide(
                    states.get(command.order_id),
                    command,
                    cause,
                    payment_id=new_id(),
                    provider=self._provider_of(command),
                    now=now,
                )
                states[command.order_id] = decision.state
                replies += decision.replies
            due = {order_id: state for order_id, state in states.items() if next_action(state) is not None}
            later = dict.fromkeys(due, now + self._lease)
            fresh = {order_id: state for order_id, state in states.items() if order_id not in known}
            changed = {i: state for i, state in states.items() if i in due or (i in known and state != known[i])}
            if await payments.insert(fresh, later, now) < len(fresh):
                raise _Raced
            await payments.update({i: state for i, state in changed.items() if i in known}, later, now)
            await payments.record_refunds(changed.values(), {}, now)
        return due, [envelope(reply, now) for reply in replies]

    def _provider_of(self, command: Command) -> str:
        method = getattr(command, "method", None)
        return "" if method is None else self._settings.payments_providers[PaymentMethodType(method.type)]

    async def _call(self, due: Mapping[str, Payment]) -> _Round:
        made = _Round()
        if not due:
            return made
        begun: set[str] = set()
        tasks = {
            asyncio.create_task(self._pursue(state, begun), name=f"payment {order_id}"): order_id
            for order_id, state in due.items()
        }
        try:
            done, unfinished = await asyncio.wait(tasks, timeout=self._settings.payments_batch_seconds)
        except asyncio.CancelledError:
            for task in tasks:
                task.cancel()
            raise
        for task in done:
            made.calls[tasks[task]] = task.result()
        for task in unfinished:
            if tasks[task] in begun:
                following = asyncio.create_task(self._follow(tasks[task], task))
                self._late.add(following)
                following.add_done_callback(self._late.discard)
            else:
                task.cancel()
                made.left.add(tasks[task])
        return made

    async def _pursue(self, state: Payment, begun: set[str]) -> list[Call]:
        calls: list[Call] = []
        async with self._slots[state.provider]:
            begun.add(state.order_id)
            while (action := next_action(state)) is not None and len(calls) < _LONGEST_CHAIN:
                call = await self._ask(state.provider, action)
                calls.append(call)
                if isinstance(call.result, Unknown | Refused):
                    break
                state = conclude(state, action, call.result, now=call.ended_at).state
        return calls

    async def _ask(self, name: str, action: Action) -> Call:
        started_at, started = self._clock.now(), time.perf_counter()
        provider = self._providers.get(name)
        if provider is None:
            result: Result = Unknown(f"provider {name!r} is not configured")
        else:
            result = await perform(provider, action, seconds=self._settings.payments_timeout_seconds)
        took = time.perf_counter() - started
        CALL_SECONDS.labels(name, _ACTIONS[type(action)], _OUTCOMES[type(result)]).observe(took)
        return Call(action, name, result, started_at, self._clock.now(), round(took * 1000))

    async def _follow(self, order_id: str, task: asyncio.Task[list[Call]]) -> None:
        """Concludes a late call, together with all others that ended meanwhile: one transaction at a time.

        A transaction each would want more connections than there are, as soon as a provider is slow in a rush.
        """
        self._finished.setdefault(order_id, []).extend(await task)
        async with self._concluding:
            finished, self._finished = self._finished, {}
            try:
                await self._conclude(_Round(finished))
            except Exception as error:
                # the payments stay due: the resolver asks again with the same keys
                if is_transient(error):
                    log.warning("payment.conclusion_postponed", orders=len(finished), error=repr(error))
                else:
                    log.exception("payment.conclusion_failed", order_ids=sorted(finished))

    async def _conclude(self, made: _Round, asking: Mapping[Cause, str] = MappingProxyType({})) -> list[Envelope]:
        """Records what calls led to and returns the replies to those who are ``asking``; others get theirs by outbox.

        Another process may have concluded first, and died with the replies: whoever is asking is answered all the same.
        """
        order_ids = made.calls.keys() | made.left
        if not order_ids:
            return []
        now = self._clock.now()
        replies: list[Reply] = []
        async with self._database.write() as session:
            payments = PaymentRepository(session)
            before = await payments.lock(order_ids)
            states = dict(before)
            references: dict[str, str] = {}
            for order_id, calls in made.calls.items():
                decision = settle(states[order_id])
                replies += decision.replies
                for call in calls:
                    decision = conclude(decision.state, call.action, call.result, now=call.ended_at)
                    replies += decision.replies
                    if isinstance(call.result, Refunded):
                        references[order_id] = call.result.reference
                states[order_id] = decision.state
            due = {
                order_id: now + self._pause(state)
                for order_id, state in states.items()
                if next_action(state) is not None
            }
            await payments.update(states, due, now)
            await payments.record_attempts([_attempt(i, call) for i, calls in made.calls.items() for call in calls])
            await payments.record_refunds(states.values(), references, now)
            await outbox.publish(session, [envelope(reply, now) for reply in replies if reply.cause not in asking])
        count_concluded(before, states)
        settled = [(cause, answer(states[i], cause.type)) for cause, i in asking.items() if i in states]
        return [envelope(Reply(cause, payload), now) for cause, payload in settled if payload is not None]

    def _pause(self, state: Payment) -> dt.timedelta:
        if state.tries == 0:
            return dt.timedelta(0)
        first, longest = self._settings.payments_retry_seconds, self._settings.payments_retry_max_seconds
        return dt.timedelta(seconds=min(longest, first * 2 ** min(state.tries - 1, 30)))


@dataclass(frozen=True, slots=True)
class Notice:
    """What a provider says by itself of a charge: ``result`` came of the idempotency key ``key``."""

    order_id: str
    key: str
    result: Result


@dataclass(frozen=True, slots=True)
class DisputeNotice:
    """What a provider says of a dispute about the captured object ``reference``."""

    dispute_id: str
    reference: str
    amount: int
    currency: str
    reason: str
    status: str
    opened_at: dt.datetime


async def take_notice(
    session: WriteSession,
    *,
    provider: str,
    event_id: str,
    type: str,
    notice: Notice | DisputeNotice | None,
    now: dt.datetime,
) -> None:
    """Applies a webhook once, however often it comes; ``notice`` is None for what payments has no use for.

    Raises:
        Unavailable: if it tells of a payment that is not known yet; the provider sends it again later.
    """
    payments = PaymentRepository(session)
    if not await payments.remember_event(provider, event_id, type, now):
        return
    match notice:
        case Notice():
            await _heard(session, payments, provider, notice, now)
        case DisputeNotice():
            await _disputed(session, payments, provider, event_id, notice, now)
        case None:
            pass


async def _heard(
    session: WriteSession, payments: PaymentRepository, provider: str, notice: Notice, now: dt.datetime
) -> None:
    before = await payments.lock([notice.order_id])
    state = before.get(notice.order_id)
    if state is None or state.provider != provider or not _wanted(state, notice.result):
        return
    attempt = notice.key.rpartition(":")[2]
    action = Charge(
        order_id=state.order_id,
        attempt=int(attempt) if attempt.isdigit() else 0,
        user_id=state.user_id,
        amount=state.amount,
        currency=state.currency,
        method=state.method,
        token=state.token,
        provider=provider,
    )
    decision = conclude(state, action, notice.result, now=now, calls=0)
    after = {state.order_id: decision.state}
    due = now if decision.action is not None else None
    if state.status is Status.PENDING:
        # the worker's call is under way, and its end replies; should it be lost, the resolver does
        after[state.order_id] = replace(decision.state, waiting=state.waiting)
        due = now + _CALL_IS_LOST
    else:
        await outbox.publish(session, [envelope(reply, now) for reply in decision.replies])
    await payments.update(after, {} if due is None else {state.order_id: due}, now)
    await payments.record_refunds(after.values(), _reference(notice), now)
    if state.status is Status.SUCCEEDED and decision.state.status is Status.REFUNDED:
        refunded = PaymentRefunded(
            order_id=state.order_id, payment_id=state.payment_id, amount=state.amount, currency=state.currency
        )
        await outbox.publish(session, [outbox.announce(refunded, source=SOURCE, subject=state.order_id, time=now)])
    count_concluded(before, after)


def _wanted(state: Payment, result: Result) -> bool:
    """Whether the provider says something new. What the worker's own refund leads to, the worker hears itself."""
    match state.status:
        case Status.PENDING | Status.UNKNOWN:
            return True
        case Status.FAILED | Status.VOIDED:
            return isinstance(result, Captured)
        case Status.SUCCEEDED:
            return isinstance(result, Refunded)
        case Status.REFUNDING:
            return isinstance(result, Refunded) and state.tries > 0
        case Status.REFUNDED:
            return False


def _reference(notice: Notice) -> dict[str, str]:
    return {notice.order_id: notice.result.reference} if isinstance(notice.result, Refunded) else {}


async def _disputed(
    session: WriteSession,
    payments: PaymentRepository,
    provider: str,
    event_id: str,
    notice: DisputeNotice,
    now: dt.datetime,
) -> None:
    order_id = await payments.order_of(provider, notice.reference)
    if order_id is None:
        raise Unavailable("The disputed payment is not known yet; please send this again.", retry_after=60)
    before = await payments.lock([order_id])
    state = before[order_id]
    record = DisputeRecord(
        provider=provider,
        dispute_id=notice.dispute_id,
        order_id=order_id,
        payment_id=state.payment_id,
        amount=notice.amount,
        currency=notice.currency,
        reason=notice.reason,
        status=notice.status,
        opened_at=notice.opened_at,
    )
    if not await payments.record_dispute(record, now):
        return
    name = registry.name_of(PaymentDisputed)
    disputed = PaymentDisputed(
        order_id=order_id,
        payment_id=state.payment_id,
        amount=notice.amount,
        currency=notice.currency,
        reason=notice.reason,
        status=notice.status,
    )
    messages = [
        outbox.announce(
            disputed, source=SOURCE, subject=order_id, time=now, id=caused_id(f"{provider}:{event_id}", name)
        )
    ]
    if notice.status == "lost" and state.status is Status.REFUNDING and (action := next_action(state)) is not None:
        # the bank gave the money back, and the provider refuses to do so once more
        decision = conclude(state, action, Refunded(notice.dispute_id), now=now, calls=0)
        await payments.update({order_id: decision.state}, {}, now)
        await payments.record_refunds([decision.state], {order_id: notice.dispute_id}, now)
        messages += [envelope(reply, now) for reply in decision.replies]
        count_concluded(before, {order_id: decision.state})
    await outbox.publish(session, messages)


def envelope(reply: Reply, now: dt.datetime) -> Envelope:
    """A reply on its way: its id follows from the command's, so that it is the same each time."""
    cause = reply.cause
    return seal(
        reply.payload,
        id=caused_id(cause.id, registry.name_of(type(reply.payload))),
        source=SOURCE,
        subject=str(reply.payload.order_id),
        time=now,
        correlationid=cause.correlation_id,
        causationid=cause.id,
        traceparent=cause.traceparent,
    )


def count_concluded(before: Mapping[str, Payment], after: Mapping[str, Payment]) -> None:
    """Counts payments that came to an end."""
    ended = (Status.SUCCEEDED, Status.FAILED, Status.VOIDED, Status.REFUNDED)
    for order_id, state in after.items():
        if state.status in ended and (order_id not in before or before[order_id].status is not state.status):
            reason = state.reason if state.status is Status.FAILED else ""
            CONCLUDED.labels(state.method, state.status.value, reason).inc()


def _attempt(order_id: str, call: Call) -> Attempt:
    result = call.result
    detail = getattr(result, "reason", "") or getattr(result, "detail", "") or getattr(result, "reference", "")
    return Attempt(
        order_id=order_id,
        action=_ACTIONS[type(call.action)],
        provider=call.provider,
        idempotency_key=call.action.key,
        outcome=_OUTCOMES[type(result)],
        detail=str(detail)[:500].replace("\x00", ""),
        duration_ms=call.duration_ms,
        attempted_at=call.started_at,
    )

"""An audit: looks at every store, as often as it takes for the shop to be quiet, and judges."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Container, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, TypeVar

import httpx
import pymongo.errors
import redis.exceptions
from aiokafka.errors import KafkaError
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from audit import accepted, books, gate, history, letters, money, parcels, providers, quiet, sales
from audit.books import Check
from audit.log import AcceptedOrders, Broker, Progress
from audit.quiet import Unrest
from audit.report import Finding, Offender, Report, away
from audit.settings import AuditSettings
from audit.snapshot import Snapshot, side_by_side, snapshot
from kit import redis as kit_redis
from kit.clock import SystemClock

WAIT: Final = 30.0
"""Seconds that an audit waits for the shop to be quiet, unless told."""

STANDING: Final = 8.0
"""Seconds after which a difference between two stores is one, even if the shop never rests.

Longer than the stores' own keepers take to see and mend one.
"""

_PAUSE: Final = 0.5
_AWAY: Final = (
    OSError,
    TimeoutError,
    KafkaError,
    httpx.HTTPError,
    pymongo.errors.PyMongoError,
    redis.exceptions.RedisError,
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Reading:
    """Checks that are made together."""

    keys: tuple[str, ...]
    judge: Callable[[], Coroutine[Any, Any, list[Finding]]]


@dataclass(slots=True)
class _Auditor:
    settings: AuditSettings
    redis: Redis
    mongo: AsyncMongoClient[dict[str, Any]]
    http: httpx.AsyncClient
    broker: Broker
    seen: dict[tuple[str, Offender], float] = field(default_factory=dict)

    async def look(self, only: Container[str] | None = None) -> tuple[list[Finding], Unrest]:
        """Everything once, or the checks with these keys. What a consumer had committed before is in the snapshot.

        What was done before the snapshot is in the log, in Redis and elsewhere when these are read, beside Postgres.
        """
        before, _ = await _or_away(self.broker.progress())
        async with snapshot(self.settings) as now:
            found = await side_by_side(
                reading.judge()
                for reading in self._readings(now, before)
                if only is None or any(key in only for key in reading.keys)
            )
            waiting = await now.read(quiet.outstanding)
        after, _ = await _or_away(self.broker.progress())
        findings = [*(finding for some in found for finding in some), letters.judge(after)]
        return findings, quiet.unrest(before, waiting, after)

    def _readings(self, now: Snapshot, before: Progress | None) -> list[_Reading]:
        """In the order in which a report shows them."""

        def each(checks: Iterable[Check]) -> list[_Reading]:
            return [_Reading((check.key,), partial(now.judge, [check])) for check in checks]

        def one(key: str, title: str, judge: Callable[[], Awaitable[Finding]]) -> _Reading:
            return _Reading((key,), lambda: _check(key, title, judge()))

        return [
            *each(books.STOCK),
            one(gate.KEY, gate.TITLE, lambda: now.read(lambda connection: gate.judge(connection, self.redis))),
            *each(sales.CHECKS),
            one(sales.KEY, sales.TITLE, lambda: now.read(lambda connection: sales.judge(connection, self.redis))),
            *each(books.ORDERS),
            _Reading(tuple(accepted.TITLES), lambda: self._accepted(now, before)),
            *each(money.CHECKS),
            one(providers.KEY, providers.TITLE, lambda: self._providers(now)),
            *each(parcels.CHECKS),
            one(history.KEY, history.TITLE, lambda: self._history(now)),
        ]

    async def _accepted(self, now: Snapshot, before: Progress | None) -> list[Finding]:
        log: AcceptedOrders | None
        log, why = await _or_away(self.broker.accepted_orders())
        if log is None or before is None:
            return [
                away(key, title, why or "Kafka is away", needs_quiet=False) for key, title in accepted.TITLES.items()
            ]
        return await now.read(lambda connection: accepted.judge(connection, log, before.saga_offsets))

    async def _providers(self, now: Snapshot) -> Finding:
        theirs = await providers.read(self.http, self.settings)
        return await now.read(lambda connection: providers.judge(connection, theirs))

    async def _history(self, now: Snapshot) -> Finding:
        told = await history.read(self.mongo)
        return await now.read(lambda connection: history.judge(connection, told))

    def remember(self, findings: Iterable[Finding], now: float) -> dict[tuple[str, Offender], float]:
        """Since when each present offender has stood unchanged."""
        present = {(f.key, offender) for f in findings if not f.warning for offender in f.offenders}
        self.seen = {entry: self.seen.get(entry, now) for entry in present}
        return self.seen


async def run(
    settings: AuditSettings | None = None,
    *,
    wait: float = WAIT,
    rest: bool = True,
    note: Callable[[str], None] | None = None,
) -> Report:
    """Audits the running shop.

    Args:
        settings: where its stores are; by default from the environment.
        wait: seconds to wait for the shop to be quiet. What needs quiet is judged anyway once it has stood for
            :data:`STANDING` seconds, and not judged if it keeps changing.
        rest: whether to wait for quiet even if nothing differs. Without it an audit of a busy shop is content once
            everything that differed at one look has been found equal since: what differs now is under way.
        note: told what is being waited for.

    Raises:
        OSError, asyncpg.PostgresError: if Postgres is away: without it there are no books.
    """
    settings = settings or AuditSettings()
    clock = SystemClock()
    async with contextlib.AsyncExitStack() as stack:
        redis_client = kit_redis.connect(settings)
        stack.push_async_callback(redis_client.aclose)
        mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
            settings.mongo_url.get_secret_value(), serverSelectionTimeoutMS=2_000
        )
        stack.push_async_callback(mongo.close)
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=10))
        broker = Broker(settings)
        stack.push_async_callback(broker.close)
        auditor = _Auditor(settings, redis_client, mongo, http, broker)
        began = time.monotonic()
        pending: set[tuple[str, str]] | None = None
        findings: list[Finding] = []
        while True:
            now = time.monotonic()
            only = None if rest or pending is None else {finding.key for finding in findings if finding.count}
            looked, unrest = await auditor.look(only)
            findings = looked if only is None else _renewed(findings, looked)
            seen = auditor.remember(findings, now)
            broken = any(f.count and not f.warning for f in findings)
            if not broken and (unrest.quiet or not rest):
                break
            pending = _pending(findings, pending)
            if not rest and pending is not None and not pending:
                findings = [_passing(finding) for finding in findings]
                break
            standing = time.monotonic() - max(seen.values(), default=now)
            if broken and unrest.quiet and standing >= min(STANDING, wait):
                break
            if time.monotonic() - began >= wait:
                findings = [_settle(finding, seen, unrest) for finding in findings]
                break
            if note is not None:
                note(str(unrest) or "differences may still settle")
            await asyncio.sleep(_PAUSE)
        return Report(clock.now(), time.monotonic() - began, unrest.quiet, str(unrest), tuple(findings))


def _renewed(findings: Iterable[Finding], looked: Iterable[Finding]) -> list[Finding]:
    """The findings, those of a later look in place of what they renew."""
    later = {finding.key: finding for finding in looked}
    return [later.get(finding.key, finding) for finding in findings]


def _pending(findings: Iterable[Finding], before: set[tuple[str, str]] | None) -> set[tuple[str, str]] | None:
    """What has differed at every look since one that named all of its differences; None if this look did not.

    A difference that no message under way can explain makes a look count for nothing.
    """
    differing = [finding for finding in findings if finding.count and not finding.warning]
    if not all(finding.needs_quiet and finding.count == len(finding.offenders) for finding in differing):
        return None
    present = {(finding.key, offender.id) for finding in differing for offender in finding.offenders}
    return present if before is None else before & present


def _passing(finding: Finding) -> Finding:
    """What differed at the last look alone, as a note."""
    if not finding.count or finding.warning:
        return finding
    return replace(finding, offenders=(), count=0, note=f"{finding.count} under way at the last look")


def _settle(finding: Finding, seen: dict[tuple[str, Offender], float], unrest: Unrest) -> Finding:
    """Takes back what may only be under way."""
    if unrest.quiet or not finding.needs_quiet or not finding.count:
        return finding
    now = time.monotonic()
    stood = tuple(o for o in finding.offenders if now - seen.get((finding.key, o), now) >= STANDING)
    if stood:
        return replace(finding, offenders=stood, count=len(stood))
    note = f"{finding.count} differ while messages are under way"
    return replace(finding, offenders=(), count=0, judged=False, note=note)


async def _or_away(reading: Awaitable[_T]) -> tuple[_T | None, str]:
    try:
        return await reading, ""
    except _AWAY as error:
        return None, f"{type(error).__name__}: {error}"


async def _check(key: str, title: str, judging: Awaitable[Finding]) -> list[Finding]:
    finding, why = await _or_away(judging)
    return [finding or away(key, title, why)]

"""Messages to the saga: one batch, one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import redis_keys
from contracts.envelope import Envelope, registry
from contracts.events import OrderCancelled, OrderConfirmed, OrderCreated, OrderTransition
from contracts.orders import OrderStatus
from kit.clock import Clock
from kit.db import WriteSession
from kit.kafka import Outcome, Received
from kit.redis import publish_to_both
from oltp.sales.gate import SaleGate, Standing
from sagas import order as order_saga
from sagas import store
from sagas.batch import Batch, Snapshot
from sagas.engine import Saga

log = structlog.get_logger()

_SETTLING: Final = (registry.name_of(OrderConfirmed), registry.name_of(OrderCancelled))


class OrderSagaHandler:
    """Moves orders by a batch of messages; a message seen before sends again what it sent then."""

    def __init__(self, saga: Saga, redis: Redis, clock: Clock) -> None:
        self._saga = saga
        self._redis = redis
        self._clock = clock
        self._sale_gate = SaleGate(redis)

    async def __call__(self, session: WriteSession, batch: Sequence[Received]) -> Outcome:
        """Applies the batch."""
        now = self._clock.now()
        keys = [(m.payload.user_id, m.payload.idempotency_key) for m in batch if isinstance(m.payload, OrderCreated)]
        snapshot = await store.load(session, [(m.envelope.subject, m.envelope.id) for m in batch], keys)
        work = Batch(self._saga, snapshot, now)
        for message in batch:
            work.take(message.envelope, message.payload, message.partition, message.offset)
        for order_id, taken in work.refused:
            log.warning("saga.key_taken", order_id=order_id, by=taken)
        await store.save(session, work.changes, now)
        afterwards = [publish_live(self._redis, work.messages)]
        if settled := _settled(work.messages, snapshot):
            afterwards.append(tell_gate(self._sale_gate, settled))
        return Outcome(work.messages, afterwards)


def publish_live(redis: Redis, messages: Sequence[Envelope]) -> Callable[[], Awaitable[None]]:
    """Tells everyone who is watching. A Redis that is away delays nobody: watchers read again when it is back."""

    async def publish() -> None:
        news: list[tuple[str, str, str]] = []
        for envelope in messages:
            if envelope.type not in order_saga.EVENTS:
                continue
            event = registry.decode(envelope)
            assert isinstance(event, OrderTransition)
            text = orjson.dumps(
                {
                    "type": envelope.type,
                    "order_id": event.order_id,
                    "user_id": event.user_id,
                    "sequence": event.sequence,
                    "previous_status": event.previous_status,
                    "status": event.status,
                    "reason": event.reason,
                    "occurred_at": event.occurred_at,
                }
            ).decode()
            news.append((redis_keys.order_channel(event.order_id), redis_keys.user_channel(event.user_id), text))
        try:
            await publish_to_both(redis, news)
        except RedisError as error:
            log.warning("saga.live_unpublished", error=repr(error))

    return publish


def _settled(messages: Sequence[Envelope], snapshot: Snapshot) -> list[tuple[str, str, Standing]]:
    """The flash sales' orders that were just confirmed or cancelled, by how they stand now."""
    settled = []
    for envelope in messages:
        if envelope.type in _SETTLING and (sale := snapshot.orders[envelope.subject].sale) is not None:
            cancelled = snapshot.orders[envelope.subject].instance.status == OrderStatus.CANCELLED
            settled.append((sale.sale_id, envelope.subject, Standing.GONE if cancelled else Standing.SOLD))
    return settled


def tell_gate(gate: SaleGate, settled: Sequence[tuple[str, str, Standing]]) -> Callable[[], Awaitable[None]]:
    """Has the flash sales' gate count them. A Redis that is away is set right by the gateways' keeper."""

    async def tell() -> None:
        try:
            await gate.settle(settled)
        except RedisError as error:
            log.warning("saga.sale_gate_untold", orders=len(settled), error=repr(error))

    return tell

"""Messages to the saga: one batch, one transaction."""

import datetime as dt
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import redis_keys
from contracts.envelope import Envelope, Message, registry
from contracts.events import InventoryReserved, OrderCreated, OrderTransition
from kit.clock import Clock
from kit.db import WriteSession
from kit.kafka import Outcome, Received
from sagas import order as order_saga
from sagas import store
from sagas.engine import Early, Moved, Saga, Transition, advance, begin
from sagas.order import Order
from sagas.store import Birth, Changes, Snapshot

log = structlog.get_logger()


class IdempotencyKeyTaken(ValueError):
    """An order came with a key by which its customer already has another one; only a lost gateway memory does that."""


class _Batch:
    """Applies messages one after the other to a snapshot and collects what to write and to send."""

    def __init__(self, saga: Saga, snapshot: Snapshot, now: dt.datetime) -> None:
        self._saga = saga
        self._snapshot = snapshot
        self._now = now
        self.changes = Changes()
        self.messages: list[Envelope] = []

    def take(self, envelope: Envelope, payload: Message, partition: int = 0, offset: int = 0) -> None:
        order = self._snapshot.orders.get(envelope.subject)
        recorded = self._snapshot.recorded.get((envelope.subject, envelope.id))
        if order is not None and recorded is not None:
            if isinstance(payload, OrderCreated):
                order = replace(order, lines=tuple(payload.lines))
            self.messages += order_saga.outputs(order, recorded)
        elif isinstance(payload, OrderCreated):
            if order is None:
                self._create(envelope, payload, partition, offset)
        elif order is None:
            self._park(envelope)
        else:
            self._advance(order, envelope, payload)

    def _create(self, envelope: Envelope, created: OrderCreated, partition: int, offset: int) -> None:
        key = created.user_id, created.idempotency_key
        if self._snapshot.taken_keys.setdefault(key, created.order_id) != created.order_id:
            raise IdempotencyKeyTaken(f"customer {key[0]} has order {self._snapshot.taken_keys[key]} by this key")
        moved = begin(self._saga, message_id=envelope.id, now=self._now)
        order = Order(
            order_id=created.order_id,
            user_id=created.user_id,
            total_amount=created.total_amount,
            currency=created.currency,
            payment_method=created.payment_method,
            shipping_address=created.shipping_address,
            lines=tuple(created.lines),
            correlation_id=envelope.correlationid,
            instance=moved.instance,
        )
        self.changes.births.append((Birth(created, partition, offset), order))
        self._record(order, moved.transition)

    def _advance(self, order: Order, envelope: Envelope, payload: Message) -> None:
        verdict = advance(
            self._saga,
            order.instance,
            message_type=envelope.type,
            message_id=envelope.id,
            reason=order_saga.reason_of(payload),
            now=self._now,
        )
        if isinstance(verdict, Moved):
            order = replace(order, instance=verdict.instance)
            if isinstance(payload, InventoryReserved):
                order = replace(order, allocations=tuple(payload.allocations))
            if reason := order_saga.cancel_reason(verdict.transition):
                order = replace(order, cancel_reason=reason)
            self._record(order, verdict.transition)
        elif isinstance(verdict, Early):
            self._park(envelope)
        else:
            log.debug("saga.stale", order_id=envelope.subject, type=envelope.type, status=order.instance.status)

    def _record(self, order: Order, transition: Transition) -> None:
        self._snapshot.orders[order.order_id] = order
        self._snapshot.recorded[order.order_id, transition.message_id] = transition
        self.changes.orders[order.order_id] = order
        self.changes.transitions.append((order.order_id, transition))
        self.messages += order_saga.outputs(order, transition)
        self._retake_parked(order.order_id)

    def _park(self, envelope: Envelope) -> None:
        waiting = self._snapshot.parked.setdefault(envelope.subject, [])
        if any(other.id == envelope.id for other in waiting):
            return
        waiting.append(envelope)
        stored = envelope.subject, envelope.id
        if stored in self.changes.unpark:
            self.changes.unpark.remove(stored)
        else:
            self.changes.park.append(envelope)

    def _retake_parked(self, order_id: str) -> None:
        waiting = self._snapshot.parked.pop(order_id, [])
        for envelope in waiting:
            if any(envelope is parked for parked in self.changes.park):
                self.changes.park = [parked for parked in self.changes.park if parked is not envelope]
            else:
                self.changes.unpark.append((order_id, envelope.id))
        for envelope in waiting:
            self.take(envelope, registry.decode(envelope))


class OrderSagaHandler:
    """Moves orders by a batch of messages; a message seen before sends again what it sent then."""

    def __init__(self, saga: Saga, redis: Redis, clock: Clock) -> None:
        self._saga = saga
        self._redis = redis
        self._clock = clock

    async def __call__(self, session: WriteSession, batch: Sequence[Received]) -> Outcome:
        """Applies the batch.

        Raises:
            IdempotencyKeyTaken: if two orders of one customer carry the same key.
        """
        now = self._clock.now()
        keys = [(m.payload.user_id, m.payload.idempotency_key) for m in batch if isinstance(m.payload, OrderCreated)]
        snapshot = await store.load(session, [(m.envelope.subject, m.envelope.id) for m in batch], keys)
        work = _Batch(self._saga, snapshot, now)
        for message in batch:
            work.take(message.envelope, message.payload, message.partition, message.offset)
        await store.save(session, work.changes, now)
        return Outcome(work.messages, [publish_live(self._redis, work.messages)])


def publish_live(redis: Redis, messages: Sequence[Envelope]) -> Callable[[], Awaitable[None]]:
    """Tells everyone who is watching. A Redis that is away delays nobody: watchers read again when it is back."""

    async def publish() -> None:
        pipeline = redis.pipeline(transaction=False)
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
            pipeline.publish(redis_keys.order_channel(event.order_id), text)
            pipeline.publish(redis_keys.user_channel(event.user_id), text)
        if len(pipeline):
            try:
                await pipeline.execute()
            except RedisError as error:
                log.warning("saga.live_unpublished", error=repr(error))

    return publish

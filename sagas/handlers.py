"""Messages to the saga: one batch, one transaction."""

from collections.abc import Awaitable, Callable, Sequence

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from contracts import redis_keys
from contracts.envelope import Envelope, registry
from contracts.events import OrderCreated, OrderTransition
from kit.clock import Clock
from kit.db import WriteSession
from kit.kafka import Outcome, Received
from sagas import order as order_saga
from sagas import store
from sagas.batch import Batch
from sagas.engine import Saga

log = structlog.get_logger()


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
        work = Batch(self._saga, snapshot, now)
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

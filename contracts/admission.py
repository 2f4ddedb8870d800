"""What the gateway knows of an accepted order before the saga has written it."""

from typing import Protocol

from contracts.events import OrderCreated


class AcceptedOrder(OrderCreated, kw_only=True):
    """The payload of ``order.created`` with its place in the log; the value of ``redis_keys.accepted_order``."""

    log_partition: int
    log_offset: int


class OrderQueue(Protocol):
    """The flash-sale queue: the order log up to what the saga has committed. In handlers: ``request.state.queue``."""

    def position(self, partition: int, offset: int) -> int | None:
        """How many messages the saga still has before the one at ``offset``; 0 if it is past it.

        None if the saga's progress is not known, as when Kafka is away.
        """
        ...

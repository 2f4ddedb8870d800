"""What the gateway knows of an accepted order before the saga has written it."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from contracts.events import OrderCreated
from contracts.orders import OrderStatus


class AcceptedOrder(OrderCreated, kw_only=True):
    """The payload of ``order.created`` with its place in the log; the value of ``redis_keys.accepted_order``."""

    log_partition: int
    log_offset: int


class QueuePlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a pending order stands.

    ``log`` is its partition and offset, None once the saga has taken it up; ``first`` is the position that its customer
    was told when it was accepted; ``sale_id`` is the flash sale that it is in.
    """

    order_id: str
    first: int
    log: tuple[int, int] | None
    sale_id: str | None = None

    @classmethod
    def of(cls, accepted: AcceptedOrder) -> "QueuePlace":
        """The place of an order that was accepted."""
        return cls(
            order_id=accepted.order_id,
            first=accepted.queue_position,
            log=(accepted.log_partition, accepted.log_offset),
            sale_id=accepted.sale.sale_id if accepted.sale is not None else None,
        )


ACCEPTED: Final = "order.accepted"
"""Type of the message by which gateways tell a customer's watchers of a new order in a flash sale."""


def accepted_message(accepted: AcceptedOrder) -> bytes:
    """The message of an order that was accepted."""
    return msgspec.json.encode(
        {
            "type": ACCEPTED,
            "order_id": accepted.order_id,
            "user_id": accepted.user_id,
            "status": OrderStatus.PENDING,
            "queue_position": accepted.queue_position,
            "log_partition": accepted.log_partition,
            "log_offset": accepted.log_offset,
            "sale_id": accepted.sale.sale_id if accepted.sale is not None else None,
            "occurred_at": accepted.created_at,
        }
    )


def place_in(message: Mapping[str, Any]) -> QueuePlace:
    """The place that such a message tells of."""
    return QueuePlace(
        order_id=message["order_id"],
        first=message["queue_position"],
        log=(message["log_partition"], message["log_offset"]),
        sale_id=message["sale_id"],
    )


class OrderQueue(Protocol):
    """The queue of orders: the log up to what the saga has committed, then those who wait for a flash sale's unit.

    In handlers: ``request.state.queue``.
    """

    def position(self, place: QueuePlace) -> int | None:
        """How many messages the saga has before an order, and, in a flash sale, how many wait before it and with it.

        0 when it is its turn. It only falls; None if it is not known, as when Kafka is away.
        """
        ...

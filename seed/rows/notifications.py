"""Schema ``notifications``: whom to write to. Nobody is told of the past."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np

from seed.copy import Table, table
from seed.history import Chunk, Ending
from seed.people import Customer
from seed.rendered import Rendered
from seed.rows.orders import Payload
from seed.wire import Fixed, payload

CONTACTS: Final = table("notifications", "contacts", "user_id email name phone as_of")
ORDERS: Final = table("notifications", "orders", "order_id user_id created_at")


def base(customers: Sequence[Customer]) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The customers' contact data."""
    yield CONTACTS, [(c.user_id, c.email, c.name, c.phone, c.registered_at) for c in customers]


def rows(part: Chunk, rendered: Rendered) -> Iterator[tuple[Table, Payload]]:
    """Whose the orders are that are still under way."""
    chosen = np.flatnonzero(part.ended(Ending.PROCESSING, Ending.SHIPPED))
    if len(chosen):
        head = Fixed(len(chosen), len(ORDERS.columns)).uuid(part.ids[chosen])
        head.uuid(rendered.world.people.ids[part.suspicion.customer[chosen]]).moment(part.created[chosen])
        yield ORDERS, payload(head.build())

"""Schema ``notifications``: whom to write to. Nobody is told of the past."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from seed.copy import Table, table
from seed.history import Ending
from seed.people import People
from seed.placed import PlacedOrder

CONTACTS: Final = table("notifications", "contacts", "user_id email name phone as_of")
ORDERS: Final = table("notifications", "orders", "order_id user_id created_at")

_UNDER_WAY: Final = (Ending.PROCESSING, Ending.SHIPPED)

Rows = Iterator[tuple[Table, list[tuple[Any, ...]]]]


def base(people: People) -> Rows:
    """The customers' contact data."""
    yield CONTACTS, [(c.user_id, c.email, c.name, c.phone, c.registered_at) for c in people.customers]


def rows(orders: Iterable[PlacedOrder]) -> Rows:
    """Whose the orders are that are still under way."""
    yield (
        ORDERS,
        [(o.order_id, o.customer.user_id, o.created_at) for o in orders if o.ending in _UNDER_WAY],
    )

"""Schema ``accounts``."""

import datetime as dt
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

from seed.copy import Table, table
from seed.ids import part_id
from seed.people import Customer

USERS: Final = table("accounts", "users", "id name email password_hash role phone created_at updated_at")
ADDRESSES: Final = table(
    "accounts",
    "addresses",
    """id user_id label name line1 line2 city region postal_code country phone latitude longitude is_default created_at
    updated_at""",
)


def rows(customers: Sequence[Customer], *, password_hash: str) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The customers with one address each; all share a password."""
    yield (
        USERS,
        [
            (c.user_id, c.name, c.email, password_hash, "customer", c.phone, c.registered_at, c.registered_at)
            for c in customers
        ],
    )
    addresses: list[tuple[Any, ...]] = []
    for customer in customers:
        address_id = part_id(customer.user_id, 1)
        a, at = customer.address, customer.registered_at
        place = (a.line1, a.line2, a.city, a.region, a.postal_code, a.country, a.phone, a.latitude, a.longitude)
        addresses.append((address_id, customer.user_id, "home", a.name, *place, True, at, at))
    yield ADDRESSES, addresses


def admin(user_id: uuid.UUID, email: str, password_hash: str, at: dt.datetime) -> tuple[Table, list[tuple[Any, ...]]]:
    """The shop's administrator."""
    return USERS, [(user_id, "Shop administrator", email, password_hash, "admin", "", at, at)]

"""The order desk: how admins narrow, sort and page everybody's orders. Its queries are in ``desk_repository``."""

import datetime as dt
import enum
import re
import uuid
from dataclasses import dataclass, field
from typing import Final

from oltp.orders.domain import Filter, StoredOrder

COUNT_CAP: Final = 10_000
"""Counting stops there: nobody pages through more, and counting ten million takes seconds."""


class Sort(enum.StrEnum):
    """In which order the orders are listed; those of equal rank by id."""

    NEWEST = "newest"
    OLDEST = "oldest"
    HIGHEST = "highest"
    LOWEST = "lowest"

    @property
    def by_total(self) -> bool:
        """Whether it goes by what orders are worth, instead of when they were placed."""
        return self in (Sort.HIGHEST, Sort.LOWEST)

    @property
    def descending(self) -> bool:
        """Whether the greatest comes first."""
        return self in (Sort.NEWEST, Sort.HIGHEST)


@dataclass(frozen=True, slots=True)
class DeskFilter:
    """Which orders an admin asks for: besides what everybody may ask, of which customer, and with which product.

    ``id_prefix``: the beginning of their ids.
    """

    orders: Filter = field(default_factory=Filter)
    user_id: str | None = None
    product_id: str | None = None
    id_prefix: str = ""


@dataclass(frozen=True, slots=True)
class DeskKey:
    """An order's place in a list: when it was created, or its total in minor units, whichever sorts; and its id."""

    value: dt.datetime | int
    order_id: str

    @classmethod
    def of(cls, stored: StoredOrder, sort: Sort) -> "DeskKey":
        """The place of an order."""
        placement = stored.placement
        return cls(placement.total_amount if sort.by_total else placement.created_at, stored.order_id)


@dataclass(frozen=True, slots=True)
class DeskPage:
    """A page of orders; ``more`` says where the next one begins, None if there is none.

    A page may have fewer orders than asked for and still have a next one: a search looks at a bounded number of orders.
    """

    orders: list[StoredOrder]
    more: DeskKey | None


@dataclass(frozen=True, slots=True)
class DeskCount:
    """How many orders fit; not ``exact``: at least so many, counting stopped."""

    orders: int
    exact: bool


ID_PREFIX: Final = r"^[0-9a-fA-F]{8}(-?[0-9a-fA-F]){0,24}-?$"
"""Eight digits of an id or more, with its dashes or without."""


def id_bounds(prefix: str) -> tuple[str, str]:
    """The first and the last id that begin so.

    Raises:
        ValueError: if it is no :data:`ID_PREFIX`.
    """
    if not re.fullmatch(ID_PREFIX, prefix):
        raise ValueError(f"{prefix} does not begin an id")
    digits = prefix.replace("-", "")
    return str(uuid.UUID(digits.ljust(32, "0"))), str(uuid.UUID(digits.ljust(32, "f")))

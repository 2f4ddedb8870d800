"""Flash sales: what other services may know of them, and how they ask."""

import datetime as dt
from collections.abc import Collection
from typing import Protocol

import msgspec

from contracts.orders import SaleTerms


class SaleCard(msgspec.Struct, frozen=True, kw_only=True):
    """One product at a special price (minor units of ``currency``) from ``starts_at`` until before ``ends_at``.

    ``waiting_places`` is how many units' worth of orders may wait, beyond ``units``, for one that is not paid.
    """

    sale_id: str
    product_id: str
    unit_price: int
    currency: str
    units: int
    units_per_customer: int
    waiting_places: int
    starts_at: dt.datetime
    ends_at: dt.datetime

    def is_open(self, now: dt.datetime) -> bool:
        """Whether the sale's price holds at this moment."""
        return self.starts_at <= now < self.ends_at

    @property
    def terms(self) -> SaleTerms:
        """What an order that is placed in it carries."""
        return SaleTerms(
            sale_id=self.sale_id,
            product_id=self.product_id,
            units=self.units,
            units_per_customer=self.units_per_customer,
            ends_at=self.ends_at,
        )


class SaleFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Units of a sale that are paid, that are held for orders not yet paid, and that waiting orders ask for."""

    sold: int = 0
    held: int = 0
    waiting: int = 0


class SaleStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What admission knows of a running sale: units that nobody has or waits for, and whether orders are let through.

    With nothing left they still are as long as there are places to wait for a unit that is not paid.
    """

    left: int
    admits: bool


class SaleBoard(Protocol):
    """The flash sales that run now. In handlers: ``request.state.sales``."""

    def running(self, product_id: str, now: dt.datetime) -> SaleCard | None:
        """The sale that a product is in at this moment; as of half a second ago at most. Touches nothing."""
        ...

    def known(self) -> Collection[SaleCard]:
        """The sales that run or will."""
        ...

    async def standing(self, sales: Collection[SaleCard]) -> dict[str, SaleStanding]:
        """By sale id; empty while that is not known."""
        ...


class SaleBooks(Protocol):
    """What inventory knows of flash sales and of what there is to sell. In handlers: ``request.state.sale_books``."""

    async def figures(self, sale_ids: Collection[str]) -> dict[str, SaleFigures]:
        """Of those of the sales that an order has come for."""
        ...

    async def available(self, product_ids: Collection[str]) -> dict[str, int]:
        """Units that can still be reserved, of those of the products that inventory lists."""
        ...

    async def waiting(self, sale_ids: Collection[str]) -> dict[str, list[str]]:
        """Sale id → the orders that wait for a unit, first come first."""
        ...

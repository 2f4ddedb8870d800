"""Flash sales put up by hand, where a test needs a SaleBoard and no sales service."""

import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import msgspec

from contracts.sales import SaleCard, SaleFigures, SaleStanding
from kit.ids import new_id


@dataclass
class HandMadeBoard:
    """Implements :class:`contracts.sales.SaleBoard`. ``standings`` are by sale id; what is not there is not known."""

    sales: dict[str, SaleCard] = field(default_factory=dict)
    standings: dict[str, SaleStanding] = field(default_factory=dict)

    def put(self, product_id: str, **terms: Any) -> SaleCard:
        """A sale of a product, running for an hour: two units, one a customer, one place to wait, unless told."""
        now = dt.datetime.now(dt.UTC)
        sale = SaleCard(
            sale_id=new_id(),
            product_id=product_id,
            unit_price=500,
            currency="USD",
            units=2,
            units_per_customer=1,
            waiting_places=1,
            starts_at=now - dt.timedelta(minutes=1),
            ends_at=now + dt.timedelta(hours=1),
        )
        self.sales[product_id] = msgspec.structs.replace(sale, **terms)
        return self.sales[product_id]

    def running(self, product_id: str, now: dt.datetime) -> SaleCard | None:
        sale = self.sales.get(product_id)
        return sale if sale is not None and sale.is_open(now) else None

    def known(self) -> Collection[SaleCard]:
        return self.sales.values()

    async def standing(self, sales: Collection[SaleCard]) -> dict[str, SaleStanding]:
        ids = {sale.sale_id for sale in sales}
        return {sale_id: standing for sale_id, standing in self.standings.items() if sale_id in ids}


class NobodyWaits:
    """Implements :class:`contracts.sales.SaleBooks` for sales that no order has come for yet."""

    async def figures(self, sale_ids: Collection[str]) -> dict[str, SaleFigures]:
        return {}

    async def available(self, product_ids: Collection[str]) -> dict[str, int]:
        return {}

    async def waiting(self, sale_ids: Collection[str]) -> dict[str, list[str]]:
        return {}

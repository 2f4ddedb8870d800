"""Holds the flash sales' gate in Redis against the orders, and fills it again after a wipe."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Final

import structlog

from contracts.sales import SaleBoard, SaleCard
from kit.resources import Resources
from oltp.gateway import repository
from oltp.gateway.order_log import OrderLog
from oltp.sales.gate import Claim, SaleGate, Standing

log = structlog.get_logger()

ABANDONED: Final = dt.timedelta(seconds=60)
"""Age at which a claim whose order is not in the log counts as abandoned: nobody tries its key again."""


@dataclass(slots=True)
class _Difference:
    """What the gate does not know, or knows wrongly."""

    missing: dict[str, Claim] = field(default_factory=dict)
    settled: dict[str, Standing] = field(default_factory=dict)

    def standing_since(self, before: "_Difference") -> "_Difference":
        """What of it was there a round ago; the rest may only be on its way."""
        return _Difference(
            {order_id: claim for order_id, claim in self.missing.items() if order_id in before.missing},
            {order_id: s for order_id, s in self.settled.items() if before.settled.get(order_id) == s},
        )


class SaleKeeper:
    """Compares the gate of every sale that has not ended with its orders, round by round.

    A difference is set right when two rounds have seen it. The saga tells the gate what becomes of orders; this is for
    what it could not tell because Redis was away, for what Redis lost, and for claims whose order never came.
    """

    def __init__(self, resources: Resources, sales: SaleBoard, order_log: OrderLog) -> None:
        self._database = resources.database
        self._clock = resources.clock
        self._sales = sales
        self._gate = SaleGate(resources.redis)
        self._order_log = order_log
        self._seen: dict[str, _Difference] = {}

    async def round(self) -> None:
        """One round."""
        seen: dict[str, _Difference] = {}
        for sale in self._begun():
            found = seen[sale.sale_id] = await self._compare(sale)
            await self._correct(sale, found.standing_since(self._seen.get(sale.sale_id, _Difference())))
        self._seen = seen

    async def rebuild(self) -> None:
        """Sets everything right at once; for a Redis that nobody is admitted by yet."""
        for sale in self._begun():
            await self._correct(sale, await self._compare(sale))

    def _begun(self) -> list[SaleCard]:
        now = self._clock.now()
        return [sale for sale in self._sales.known() if sale.starts_at <= now]

    async def _compare(self, sale: SaleCard) -> _Difference:
        # the gate is read first: an order that comes between the two looks is in the orders only
        claims = await self._gate.claims(sale.sale_id)
        async with self._database.read() as session:
            orders = await repository.sale_orders(session, sale.sale_id)
            ended = await repository.existing_orders(session, claims.keys() - orders.keys())
        found = _Difference(missing={order_id: orders[order_id] for order_id in orders.keys() - claims.keys()})
        for order_id, claim in claims.items():
            order = orders.get(order_id)
            if order is None:
                if order_id in ended or self._is_abandoned(claim):
                    found.settled[order_id] = Standing.GONE
            elif order.standing is Standing.SOLD and claim.standing is Standing.CLAIMED:
                found.settled[order_id] = Standing.SOLD
        return found

    def _is_abandoned(self, claim: Claim) -> bool:
        return self._order_log.lag() == 0 and claim.since < self._clock.now() - ABANDONED

    async def _correct(self, sale: SaleCard, wrong: _Difference) -> None:
        if wrong.missing:
            await self._gate.restore(sale.sale_id, sale.ends_at, list(wrong.missing.values()))
        if wrong.settled:
            outcomes = [(sale.sale_id, order_id, standing) for order_id, standing in wrong.settled.items()]
            await self._gate.settle(outcomes)
        if wrong.missing or wrong.settled:
            log.warning(
                "sale_gate.corrected", sale_id=sale.sale_id, missing=len(wrong.missing), settled=len(wrong.settled)
            )

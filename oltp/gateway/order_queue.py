"""The queue as customers see it: the order log behind the saga, then the waiting lists of flash sales."""

import time
from collections import OrderedDict
from typing import Final

import structlog

from contracts.admission import QueuePlace
from contracts.sales import SaleBoard, SaleBooks
from kit.clock import Clock
from kit.transient import is_transient
from oltp.gateway.order_log import OrderLog

log = structlog.get_logger()

SECONDS: Final = 0.5
"""How often the waiting lists are read while a sale runs, or somebody asks for one."""

_ASKED_SECONDS: Final = 5.0
_REMEMBERED: Final = 100_000


class WaitingLine:
    """Implements :class:`contracts.admission.OrderQueue`; one a process.

    A position never rises above what was told before: the two parts are read at different moments, and an order on its
    way from one to the other may count in neither or in both.
    """

    def __init__(self, order_log: OrderLog, books: SaleBooks, sales: SaleBoard, clock: Clock) -> None:
        self._order_log = order_log
        self._books = books
        self._sales = sales
        self._clock = clock
        self._asked: dict[str, float] = {}
        self._waiting: dict[str, dict[str, int]] = {}
        self._told: OrderedDict[str, int] = OrderedDict()

    def position(self, place: QueuePlace) -> int | None:
        """How many messages the saga has before an order, and how many wait before it and with it."""
        ahead = 0 if place.log is None else self._order_log.position(*place.log)
        if ahead is None:
            return None
        if place.sale_id is None:
            return min(place.first, ahead)
        self._asked[place.sale_id] = time.monotonic()
        waiting = self._waiting.get(place.sale_id)
        if waiting is None:
            return self._told.get(place.order_id)
        number = waiting.get(place.order_id)
        if number is None and ahead == 0:
            # on its way to inventory or back, or the list is older than it: what was told stands
            return self._only_falls(place, place.first)
        return self._only_falls(place, ahead + (len(waiting) + 1 if number is None else number))

    def _only_falls(self, place: QueuePlace, ahead: int) -> int:
        told = min(self._told.get(place.order_id, place.first), ahead)
        self._told[place.order_id] = told
        self._told.move_to_end(place.order_id)
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        return told

    async def refresh(self) -> None:
        """Reads the waiting lists of the sales that run, or were asked for in the last seconds.

        While Postgres is away what was read stays.

        Raises:
            DBAPIError: if the query is wrong.
        """
        since, now = time.monotonic() - _ASKED_SECONDS, self._clock.now()
        self._asked = {sale_id: at for sale_id, at in self._asked.items() if at > since}
        asked = list({*self._asked, *(sale.sale_id for sale in self._sales.known() if sale.is_open(now))})
        waiting: dict[str, list[str]] = {}
        if asked:
            try:
                waiting = await self._books.waiting(asked)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("queue.waiting_unknown", error=repr(error))
                return
        self._waiting = {
            sale_id: {order_id: number for number, order_id in enumerate(waiting.get(sale_id, ()), 1)}
            for sale_id in asked
        }

"""Schema ``inventory``."""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from seed.copy import Table, table
from seed.goods import Goods
from seed.history import Ending
from seed.placed import PlacedOrder
from seed.places import WAREHOUSES
from seed.stock import Stock

SITES: Final = table("inventory", "warehouses", "id code name country latitude longitude priority")
LEVELS: Final = table("inventory", "inventory", "product_id warehouse_id quantity reserved_quantity updated_at")
RESERVATIONS: Final = table(
    "inventory",
    "reservations",
    "order_id status reason refused_product_ids expires_at confirmed_at asked_at created_at updated_at",
)
LINES: Final = table("inventory", "reservation_lines", "order_id product_id warehouse_id quantity")
LEDGER: Final = table(
    "inventory", "stock_ledger", "product_id warehouse_id kind delta balance reason order_id occurred_at"
)

HOLD: Final = dt.timedelta(minutes=10)

Rows = Iterator[tuple[Table, list[tuple[Any, ...]]]]


class Balances:
    """Units on hand by product and warehouse while the history goes by; the ledger's running balance."""

    def __init__(self, goods: Goods, stock: Stock, warehouses: list[uuid.UUID]) -> None:
        self.warehouses = warehouses
        self._row = {product.product_id: n for n, product in enumerate(goods.products)}
        self._left: npt.NDArray[np.int64] = stock.initial.copy()

    def take(self, product_id: uuid.UUID, warehouse: int, units: int) -> int:
        """Takes units off the shelf; returns what is left there."""
        row = self._row[product_id]
        self._left[row, warehouse] -= units
        return int(self._left[row, warehouse])


def base(goods: Goods, stock: Stock, warehouses: list[uuid.UUID], *, now: dt.datetime) -> Rows:
    """The warehouses, today's levels, and the ledger's first line of each."""
    yield (
        SITES,
        [
            (warehouses[n], site.code, site.name, "US", site.latitude, site.longitude, n)
            for n, site in enumerate(WAREHOUSES)
        ],
    )
    quantity, reserved, initial = stock.quantity.tolist(), stock.reserved.tolist(), stock.initial.tolist()
    # a warehouse that sent the product once lists it, even if it does not stock it any more
    listed = (stock.stocked | (stock.initial > 0)).tolist()
    levels: list[tuple[Any, ...]] = []
    ledger: list[tuple[Any, ...]] = []
    for n, product in enumerate(goods.products):
        for w, warehouse in enumerate(warehouses):
            if not listed[n][w]:
                continue
            levels.append((product.product_id, warehouse, quantity[n][w], reserved[n][w], now))
            first = (product.product_id, warehouse, "initial", initial[n][w], initial[n][w])
            ledger.append((*first, "opening stock", None, product.created_at))
    yield LEVELS, levels
    yield LEDGER, ledger


def rows(orders: Iterable[PlacedOrder], balances: Balances) -> Rows:
    """The orders' reservations, and the ledger's line of each that left."""
    reservations: list[tuple[Any, ...]] = []
    lines: list[tuple[Any, ...]] = []
    ledger: list[tuple[Any, ...]] = []
    for order in orders:
        reservations.append(_reservation(order))
        if not order.reserved:
            continue
        for line in order.lines:
            product_id, warehouse = line.product.product_id, balances.warehouses[line.warehouse]
            lines.append((order.order_id, product_id, warehouse, line.quantity))
            if sent_at := order.moment("inventory.fulfilled"):
                balance = balances.take(product_id, line.warehouse, line.quantity)
                sent = (product_id, warehouse, "shipped", -line.quantity, balance)
                ledger.append((*sent, "", order.order_id, sent_at))
    yield RESERVATIONS, reservations
    yield LINES, lines
    yield LEDGER, ledger


def _reservation(order: PlacedOrder) -> tuple[Any, ...]:
    if order.ending is Ending.OUT_OF_STOCK:
        at = order.due("inventory.failed")
        short = [order.lines[0].product.product_id]
        return (order.order_id, "refused", "out_of_stock", short, None, None, order.created_at, at, at)
    reserved_at = order.due("inventory.reserved")
    paid_at = order.moment("payment.succeeded")
    status, reason, updated_at = "held", "", paid_at or reserved_at
    if sent_at := order.moment("inventory.fulfilled"):
        status, updated_at = "fulfilled", sent_at
    elif released_at := order.moment("inventory.released"):
        status, reason, updated_at = "released", order.path.cancel_reason or "", released_at
    expires_at = reserved_at + HOLD
    return (order.order_id, status, reason, [], expires_at, paid_at, order.created_at, reserved_at, updated_at)

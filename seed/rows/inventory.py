"""Schema ``inventory``."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from seed.copy import Table, table
from seed.history import LEFT, Chunk, Ending, month_of
from seed.ids import Bytes
from seed.paths import path
from seed.places import WAREHOUSES
from seed.plan import Plan
from seed.rendered import Rendered
from seed.rows.orders import Payload
from seed.rows.payments import moment
from seed.stock import Stock
from seed.wire import NULL, Fixed, chosen_of, nullable, payload, piece, pieces, take

SITES: Final = table("inventory", "warehouses", "id code name country latitude longitude priority")
LEVELS: Final = table("inventory", "inventory", "product_id warehouse_id quantity reserved_quantity updated_at")
RESERVATIONS: Final = table(
    "inventory",
    "reservations",
    "order_id asked_at created_at updated_at status reason expires_at confirmed_at refused_product_ids",
)
LINES: Final = table("inventory", "reservation_lines", "order_id product_id warehouse_id quantity")
LEDGER: Final = table(
    "inventory", "stock_ledger", "product_id warehouse_id delta balance occurred_at kind reason order_id"
)

HOLD: Final = dt.timedelta(minutes=10)
_HOLD_MS: Final = int(HOLD.total_seconds() * 1000)

Ints = npt.NDArray[np.int64]


def sites(warehouses: list[uuid.UUID]) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The warehouses."""
    yield (
        SITES,
        [
            (warehouses[n], site.code, site.name, "US", site.latitude, site.longitude, n)
            for n, site in enumerate(WAREHOUSES)
        ],
    )


def rows(part: Chunk, rendered: Rendered) -> Iterator[tuple[Table, Payload]]:
    """The reservations of orders that hold stock, and of recorded ones."""
    chosen = np.flatnonzero(part.recorded | part.ended(Ending.PROCESSING))
    if not len(chosen):
        return
    yield RESERVATIONS, _reservations(part, rendered, chosen)
    holding = (part.recorded | part.ended(Ending.PROCESSING)) & ~part.ended(Ending.OUT_OF_STOCK)
    lines = np.flatnonzero(holding[part.line_order])
    yield (
        LINES,
        payload(
            Fixed(len(lines), len(LINES.columns))
            .uuid(part.ids[part.line_order[lines]])
            .uuid(rendered.world.goods.draft.ids[part.product[lines]])
            .uuid(rendered.warehouse_ids[part.warehouse[lines]])
            .int4(part.quantity[lines])
            .build()
        ),
    )


def _reservations(part: Chunk, rendered: Rendered, chosen: Ints) -> Payload:
    asked, paid = moment(part, "inventory.reserved")[chosen], moment(part, "payment.succeeded")[chosen]
    sent, released = moment(part, "inventory.fulfilled")[chosen], moment(part, "inventory.released")[chosen]
    refused = part.ended(Ending.OUT_OF_STOCK)[chosen]
    asked = np.where(refused, moment(part, "inventory.failed")[chosen], asked)
    updated = np.where(sent > 0, sent, np.where(released > 0, released, np.where(paid > 0, paid, asked)))
    kinds = []
    for ending in Ending:
        steps = path(ending).step_of
        if ending is Ending.OUT_OF_STOCK:
            kinds.append(piece("refused", "out_of_stock"))
        elif "inventory.fulfilled" in steps:
            kinds.append(piece("fulfilled", ""))
        elif "inventory.released" in steps:
            kinds.append(piece("released", path(ending).cancel_reason or ""))
        else:
            kinds.append(piece("held", ""))
    count = len(chosen)
    head = (
        Fixed(count, len(RESERVATIONS.columns))
        .uuid(part.ids[chosen])
        .moment(asked)
        .moment(part.created[chosen])
        .moment(updated)
        .build()
    )
    # uuid[]: one dimension, no nulls, elements of type 2950, from 1
    short = Fixed(count)
    short.raw(b"\0\0\0\x28\0\0\0\1\0\0\0\0\0\0\x0b\x86\0\0\0\1\0\0\0\1")
    short.uuid(rendered.world.goods.draft.ids[part.product[part.first[:-1][chosen]]])
    none = b"\0\0\0\x0c\0\0\0\0\0\0\0\0\0\0\x0b\x86"
    return payload(
        head,
        take(pieces(kinds), part.ending[chosen]),
        nullable(Fixed(count).moment(asked + _HOLD_MS).build(), ~refused),
        nullable(Fixed(count).moment(paid).build(), paid > 0),
        chosen_of(refused, short.build(), none),
    )


@dataclass(frozen=True)
class Movements:
    """What a chunk of orders did to the shelves.

    ``settled`` has the units that left for orders without records of their own, ``held`` those that orders hold: each
    a column of cells (month, product, warehouse) and one of units. ``shipped`` are the lines of recorded orders that
    left: order ids, cells without a month, units and moments.
    """

    settled: tuple[Ints, Ints]
    held: tuple[Ints, Ints]
    shipped_orders: Bytes
    shipped: tuple[Ints, Ints, Ints]


def movements(plan: Plan, part: Chunk) -> Movements:
    """Of one chunk."""
    order = part.line_order
    shelf = part.product * len(WAREHOUSES) + part.warehouse
    sent = moment(part, "shipment.in_transit")
    gone = part.ended(*LEFT)
    cell = month_of(plan, sent)[order] * (plan.products * len(WAREHOUSES)) + shelf

    def summed(lines: npt.NDArray[np.bool_], cells: Ints) -> tuple[Ints, Ints]:
        keys, which = np.unique(cells[lines], return_inverse=True)
        return keys, np.bincount(which, weights=part.quantity[lines], minlength=len(keys)).astype(np.int64)

    recorded = np.flatnonzero((gone & part.recorded)[order])
    fulfilled = moment(part, "inventory.fulfilled")[order[recorded]]
    return Movements(
        settled=summed((gone & ~part.recorded)[order], cell),
        held=summed(part.ended(Ending.PROCESSING)[order], shelf),
        shipped_orders=part.ids[order[recorded]],
        shipped=(shelf[recorded], part.quantity[recorded], fulfilled),
    )


def stock_rows(rendered: Rendered, stock: Stock) -> Iterator[tuple[Table, Payload]]:
    """Today's levels, and the ledger that leads to them, in the order of time."""
    plan, ids = rendered.world.plan, rendered.world.goods.draft.ids
    listed = np.flatnonzero(stock.listed)
    product, warehouse = listed // len(WAREHOUSES), listed % len(WAREHOUSES)
    yield (
        LEVELS,
        payload(
            Fixed(len(listed), len(LEVELS.columns))
            .uuid(ids[product])
            .uuid(rendered.warehouse_ids[warehouse])
            .int4(stock.quantity[listed])
            .int4(stock.reserved[listed])
            .moment(np.full(len(listed), plan.now_ms))
            .build()
        ),
    )
    ledger = stock.ledger
    kinds = pieces(
        piece(kind, reason)
        for kind, reason in (
            ("initial", "opening stock"),
            ("restock", "quarterly delivery"),
            ("settled", "settled orders of the month"),
            ("shipped", ""),
        )
    )
    for at in range(0, len(ledger.shelf), 500_000):
        some = slice(at, at + 500_000)
        shelf = ledger.shelf[some]
        head = (
            Fixed(len(shelf), len(LEDGER.columns))
            .uuid(ids[shelf // len(WAREHOUSES)])
            .uuid(rendered.warehouse_ids[shelf % len(WAREHOUSES)])
            .int4(ledger.delta[some])
            .int4(ledger.balance[some])
            .moment(ledger.moment[some])
            .build()
        )
        of_order = ledger.order[some]
        orders = (
            chosen_of(
                of_order >= 0,
                Fixed(len(shelf)).uuid(ledger.order_ids[np.maximum(of_order, 0)]).build(),
                NULL,
            )
            if len(ledger.order_ids)
            else take(pieces([NULL]), np.zeros(len(shelf), dtype=np.int64))
        )
        yield LEDGER, payload(head, take(kinds, ledger.kind[some]), orders)

"""What lies in the warehouses once the history is over, and the ledger's lines that led to it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from seed.goods import LOW_SHARE, Draft
from seed.ids import Bytes
from seed.places import WAREHOUSES
from seed.plan import DAY_MS, STOCK, Plan

if TYPE_CHECKING:
    from seed.rows.inventory import Movements

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

EVERYWHERE_SHARE: Final = 0.95
"""Products that every warehouse has; the others lie in two to four of them, so some orders come in several parcels."""

INITIAL, RESTOCK, SETTLED, SHIPPED = range(4)
"""Kinds of ledger lines."""

_MONTHS_A_DELIVERY: Final = 3


@dataclass(frozen=True)
class Ledger:
    """Lines in the order of time. ``shelf`` is a product and warehouse, ``order`` a row of ``order_ids`` or −1."""

    shelf: Ints
    kind: Ints
    delta: Ints
    balance: Ints
    moment: Ints
    order: Ints
    order_ids: Bytes


@dataclass(frozen=True)
class Stock:
    """Units by shelf (product × warehouse): on hand now, and of these held for open orders."""

    quantity: Ints
    reserved: Ints
    listed: Flags
    ledger: Ledger


def stocked(plan: Plan) -> Flags:
    """Which products lie in which warehouses."""
    generator = plan.generator(STOCK, 1)
    count, sites = plan.products, len(WAREHOUSES)
    kept = np.where(generator.random(count) < EVERYWHERE_SHARE, sites, generator.integers(2, sites, count))
    preference = generator.random((count, sites)) ** (1 / np.array([site.share for site in WAREHOUSES]))
    rank = np.argsort(np.argsort(-preference, axis=1), axis=1)
    found: Flags = rank < kept[:, None]
    return found


def stock(plan: Plan, goods: Draft, where: Flags, moved: Iterable["Movements"]) -> Stock:
    """What must have been there, given what the orders took and hold."""
    months, shelves = len(plan.months), plan.products * len(WAREHOUSES)
    settled = np.zeros(months * shelves, dtype=np.int32)
    reserved = np.zeros(shelves, dtype=np.int64)
    parts: list[Movements] = []
    for part in moved:
        settled[part.settled[0]] += part.settled[1].astype(np.int32)
        reserved[part.held[0]] += part.held[1]
        if len(part.shipped_orders):
            parts.append(part)
    free = _free(plan, goods, where)
    quantity = reserved + free.reshape(-1)
    ledger, listed = _ledger(plan, goods, settled.reshape(months, shelves), quantity, where.reshape(-1), parts)
    return Stock(quantity, reserved, listed, ledger)


def _free(plan: Plan, goods: Draft, where: Flags) -> Ints:
    """Units that can be sold now: 50–500 of most products, 10–50 of a fifth, none of a tenth (specification)."""
    generator = plan.generator(STOCK, 2)
    count = plan.products
    wished = generator.integers(50, 501, count)
    left = np.flatnonzero(~goods.sold_out)
    scarce = generator.permutation(left)[: round(count * LOW_SHARE)]
    wished[scarce] = generator.integers(10, 50, len(scarce))
    wished[goods.sold_out] = 0
    shares = where * np.array([site.share for site in WAREHOUSES])
    free: Ints = generator.multinomial(wished, shares / shares.sum(axis=1, keepdims=True))
    return free


def _ledger(
    plan: Plan, goods: Draft, settled: npt.NDArray[np.int32], quantity: Ints, where: Flags, parts: list["Movements"]
) -> tuple[Ledger, Flags]:
    shelves = settled.shape[1]
    starts = np.array([int(month.timestamp() * 1000) for month in plan.months])
    ends = np.append(starts[1:], plan.now_ms) - 1
    shelf = np.concatenate([part.shipped[0] for part in parts] or [np.empty(0, dtype=np.int64)])
    units = np.concatenate([part.shipped[1] for part in parts] or [np.empty(0, dtype=np.int64)])
    moment = np.concatenate([part.shipped[2] for part in parts] or [np.empty(0, dtype=np.int64)])
    order_ids = np.concatenate([part.shipped_orders for part in parts] or [np.empty((0, 16), dtype=np.uint8)])
    month = np.maximum(np.searchsorted(starts, moment, side="right") - 1, 0)
    taken = settled.astype(np.int64)
    taken += (
        np.bincount(month * shelves + shelf, weights=units, minlength=settled.size)
        .astype(np.int64)
        .reshape(settled.shape)
    )
    # each delivery brings what the time until the next one takes; what lies there now was there from the beginning
    quarters = -(-len(starts) // _MONTHS_A_DELIVERY)
    supply = np.add.reduceat(taken, np.arange(quarters) * _MONTHS_A_DELIVERY, axis=0)
    listed = where | (supply.sum(axis=0) > 0) | (quantity > 0)
    opening = np.flatnonzero(listed)
    created = np.minimum(goods.created_ms[opening // len(WAREHOUSES)], plan.start_ms) - DAY_MS
    lines: list[tuple[Ints, int, Ints, Ints, Ints | None]] = [
        (opening, INITIAL, (quantity + supply[0])[opening], created, None)
    ]
    for quarter in range(1, quarters):
        some = np.flatnonzero(supply[quarter])
        at = np.full(len(some), starts[quarter * _MONTHS_A_DELIVERY])
        lines.append((some, RESTOCK, supply[quarter][some], at, None))
    for number in range(len(starts)):
        some = np.flatnonzero(settled[number])
        lines.append((some, SETTLED, -settled[number][some].astype(np.int64), np.full(len(some), ends[number]), None))
    lines.append((shelf, SHIPPED, -units, moment, np.arange(len(shelf))))
    cells = np.concatenate([line[0] for line in lines])
    kind = np.concatenate([np.full(len(line[0]), line[1]) for line in lines])
    delta = np.concatenate([line[2] for line in lines])
    at = np.concatenate([line[3] for line in lines])
    order = np.concatenate([np.full(len(line[0]), -1) if line[4] is None else line[4] for line in lines])
    ranked = np.lexsort((kind, at))
    cells, kind, delta, at, order = cells[ranked], kind[ranked], delta[ranked], at[ranked], order[ranked]
    return Ledger(cells, kind, delta, _balances(cells, delta), at, order, order_ids), listed


def _balances(cells: Ints, delta: Ints) -> Ints:
    """The running sum of each shelf."""
    by_cell = np.argsort(cells, kind="stable")
    running = np.cumsum(delta[by_cell])
    starts = np.flatnonzero(np.concatenate([[True], cells[by_cell][1:] != cells[by_cell][:-1]]))
    before = np.concatenate([[0], running])[starts]
    balance = np.empty_like(running)
    balance[by_cell] = running - np.repeat(before, np.diff(np.append(starts, len(cells))))
    return balance

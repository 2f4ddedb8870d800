"""What lies in the warehouses once the history is over, and what lay there before it began."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from seed import history
from seed.goods import Goods
from seed.history import Chunk, Ending, Ints, Shelves
from seed.people import People
from seed.places import WAREHOUSES
from seed.plan import STOCK, Plan

LOW_SHARE: Final = 0.20
OUT_SHARE: Final = 0.10
"""Of the products: 10–50 units, none; the rest has 50–500 (specification)."""

HAS_LEFT: Final = (Ending.DELIVERED, Ending.SHIPPED)


@dataclass(frozen=True)
class Stock:
    """Units by product and warehouse: on hand now, held for open orders, and sent out during the history."""

    quantity: Ints
    reserved: Ints
    sent: Ints
    stocked: npt.NDArray[np.bool_]

    @property
    def initial(self) -> Ints:
        """Units before the history began."""
        return self.quantity + self.sent


def shelves(plan: Plan, people: People, goods: Goods) -> Shelves:
    """Two to five warehouses for each product; a tenth of the less popular products is sold out."""
    generator = plan.generator(STOCK, 1)
    count, sites = plan.products, len(WAREHOUSES)
    kept = np.minimum(sites, 2 + generator.integers(0, 5, count))
    preference = generator.random((count, sites)) ** (1 / np.array([site.share for site in WAREHOUSES]))
    rank = np.argsort(np.argsort(-preference, axis=1), axis=1)
    addresses = [customer.address for customer in people.customers]
    places = np.radians([(a.latitude or 0.0, a.longitude or 0.0) for a in addresses])
    sold_out = np.zeros(count, dtype=bool)
    sold_out[_unpopular(goods, generator)[: round(count * OUT_SHARE)]] = True
    return Shelves(stocked=rank < kept[:, None], sold_out=sold_out, distance=_distances(places))


def _unpopular(goods: Goods, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """The less popular half of the products in random order."""
    order = np.argsort(goods.popularity)
    return generator.permutation(order[: -(-len(order) // 2)])


def _distances(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sites = np.radians([(site.latitude, site.longitude) for site in WAREHOUSES])
    lat1, lon1, lat2, lon2 = places[:, None, 0], places[:, None, 1], sites[None, :, 0], sites[None, :, 1]
    haversine = np.sin((lat2 - lat1) / 2) ** 2 + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    distance: npt.NDArray[np.float64] = 2 * 6371.0 * np.arcsin(np.sqrt(haversine))
    return distance


def stock(plan: Plan, people: People, goods: Goods, where: Shelves) -> Stock:
    """Goes through the whole history once and settles what must have been there."""
    sent = np.zeros((plan.products, len(WAREHOUSES)), dtype=np.int64)
    reserved = np.zeros_like(sent)
    for numbers in plan.chunks():
        part = history.chunk(plan, numbers, people, goods, where)
        sent += part.units(has_left(part), plan.products)
        reserved += part.units(part.ending == Ending.PROCESSING, plan.products)
    generator = plan.generator(STOCK, 2)
    wished = generator.integers(50, 501, plan.products)
    scarce = np.zeros(plan.products, dtype=bool)
    unpopular = _unpopular(goods, generator)
    scarce[unpopular[~where.sold_out[unpopular]][: round(plan.products * LOW_SHARE)]] = True
    wished[scarce] = generator.integers(10, 51, int(scarce.sum()))
    wished[where.sold_out] = 0
    free = np.maximum(wished - reserved.sum(axis=1), np.where(where.sold_out, 0, 5))
    shares = where.stocked * np.array([site.share for site in WAREHOUSES])
    shares = shares / shares.sum(axis=1, keepdims=True)
    quantity = reserved + generator.multinomial(free, shares)
    return Stock(quantity=quantity, reserved=reserved, sent=sent, stocked=where.stocked)


def has_left(part: Chunk) -> npt.NDArray[np.bool_]:
    """Which of the orders' units have left the warehouse."""
    return np.isin(part.ending, HAS_LEFT)

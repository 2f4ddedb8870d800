"""A chunk's orders one by one, with everything looked up, ready to be written as rows."""

import datetime as dt
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from seed.goods import Goods, Product
from seed.history import DECLINES, METHODS, Chunk, Ending
from seed.ids import uuid7s
from seed.paths import Path, path
from seed.people import Customer, People

_METHODS = tuple(METHODS)
_DECLINES = tuple(DECLINES)


@dataclass(frozen=True, slots=True)
class PlacedLine:
    """One product of an order, and the number of the warehouse that has it. ``unit_price`` is cents."""

    product: Product
    quantity: int
    unit_price: int
    warehouse: int


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order of the past. ``moments`` are those of its path's steps, creation first; ``total`` is cents."""

    number: int
    order_id: uuid.UUID
    customer: Customer
    ending: Ending
    path: Path
    moments: list[dt.datetime]
    lines: list[PlacedLine]
    total: int
    method: str
    decline: str

    @property
    def created_at(self) -> dt.datetime:
        """When it was placed."""
        return self.moments[0]

    @property
    def updated_at(self) -> dt.datetime:
        """When it last moved."""
        return self.moments[-1]

    @property
    def paid(self) -> bool:
        """Whether its payment was captured, even if it was refunded later."""
        return self.moment("payment.succeeded") is not None

    @property
    def reserved(self) -> bool:
        """Whether stock was held for it, even if it was released or left later."""
        return self.moment("inventory.reserved") is not None

    def moment(self, message_type: str) -> dt.datetime | None:
        """When a message moved the order; None if it never came."""
        step = self.path.step_of.get(message_type)
        return None if step is None else self.moments[step]

    def due(self, message_type: str) -> dt.datetime:
        """:meth:`moment` of a message that must have come."""
        moment = self.moment(message_type)
        if moment is None:
            raise ValueError(f"{self.ending.name} orders never had {message_type}")
        return moment


def placed(part: Chunk, people: People, goods: Goods) -> Iterator[PlacedOrder]:
    """The chunk's orders, oldest first. Their ids follow from the chunk's own generator: call it once a chunk."""
    ids = uuid7s(part.created, part.generator)
    customer, ending, created = part.customer.tolist(), part.ending.tolist(), part.created.tolist()
    steps, method, decline, total = (
        part.steps.tolist(),
        part.method.tolist(),
        part.decline.tolist(),
        part.total.tolist(),
    )
    columns = zip(
        part.has_line.tolist(),
        part.product.tolist(),
        part.quantity.tolist(),
        part.unit_price.tolist(),
        part.warehouse.tolist(),
        strict=True,
    )
    for n, lines in enumerate(columns):
        how = Ending(ending[n])
        course = path(how)
        yield PlacedOrder(
            number=part.numbers[n],
            order_id=ids[n],
            customer=people.customers[customer[n]],
            ending=how,
            path=course,
            moments=[_moment(ms) for ms in (created[n], *steps[n][: len(course.steps) - 1])],
            lines=[
                PlacedLine(goods.products[product], quantity, price, warehouse)
                for has, product, quantity, price, warehouse in zip(*lines, strict=True)
                if has
            ],
            total=total[n],
            method=_METHODS[method[n]],
            decline=_DECLINES[decline[n]],
        )


_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


def _moment(ms: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=ms)

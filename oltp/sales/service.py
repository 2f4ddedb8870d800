"""Use cases of flash sales: what admins do."""

import datetime as dt
from dataclasses import dataclass
from typing import Final

from contracts.events import SaleEnded
from contracts.products import ProductDirectory
from contracts.sales import SaleBooks, SaleFigures
from kit import outbox
from kit.auth import Principal
from kit.errors import Invalid
from kit.ids import is_uuid, new_id
from kit.pagination import decode_cursor
from kit.resources import Resources
from oltp.sales.board import Board
from oltp.sales.domain import Opening, Sale, SaleState, fault
from oltp.sales.errors import SaleNotFound, SaleOverlaps
from oltp.sales.repository import Sales, SaleWriter

SOURCE: Final = "surge/sales"


@dataclass(frozen=True, slots=True)
class SaleView:
    """A sale with its state at the moment of reading, and what became of its units."""

    sale: Sale
    state: SaleState
    figures: SaleFigures


class SaleDesk:
    """Opens, shows and ends sales. A change opens its own transaction: the board looks again after the commit."""

    def __init__(self, resources: Resources, board: Board, products: ProductDirectory, books: SaleBooks) -> None:
        self._database = resources.database
        self._clock = resources.clock
        self._board = board
        self._products = products
        self._books = books

    async def open(self, opening: Opening, admin: Principal) -> SaleView:
        """Opens a sale.

        Raises:
            Invalid: if a field can't be, given the product and its stock.
            SaleOverlaps
        """
        now = self._clock.now()
        product = (await self._products.get_many([opening.product_id])).get(opening.product_id)
        available = (await self._books.available([opening.product_id])).get(opening.product_id, 0)
        wrong = fault(opening, product, available, now)
        if wrong is not None:
            raise Invalid(f"body.{wrong.field}", wrong.message)
        assert product is not None
        sale_id = new_id()
        async with self._database.write() as session:
            sales = SaleWriter(session)
            added = await sales.add(sale_id, opening, currency=product.currency, actor_id=admin.user_id, at=now)
            if not added:
                other = await sales.overlapping(opening.product_id, opening.starts_at, opening.ends_at)
                raise SaleOverlaps(other)
            sale = _found(await sales.get(sale_id))
        await self._board.refresh()
        return await self._view(sale)

    async def show(self, sale_id: str) -> SaleView:
        """A sale.

        Raises:
            SaleNotFound
        """
        async with self._database.read() as session:
            sale = _found(await Sales(session).get(sale_id))
        return await self._view(sale)

    async def page(
        self, *, product_id: str | None, state: SaleState | None, cursor: str | None, limit: int
    ) -> list[SaleView]:
        """Sales, newest first.

        Raises:
            Invalid: if the cursor is none.
        """
        now = self._clock.now()
        async with self._database.read() as session:
            sales = await Sales(session).page(
                product_id=product_id,
                state=state,
                now=now,
                before=None if cursor is None else _position(cursor),
                limit=limit,
            )
        return await self._views(sales)

    async def end(self, sale_id: str, admin: Principal) -> SaleView:
        """Ends a sale now; one that is over stays so. Orders that were accepted before stand, who waits is told.

        Raises:
            SaleNotFound
        """
        now = self._clock.now()
        async with self._database.write() as session:
            sales = SaleWriter(session)
            ended = await sales.end(sale_id, actor_id=admin.user_id, at=now)
            sale = _found(await sales.get(sale_id))
            if ended:
                event = SaleEnded(
                    sale_id=sale_id,
                    product_id=sale.card.product_id,
                    units=sale.card.units,
                    units_per_customer=sale.card.units_per_customer,
                    ended_at=now,
                    actor_id=admin.user_id,
                )
                announced = outbox.announce(event, source=SOURCE, subject=sale.card.product_id, time=now)
                await outbox.publish(session, [announced])
        await self._board.refresh()
        return await self._view(sale)

    async def _view(self, sale: Sale) -> SaleView:
        [view] = await self._views([sale])
        return view

    async def _views(self, sales: list[Sale]) -> list[SaleView]:
        figures = await self._books.figures([sale.card.sale_id for sale in sales])
        now = self._clock.now()
        return [SaleView(sale, sale.state(now), figures.get(sale.card.sale_id, SaleFigures())) for sale in sales]


def _found(sale: Sale | None) -> Sale:
    if sale is None:
        raise SaleNotFound("There is no sale with this id.")
    return sale


def _position(cursor: str) -> tuple[dt.datetime, str]:
    opened_at, sale_id = decode_cursor(cursor, 2)
    try:
        at = dt.datetime.fromisoformat(opened_at)
    except (TypeError, ValueError):
        at = None
    if at is None or at.tzinfo is None or not isinstance(sale_id, str) or not is_uuid(sale_id):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return at, sale_id

"""HTTP to the use cases of flash sales."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from kit.auth import CurrentAdmin
from kit.errors import BadRequest, Forbidden, Invalid, Unauthorized, Unavailable, responses
from kit.pagination import Page, encode_cursor
from oltp.sales.errors import SaleNotFound, SaleOverlaps
from oltp.sales.schemas import SaleOpen, SaleQuery, SaleRead
from oltp.sales.service import SaleDesk

router = APIRouter(
    prefix="/api/admin/sales", tags=["sales"], responses=responses(Invalid, Unavailable, Unauthorized, Forbidden)
)


async def _desk(request: Request) -> SaleDesk:
    state = request.state
    return SaleDesk(state.resources, state.sales, state.products, state.sale_books)


DeskDep = Annotated[SaleDesk, Depends(_desk)]


@router.post(
    "",
    status_code=201,
    summary="Open a flash sale",
    response_model=SaleRead,
    responses=responses(BadRequest, SaleOverlaps),
)
async def open_sale(body: SaleOpen, admin: CurrentAdmin, desk: DeskDep, response: Response) -> SaleRead:
    """Sells a product at a special price for a while, first come, first served. A second one of it must not overlap.

    The units are not taken off the shelf: as long as the sale has not begun, orders at the normal price may buy them.
    """
    view = await desk.open(body.to_domain(), admin)
    response.headers["Location"] = f"/api/admin/sales/{view.sale.card.sale_id}"
    return SaleRead.of(view)


@router.get("", summary="List flash sales", response_model=Page[SaleRead])
async def list_sales(query: Annotated[SaleQuery, Query()], admin: CurrentAdmin, desk: DeskDep) -> Page[SaleRead]:
    """Sales of all times, those opened last first."""
    views = await desk.page(
        product_id=str(query.product_id) if query.product_id else None,
        state=query.state,
        cursor=query.cursor,
        limit=query.limit + 1,
    )
    shown = views[: query.limit]
    last = shown[-1].sale if len(views) > query.limit else None
    return Page(
        items=[SaleRead.of(view) for view in shown],
        next_cursor=encode_cursor(last.opened_at.isoformat(), last.card.sale_id) if last is not None else None,
    )


@router.get("/{sale_id}", summary="Show a flash sale", response_model=SaleRead, responses=responses(SaleNotFound))
async def show_sale(sale_id: uuid.UUID, admin: CurrentAdmin, desk: DeskDep) -> SaleRead:
    """A sale, with how many of its units are paid, held and waited for."""
    return SaleRead.of(await desk.show(str(sale_id)))


@router.post("/{sale_id}/end", summary="End a flash sale", response_model=SaleRead, responses=responses(SaleNotFound))
async def end_sale(sale_id: uuid.UUID, admin: CurrentAdmin, desk: DeskDep) -> SaleRead:
    """Ends a sale now; one that is over stays as it is.

    Orders that were accepted before stand at their price; those that wait for a unit are told that there is none.
    """
    return SaleRead.of(await desk.end(str(sale_id), admin))

"""The inventory routes."""

import uuid
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request

from kit.auth import CurrentAdmin
from kit.db import ReadSessionDep, WriteSessionDep
from kit.errors import Forbidden, Invalid, Unauthorized, Unavailable, responses
from kit.ids import is_uuid
from kit.pagination import Page, decode_cursor, encode_cursor
from oltp.inventory import reconciler, schemas
from oltp.inventory.errors import BelowReserved, KeyReused, TooMuchStock, UnknownProduct, UnknownWarehouse
from oltp.inventory.repository import InventoryReads, ProductStock
from oltp.inventory.schemas import (
    LOW_STOCK,
    Adjustment,
    LedgerKind,
    LedgerRead,
    RebuildRead,
    Restock,
    StockDetail,
    StockRead,
    WarehouseRead,
)
from oltp.inventory.service import StockService

router = APIRouter(tags=["inventory"])

_LEDGER_ROWS: Final = 50
_CHANGE_PROBLEMS: Final = (
    Unauthorized,
    Forbidden,
    UnknownProduct,
    UnknownWarehouse,
    BelowReserved,
    TooMuchStock,
    Invalid,
    KeyReused,
    Unavailable,
)

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="A fresh random value for each change, the same one for each try at it: it is made once.",
        examples=["6f0c2b1e-0a41-4a4f-9f57-1d0a3b8a9d55"],
    ),
]


@router.get(
    "/api/warehouses",
    summary="List the warehouses",
    response_model=list[WarehouseRead],
    responses=responses(Unavailable),
)
async def list_warehouses(session: ReadSessionDep) -> list[WarehouseRead]:
    """Where orders are sent from, preferred warehouses first."""
    return [schemas.warehouse(row) for row in await InventoryReads(session).warehouses()]


@router.get(
    "/api/admin/inventory",
    summary="List products with their stock",
    response_model=Page[StockRead],
    responses=responses(Unauthorized, Forbidden, Invalid, Unavailable),
)
async def list_stock(
    _: CurrentAdmin,
    session: ReadSessionDep,
    request: Request,
    product_id: Annotated[uuid.UUID | None, Query(description="Only this product.")] = None,
    warehouse_id: Annotated[uuid.UUID | None, Query(description="Only units in this warehouse.")] = None,
    low_stock: Annotated[
        bool, Query(description=f"Only products with fewer than {LOW_STOCK} units available there.")
    ] = False,
    limit: Annotated[int, Query(ge=1, le=200, description="Rows a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")] = None,
) -> Page[StockRead]:
    """Keyset-paginated in order of product ids."""
    rows = await InventoryReads(session).stock_page(
        after=_product_id(cursor) if cursor else None,
        limit=limit + 1,
        product_id=str(product_id) if product_id else None,
        warehouse_id=str(warehouse_id) if warehouse_id else None,
        available_below=LOW_STOCK if low_stock else None,
    )
    page = rows[:limit]
    cards = await request.state.products.get_many([row.product_id for row in page])
    return Page(
        items=[schemas.stock(row, cards.get(row.product_id)) for row in page],
        next_cursor=encode_cursor(page[-1].product_id) if len(rows) > limit else None,
    )


@router.post(
    "/api/admin/inventory/rebuild",
    summary="Fill Redis's stock from the database",
    response_model=RebuildRead,
    responses=responses(Unauthorized, Forbidden, Unavailable),
)
async def rebuild(_: CurrentAdmin, request: Request) -> RebuildRead:
    """Goes over all products. The worker does so by itself after a wipe; this is for those who want to be sure now."""
    outcomes = await reconciler.rebuild(request.state.resources)
    return RebuildRead(
        products=outcomes.total(),
        equal=outcomes["equal"],
        filled=outcomes["filled"],
        corrected=outcomes["corrected"],
        busy=outcomes["busy"],
    )


@router.get(
    "/api/admin/inventory/{product_id:uuid}",
    summary="Show a product's stock by warehouse",
    response_model=StockDetail,
    responses=responses(Unauthorized, Forbidden, UnknownProduct, Invalid, Unavailable),
)
async def show_stock(product_id: uuid.UUID, _: CurrentAdmin, session: ReadSessionDep, request: Request) -> StockDetail:
    """Units in each warehouse, and the latest physical changes with who made them and why."""
    reads = InventoryReads(session)
    levels = await reads.levels(str(product_id))
    card = (await request.state.products.get_many([str(product_id)])).get(str(product_id))
    if not levels and card is None:
        raise UnknownProduct(f"There is no product {product_id}.")
    total = ProductStock(
        product_id=str(product_id),
        quantity=sum(row.level.quantity for row in levels),
        reserved=sum(row.level.reserved for row in levels),
        warehouses=len(levels),
    )
    ledger = await reads.ledger(str(product_id), limit=_LEDGER_ROWS)
    return StockDetail(
        **schemas.stock(total, card).model_dump(),
        levels=[schemas.level(row) for row in levels],
        ledger=[schemas.ledger_entry(entry) for entry in ledger],
    )


@router.post(
    "/api/admin/inventory/{product_id}/adjust",
    summary="Correct a product's stock",
    response_model=LedgerRead,
    responses=responses(*_CHANGE_PROBLEMS),
)
async def adjust(
    product_id: uuid.UUID,
    body: Adjustment,
    principal: CurrentAdmin,
    session: WriteSessionDep,
    request: Request,
    key: IdempotencyKey,
) -> LedgerRead:
    """Adds units to a warehouse or takes them away, with a reason; answers with the entry in the ledger.

    409 where orders hold more units than would be left. What can still be bought follows within a moment.
    """
    if body.delta == 0:
        raise Invalid("body.delta", "must not be 0")
    entry = await _stock(session, request).change(
        product_id=str(product_id),
        warehouse_id=str(body.warehouse_id),
        kind=LedgerKind.ADJUSTMENT,
        delta=body.delta,
        reason=body.reason,
        actor_id=principal.user_id,
        idempotency_key=key,
    )
    return schemas.ledger_entry(entry)


@router.post(
    "/api/admin/inventory/{product_id}/restock",
    summary="Put new units on the shelf",
    response_model=LedgerRead,
    responses=responses(*_CHANGE_PROBLEMS),
)
async def restock(
    product_id: uuid.UUID,
    body: Restock,
    principal: CurrentAdmin,
    session: WriteSessionDep,
    request: Request,
    key: IdempotencyKey,
) -> LedgerRead:
    """Adds a delivery to a warehouse; answers with the entry in the ledger."""
    entry = await _stock(session, request).change(
        product_id=str(product_id),
        warehouse_id=str(body.warehouse_id),
        kind=LedgerKind.RESTOCK,
        delta=body.quantity,
        reason=body.reason,
        actor_id=principal.user_id,
        idempotency_key=key,
    )
    return schemas.ledger_entry(entry)


def _stock(session: WriteSessionDep, request: Request) -> StockService:
    return StockService(session, request.state.resources.clock, request.state.products)


def _product_id(cursor: str) -> str:
    (product_id,) = decode_cursor(cursor, 1)
    if not isinstance(product_id, str) or not is_uuid(product_id):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return product_id

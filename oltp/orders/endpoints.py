"""The order routes; the checkout is the gateway's."""

import datetime as dt
import uuid
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Response
from starlette.requests import HTTPConnection

from contracts.orders import CancelReason
from kit.auth import CurrentAdmin, CurrentUser
from kit.db import ReadSessionDep
from kit.errors import Forbidden, Invalid, Unauthorized, Unavailable, responses
from kit.ids import is_uuid
from kit.pagination import Page, decode_cursor, encode_cursor
from oltp.orders.desk import DeskKey, Sort
from oltp.orders.desk_repository import OrderDesk
from oltp.orders.errors import NotCancellable, OrderNotFound
from oltp.orders.live import Live
from oltp.orders.repository import Key
from oltp.orders.schemas import (
    LARGEST_TOTAL,
    AdminOrderDetail,
    AdminOrdersFilter,
    AdminOrdersQuery,
    AdminOrderSummary,
    MyOrdersQuery,
    OrderCount,
    OrderDetail,
    OrderSummary,
    admin_order_detail,
    admin_order_summary,
    order_detail,
    order_summary,
)
from oltp.orders.service import Cancellation, OrderHistory, OrderReader

router = APIRouter(prefix="/api/orders", tags=["orders"])
admin_router = APIRouter(prefix="/api/admin/orders", tags=["orders (admin)"])

_NOT_SETTLED: Final = {
    "description": "The cancellation is under way and not yet decided: read the order again.",
    "headers": {
        "Location": {"description": "Where the order can be read.", "schema": {"type": "string"}, "required": True},
        "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}, "required": True},
    },
}


async def _reader(connection: HTTPConnection) -> OrderReader:
    state = connection.state
    return OrderReader(state.resources.database, state.resources.redis, state.queue, state.order_history)


ReaderDep = Annotated[OrderReader, Depends(_reader)]


async def _history(connection: HTTPConnection) -> OrderHistory:
    history: OrderHistory = connection.state.order_history
    return history


async def _cancellation(connection: HTTPConnection, reader: ReaderDep) -> Cancellation:
    live: Live = connection.state.live
    resources = connection.state.resources
    return Cancellation(reader, live.hub, resources.producer, resources.clock)


HistoryDep = Annotated[OrderHistory, Depends(_history)]
CancellationDep = Annotated[Cancellation, Depends(_cancellation)]


def _after(cursor: str | None) -> Key | None:
    if cursor is None:
        return None
    created_at, order_id = decode_cursor(cursor, 2)
    try:
        moment = dt.datetime.fromisoformat(created_at)
        if moment.tzinfo is None or not is_uuid(order_id):
            raise ValueError(cursor)
        return moment.astimezone(dt.UTC), order_id
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page") from None


def _desk_after(cursor: str | None, sort: Sort) -> DeskKey | None:
    if cursor is None:
        return None
    if not sort.by_total:
        key = _after(cursor)
        return None if key is None else DeskKey(*key)
    total, order_id = decode_cursor(cursor, 2)
    if type(total) is not int or not 0 <= total <= LARGEST_TOTAL or not isinstance(order_id, str):
        raise Invalid("query.cursor", "is not a cursor of this sort; leave it out for the first page")
    if not is_uuid(order_id):
        raise Invalid("query.cursor", "is not a cursor of this sort; leave it out for the first page")
    return DeskKey(total, order_id)


def _cursor(key: Key | None) -> str | None:
    return encode_cursor(*key) if key is not None else None


@router.get(
    "/my-orders",
    summary="List your orders, newest first",
    response_model=Page[OrderSummary],
    responses=responses(Unauthorized, Invalid, Unavailable),
)
async def my_orders(
    principal: CurrentUser,
    history: HistoryDep,
    query: Annotated[MyOrdersQuery, Query()],
) -> Page[OrderSummary]:
    """Keyset-paginated. Statuses follow the orders' events and may be a moment behind the order itself.

    A page may have fewer orders than asked for and still have a next one: a search looks at a bounded number of orders.
    """
    wanted, after = query.to_filter(query.q or ""), _after(query.cursor)
    page = await history.page(principal.user_id, wanted, after=after, limit=query.limit)
    return Page(items=[order_summary(order) for order in page.orders], next_cursor=_cursor(page.more))


@router.get(
    "/{order_id}",
    summary="Read an order",
    response_model=OrderDetail,
    responses=responses(Unauthorized, OrderNotFound, Invalid, Unavailable),
)
async def read_order(order_id: uuid.UUID, principal: CurrentUser, reader: ReaderDep) -> OrderDetail:
    """Items, timeline, payment, and the place in the queue while it waits. Somebody else's order is a 404."""
    return order_detail(await reader.read(str(order_id), principal))


@router.put(
    "/{order_id}/cancel",
    summary="Cancel an order",
    response_model=OrderDetail,
    response_description="Cancelled. An order that was cancelled before, for whatever reason, answers so too.",
    responses={
        202: {"model": OrderDetail, **_NOT_SETTLED},
        **responses(Unauthorized, OrderNotFound, NotCancellable, Invalid, Unavailable),
    },
)
async def cancel_order(
    order_id: uuid.UUID, principal: CurrentUser, cancellation: CancellationDep, response: Response
) -> OrderDetail:
    """Until a parcel has left: what was paid is given back, what was reserved is released. Afterwards 409.

    Repeating it is safe. When shipping and cancellation meet, one of them wins and the answer says which.
    """
    outcome = await cancellation.cancel(str(order_id), principal, CancelReason.CUSTOMER_REQUEST)
    if not outcome.settled:
        _not_settled(response, f"/api/orders/{order_id}")
    return order_detail(outcome.view)


def _not_settled(response: Response, location: str) -> None:
    response.status_code = 202
    response.headers["Location"] = location
    response.headers["Retry-After"] = "1"


@admin_router.get(
    "",
    summary="List everybody's orders",
    response_model=Page[AdminOrderSummary],
    responses=responses(Unauthorized, Forbidden, Invalid, Unavailable),
)
async def list_orders(
    _: CurrentAdmin,
    session: ReadSessionDep,
    query: Annotated[AdminOrdersQuery, Query()],
) -> Page[AdminOrderSummary]:
    """Keyset-paginated; a page costs the same however far it lies. A cursor belongs to its sort.

    A page may have fewer orders than asked for and still have a next one: a search looks at a bounded number of orders.
    """
    after = _desk_after(query.cursor, query.sort)
    found = await OrderDesk(session).page(query.to_desk_filter(), query.sort, after=after, limit=query.limit)
    cursor = None if found.more is None else encode_cursor(found.more.value, found.more.order_id)
    return Page(items=[admin_order_summary(stored) for stored in found.orders], next_cursor=cursor)


@admin_router.get(
    "/count",
    summary="Count everybody's orders",
    response_model=OrderCount,
    responses=responses(Unauthorized, Forbidden, Invalid, Unavailable),
)
async def count_orders(
    _: CurrentAdmin,
    session: ReadSessionDep,
    query: Annotated[AdminOrdersFilter, Query()],
) -> OrderCount:
    """How many orders the list has, up to 10,000: it says whether that is all."""
    found = await OrderDesk(session).count(query.to_desk_filter())
    return OrderCount(count=found.orders, is_exact=found.exact)


@admin_router.get(
    "/{order_id}",
    summary="Read anybody's order with everything that its saga recorded",
    response_model=AdminOrderDetail,
    responses=responses(Unauthorized, Forbidden, OrderNotFound, Invalid, Unavailable),
)
async def read_any_order(order_id: uuid.UUID, principal: CurrentAdmin, reader: ReaderDep) -> AdminOrderDetail:
    """Transitions with the messages that caused them, and the commands that nobody has answered yet."""
    return admin_order_detail(await reader.read(str(order_id), principal))


@admin_router.post(
    "/{order_id}/cancel",
    summary="Cancel anybody's order",
    response_model=AdminOrderDetail,
    response_description="Cancelled. An order that was cancelled before, for whatever reason, answers so too.",
    responses={
        202: {"model": AdminOrderDetail, **_NOT_SETTLED},
        **responses(Unauthorized, Forbidden, OrderNotFound, NotCancellable, Invalid, Unavailable),
    },
)
async def cancel_any_order(
    order_id: uuid.UUID, principal: CurrentAdmin, cancellation: CancellationDep, response: Response
) -> AdminOrderDetail:
    """Until a parcel has left, as the customer can."""
    outcome = await cancellation.cancel(str(order_id), principal, CancelReason.ADMIN_REQUEST)
    if not outcome.settled:
        _not_settled(response, f"/api/admin/orders/{order_id}")
    return admin_order_detail(outcome.view)

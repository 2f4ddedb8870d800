"""The shipping routes."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request

from kit.auth import CurrentAdmin, CurrentUser
from kit.db import ReadSessionDep, WriteSessionDep
from kit.errors import Forbidden, Invalid, NotFound, Unauthorized, Unavailable, responses
from kit.ids import is_uuid
from kit.pagination import Page, decode_cursor, encode_cursor
from oltp.shipping.domain import ParcelStatus
from oltp.shipping.errors import NotShippable
from oltp.shipping.repository import ShipmentFilter
from oltp.shipping.schemas import CarrierName, OrderShipments, ShipmentListItem, list_item, order_shipments
from oltp.shipping.service import ShipmentService

router = APIRouter(tags=["shipping"])


@router.get(
    "/api/orders/{order_id}/shipments",
    summary="Track an order's parcels",
    response_model=OrderShipments,
    responses=responses(Unauthorized, NotFound, Invalid, Unavailable),
)
async def track(
    order_id: uuid.UUID, principal: CurrentUser, session: ReadSessionDep, request: Request
) -> OrderShipments:
    """Parcels with tracking numbers, estimated delivery, position and route.

    404 as long as shipping knows nothing of the order, and for someone else's.
    """
    service = ShipmentService(session, request.state.resources.clock)
    return order_shipments(await service.of_order(str(order_id), principal))


@router.get(
    "/api/admin/shipments",
    summary="List parcels, newest orders first",
    response_model=Page[ShipmentListItem],
    responses=responses(Unauthorized, Forbidden, Invalid, Unavailable),
)
async def list_shipments(
    _: CurrentAdmin,
    session: ReadSessionDep,
    request: Request,
    status: Annotated[ParcelStatus | None, Query(description="Only parcels that stand so.")] = None,
    carrier: Annotated[CarrierName | None, Query()] = None,
    late: Annotated[bool, Query(description="Only parcels that were held up on their way.")] = False,
    limit: Annotated[int, Query(ge=1, le=200, description="Rows a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")] = None,
) -> Page[ShipmentListItem]:
    """Keyset-paginated; a page costs the same however far it lies."""
    narrowed = ShipmentFilter(
        status=status.value if status else None,
        carrier=carrier,
        late=late,
        before=_shipment_id(cursor) if cursor else None,
    )
    service = ShipmentService(session, request.state.resources.clock)
    rows, following = await service.page(narrowed, limit)
    return Page(items=[list_item(row) for row in rows], next_cursor=encode_cursor(following) if following else None)


@router.post(
    "/api/admin/orders/{order_id}/ship",
    summary="Mark an order as shipped",
    response_model=OrderShipments,
    responses=responses(Unauthorized, Forbidden, NotFound, NotShippable, Invalid, Unavailable),
)
async def ship(order_id: uuid.UUID, _: CurrentAdmin, session: WriteSessionDep, request: Request) -> OrderShipments:
    """Hands every booked parcel to its carrier at once; the order becomes `shipped` a moment later.

    409 unless all parcels are booked and none has left.
    """
    service = ShipmentService(session, request.state.resources.clock)
    return order_shipments(await service.ship(session, str(order_id)))


@router.post(
    "/api/admin/orders/{order_id}/deliver",
    summary="Mark an order as delivered",
    response_model=OrderShipments,
    responses=responses(Unauthorized, Forbidden, NotFound, NotShippable, Invalid, Unavailable),
)
async def deliver(order_id: uuid.UUID, _: CurrentAdmin, session: WriteSessionDep, request: Request) -> OrderShipments:
    """Has every parcel arrive at once; the order becomes `delivered` a moment later.

    409 unless a parcel has left and one has not arrived.
    """
    service = ShipmentService(session, request.state.resources.clock)
    return order_shipments(await service.deliver(session, str(order_id)))


def _shipment_id(cursor: str) -> str:
    (shipment_id,) = decode_cursor(cursor, 1)
    if not isinstance(shipment_id, str) or not is_uuid(shipment_id):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return shipment_id

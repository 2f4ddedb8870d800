"""What the API shows of shipments."""

import datetime as dt
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from oltp.shipping.domain import Fulfilment, Parcel, ParcelStatus, State
from oltp.shipping.geography import Point, route
from oltp.shipping.repository import ShipmentRow

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"


class _Read(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Place(_Read):
    """A place on the map."""

    latitude: float = Field(description="Degrees north.", examples=[40.7128])
    longitude: float = Field(description="Degrees east.", examples=[-74.006])


class ShipmentItem(_Read):
    """How many units of a product are in the parcel."""

    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    quantity: int = Field(description="Units.", examples=[2])


class ShipmentRead(_Read):
    """One parcel of an order, from one warehouse."""

    id: uuid.UUID = Field(description="Shipment.", examples=[_ID])
    warehouse_id: uuid.UUID = Field(description="Warehouse that it leaves.", examples=[_ID])
    carrier: str = Field(description="Who carries it.", examples=["Meridian Parcel"])
    service_level: str = Field(description="What the carrier promised.", examples=["standard"])
    tracking_number: str = Field(description="The carrier's number.", examples=["MDP0412345678907"])
    status: ParcelStatus = Field(description="Where it stands.", examples=["in_transit"])
    items: list[ShipmentItem] = Field(description="What is in it.")
    estimated_delivery: dt.datetime = Field(
        description="When it should arrive, delays included.", examples=["2026-03-01T12:00:00Z"]
    )
    delayed_by_seconds: float = Field(description="How much of that is delay.", examples=[0.0])
    dispatched_at: dt.datetime | None = Field(
        description="When it was handed to the carrier.", examples=["2026-02-27T09:30:00Z"]
    )
    delivered_at: dt.datetime | None = Field(description="When it arrived.", examples=[None])


class TrackedShipment(ShipmentRead):
    """A parcel with its way on the map."""

    position: Place | None = Field(description="Where it was last scanned; null where nobody knows the place.")
    route: list[Place] = Field(description="Its way from the warehouse to the address, as a line of places.")


class OrderShipments(_Read):
    """An order's parcels together."""

    order_id: uuid.UUID = Field(description="Order.", examples=[_ID])
    state: State = Field(
        description="`unbooked` while no carrier has taken it; `dispatched` from the first parcel that left to the "
        "last one that arrived.",
        examples=["dispatched"],
    )
    shipments: list[TrackedShipment] = Field(description="The parcels, one per warehouse.")


class ShipmentListItem(ShipmentRead):
    """A parcel in the admin's list."""

    order_id: uuid.UUID = Field(description="Order.", examples=[_ID])
    user_id: uuid.UUID = Field(description="Customer.", examples=[_ID])
    created_at: dt.datetime = Field(description="When it was booked.", examples=["2026-02-26T18:00:00Z"])


CarrierName = Annotated[
    str, Field(min_length=1, max_length=80, pattern=r"^[^\x00]*$", description="Only this carrier's parcels.")
]


def order_shipments(state: Fulfilment) -> OrderShipments:
    """An order's parcels as the API shows them."""
    return OrderShipments(
        order_id=uuid.UUID(state.order_id),
        state=state.state,
        shipments=[
            TrackedShipment(**_fields(parcel), position=_place(parcel.position), route=_route(parcel))
            for parcel in state.parcels
        ],
    )


def list_item(row: ShipmentRow) -> ShipmentListItem:
    """A parcel as the admin's list shows it."""
    return ShipmentListItem(
        **_fields(row.parcel),
        order_id=uuid.UUID(row.order_id),
        user_id=uuid.UUID(row.user_id),
        created_at=row.created_at,
    )


def _fields(parcel: Parcel) -> dict[str, Any]:
    return {
        "id": uuid.UUID(parcel.shipment_id),
        "warehouse_id": uuid.UUID(parcel.warehouse_id),
        "carrier": parcel.carrier,
        "service_level": parcel.service_level,
        "tracking_number": parcel.tracking_number,
        "status": parcel.status,
        "items": [ShipmentItem(product_id=uuid.UUID(i.product_id), quantity=i.quantity) for i in parcel.items],
        "estimated_delivery": parcel.estimated_delivery,
        "delayed_by_seconds": parcel.delayed_by.total_seconds(),
        "dispatched_at": parcel.dispatched_at,
        "delivered_at": parcel.delivered_at,
    }


def _place(point: Point | None) -> Place | None:
    return None if point is None else Place(latitude=point.latitude, longitude=point.longitude)


def _route(parcel: Parcel) -> list[Place]:
    if parcel.origin is None or parcel.destination is None:
        return []
    return [Place(latitude=p.latitude, longitude=p.longitude) for p in route(parcel.origin, parcel.destination)]

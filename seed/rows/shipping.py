"""Schema ``shipping``."""

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import orjson

from oltp.shipping.carriers import CARRIERS, Carrier, CarrierNetwork
from oltp.shipping.domain import derived_id
from oltp.shipping.geography import Point, distance_km
from seed.copy import Table, table
from seed.history import Ending
from seed.placed import PlacedOrder
from seed.places import WAREHOUSES

SITES: Final = table("shipping", "warehouse_locations", "warehouse_id name latitude longitude")
FULFILMENTS: Final = table(
    "shipping", "fulfilments", "order_id user_id state attempt destination next_event_at created_at updated_at"
)
SHIPMENTS: Final = table(
    "shipping",
    "shipments",
    """id order_id user_id warehouse_id carrier service_level tracking_number status items origin_latitude
    origin_longitude destination_latitude destination_longitude legs progress transit_seconds estimated_delivery
    delay_seconds next_event_at dispatched_at delivered_at created_at updated_at""",
)

STANDING: Final = dt.timedelta(days=365)
"""How long the clock leaves open parcels of the past alone, so that a seeded shop looks the same tomorrow."""

DELAYED_SHARE: Final = 0.06

_STATES: Final = {
    Ending.DELIVERED: ("delivered", "delivered"),
    Ending.SHIPPED: ("dispatched", "in_transit"),
    Ending.PROCESSING: ("booked", "booked"),
    Ending.CUSTOMER_REQUEST: ("cancelled", "cancelled"),
    Ending.ADMIN_REQUEST: ("cancelled", "cancelled"),
}

Rows = Iterator[tuple[Table, list[tuple[Any, ...]]]]


def base(warehouses: list[uuid.UUID]) -> Rows:
    """Where the warehouses are."""
    yield (
        SITES,
        [(warehouses[n], site.name, site.latitude, site.longitude) for n, site in enumerate(WAREHOUSES)],
    )


def rows(
    orders: Iterable[PlacedOrder], warehouses: list[uuid.UUID], *, now: dt.datetime, network: CarrierNetwork
) -> Rows:
    """The fulfilments of orders that got as far as shipping, and their parcels."""
    fulfilments: list[tuple[Any, ...]] = []
    shipments: list[tuple[Any, ...]] = []
    for order in orders:
        if order.ending not in _STATES:
            continue
        state, _ = _STATES[order.ending]
        booked_at = order.due("shipment.created")
        next_event_at = now + STANDING if state in ("booked", "dispatched") else None
        address = msgspec.json.encode(order.customer.address).decode()
        customer_id = order.customer.user_id
        fulfilments.append((order.order_id, customer_id, state, 1, address, next_event_at, booked_at, order.updated_at))
        senders = sorted({line.warehouse for line in order.lines})
        shipments += [_shipment(order, sender, warehouses[sender], next_event_at, network) for sender in senders]
    yield FULFILMENTS, fulfilments
    yield SHIPMENTS, shipments


def _shipment(
    order: PlacedOrder,
    warehouse: int,
    warehouse_id: uuid.UUID,
    next_event_at: dt.datetime | None,
    network: CarrierNetwork,
) -> tuple[Any, ...]:
    _, status = _STATES[order.ending]
    bits = order.order_id.int >> (7 * warehouse)
    carrier = _carrier(bits % 1009 / 1009)
    site, address = WAREHOUSES[warehouse], order.customer.address
    latitude, longitude = address.latitude or site.latitude, address.longitude or site.longitude
    distance = distance_km(Point(site.latitude, site.longitude), Point(latitude, longitude))
    transit_hours = carrier.service_level.transit_hours(distance)
    booked_at, sent_at, arrived_at = (
        order.due("shipment.created"),
        order.moment("shipment.in_transit"),
        order.moment("shipment.delivered"),
    )
    promised = booked_at + dt.timedelta(hours=carrier.service_level.handling_hours + transit_hours)
    late = sent_at is not None and bits % 997 / 997 < DELAYED_SHARE
    delay = dt.timedelta(hours=8 + bits % 28) if late else dt.timedelta(0)
    items = [
        {"product_id": str(line.product.product_id), "quantity": line.quantity}
        for line in order.lines
        if line.warehouse == warehouse
    ]
    return (
        uuid.UUID(derived_id(str(order.order_id), str(warehouse_id))),
        order.order_id,
        order.customer.user_id,
        warehouse_id,
        carrier.name,
        carrier.service_level.name,
        f"{carrier.prefix}{bits % 10**13:013d}",
        status,
        orjson.dumps(items).decode(),
        site.latitude,
        site.longitude,
        latitude,
        longitude,
        network.legs,
        network.legs if arrived_at else network.legs // 2 if sent_at else 0,
        transit_hours * 3600 / network.clock_speed,
        promised + delay,
        delay.total_seconds(),
        next_event_at,
        sent_at,
        arrived_at,
        booked_at,
        arrived_at or sent_at or order.updated_at,
    )


def _carrier(drawn: float) -> Carrier:
    for carrier in CARRIERS:
        drawn -= carrier.share
        if drawn < 0:
            return carrier
    return CARRIERS[-1]

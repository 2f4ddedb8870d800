"""Schema ``shipping``."""

import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from oltp.shipping.carriers import CARRIERS, CarrierNetwork
from seed.copy import Table, table
from seed.history import BOOKED, LEFT, Chunk, Ending
from seed.ids import parts
from seed.places import WAREHOUSES
from seed.rendered import Rendered
from seed.rows.orders import Payload, last_step
from seed.rows.payments import moment
from seed.wire import Fixed, chosen_of, joined, json_list, nullable, numbered, payload, piece, pieces, take

SITES: Final = table("shipping", "warehouse_locations", "warehouse_id name latitude longitude")
FULFILMENTS: Final = table(
    "shipping", "fulfilments", "order_id user_id created_at updated_at next_event_at destination state attempt"
)
SHIPMENTS: Final = table(
    "shipping",
    "shipments",
    """id order_id user_id warehouse_id created_at updated_at estimated_delivery origin_latitude origin_longitude
    destination_latitude destination_longitude legs progress transit_seconds delay_seconds tracking_number items
    carrier service_level status next_event_at dispatched_at delivered_at""",
)

STANDING: Final = dt.timedelta(days=365)
"""How long the clock leaves open parcels of the past alone, so that a seeded shop looks the same tomorrow."""

_PARCEL: Final = 32
"""Parts of an order's id from here on are its parcels', by warehouse."""

_STATES: Final = {
    Ending.DELIVERED: ("delivered", "delivered"),
    Ending.SHIPPED: ("dispatched", "in_transit"),
    Ending.PROCESSING: ("booked", "booked"),
    Ending.CUSTOMER_REQUEST: ("cancelled", "cancelled"),
    Ending.ADMIN_REQUEST: ("cancelled", "cancelled"),
}
_OPEN: Final = (Ending.SHIPPED, Ending.PROCESSING)


def base(warehouses: list[uuid.UUID]) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """Where the warehouses are."""
    yield (
        SITES,
        [(warehouses[n], site.name, site.latitude, site.longitude) for n, site in enumerate(WAREHOUSES)],
    )


def rows(part: Chunk, rendered: Rendered, network: CarrierNetwork) -> Iterator[tuple[Table, Payload]]:
    """The fulfilments of orders that got as far as shipping, and their parcels."""
    chosen = np.flatnonzero(part.ended(*BOOKED))
    if len(chosen):
        yield FULFILMENTS, _fulfilments(part, rendered, chosen)
        yield SHIPMENTS, _shipments(part, rendered, network)


def _tracking(carrier: npt.NDArray[np.int64], number: npt.NDArray[np.int64]) -> npt.NDArray[np.bytes_]:
    text = numbered(b"xxx", number, 13).view(np.uint8).reshape(-1, 16)
    text[:, :3] = np.array([list(entry.prefix.encode()) for entry in CARRIERS], dtype=np.uint8)[carrier]
    return text.view("S16").reshape(-1)


def _standing(rendered: Rendered) -> int:
    return rendered.world.plan.now_ms + int(STANDING.total_seconds() * 1000)


def _fulfilments(part: Chunk, rendered: Rendered, chosen: npt.NDArray[np.int64]) -> Payload:
    open_ = part.ended(*_OPEN)[chosen]
    head = (
        Fixed(len(chosen), len(FULFILMENTS.columns))
        .uuid(part.ids[chosen])
        .uuid(rendered.world.people.ids[part.suspicion.customer[chosen]])
        .moment(moment(part, "shipment.created")[chosen])
        .moment(last_step(part)[chosen])
        .build()
    )
    next_event = nullable(Fixed(len(chosen)).moment(np.full(len(chosen), _standing(rendered))).build(), open_)
    # once a parcel has arrived nobody asks again where to
    told = open_ | part.recorded[chosen]
    destination = chosen_of(told, take(rendered.addresses, part.suspicion.address[chosen]), piece(None))
    states = pieces(piece(_STATES[e][0], 1) if e in _STATES else b"" for e in Ending)
    return payload(head, next_event, destination, take(states, part.ending[chosen]))


def _shipments(part: Chunk, rendered: Rendered, network: CarrierNetwork) -> Payload:
    people = rendered.world.people
    lines = np.flatnonzero(part.ended(*BOOKED)[part.line_order])
    order, warehouse = part.line_order[lines], part.warehouse[lines]
    key = order * len(WAREHOUSES) + warehouse
    ranked = np.argsort(key, kind="stable")
    lines, key = lines[ranked], key[ranked]
    starts = np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))
    first = np.append(starts, len(key))
    order, warehouse = key[starts] // len(WAREHOUSES), key[starts] % len(WAREHOUSES)
    count = len(order)
    items = json_list(
        joined(take(rendered.product_entries, part.product[lines]), take(rendered.units, part.quantity[lines])), first
    )
    sites = np.array([(site.latitude, site.longitude) for site in WAREHOUSES])
    home = part.suspicion.address[order]
    sent, arrived = moment(part, "shipment.in_transit")[order], moment(part, "shipment.delivered")[order]
    booked = moment(part, "shipment.created")[order]
    delay = part.delay_ms[order]
    progress = np.where(arrived > 0, network.legs, np.where(sent > 0, network.legs // 2, 0))
    ids = part.ids[order]
    number = np.ascontiguousarray(parts(ids, _PARCEL + warehouse)[:, 8:]).view(">u8").reshape(-1)
    head = (
        Fixed(count, len(SHIPMENTS.columns))
        .uuid(parts(ids, _PARCEL + warehouse))
        .uuid(ids)
        .uuid(people.ids[part.suspicion.customer[order]])
        .uuid(rendered.warehouse_ids[warehouse])
        .moment(booked)
        .moment(np.where(arrived > 0, arrived, np.where(sent > 0, sent, last_step(part)[order])))
        .moment(booked + part.promised_ms[order] + delay)
        .float8(sites[warehouse, 0])
        .float8(sites[warehouse, 1])
        .float8(people.latitude[home])
        .float8(people.longitude[home])
        .int2(np.full(count, network.legs))
        .int2(progress)
        .float8(part.transit_ms[order] / 1000 / network.clock_speed)
        .float8(delay / 1000)
        .ascii(_tracking(part.carrier[order], (number % 10**13).astype(np.int64)))
        .build()
    )
    kinds = pieces(
        piece(carrier.name, carrier.service_level.name, _STATES[ending][1]) if ending in _STATES else b""
        for ending in Ending
        for carrier in CARRIERS
    )
    standing = Fixed(count).moment(np.full(count, _standing(rendered))).build()
    return payload(
        head,
        items,
        take(kinds, part.ending[order] * len(CARRIERS) + part.carrier[order]),
        nullable(standing, part.ended(*_OPEN)[order]),
        nullable(Fixed(count).moment(sent).build(), part.ended(*LEFT)[order]),
        nullable(Fixed(count).moment(arrived).build(), part.ended(Ending.DELIVERED)[order]),
    )

"""An order's fulfilment: what shipping answers to commands, and what its clock does to parcels. Pure.

The order-level :class:`Fulfilment` is the unit of consistency: whoever changes it holds its row's lock, so that a
cancellation, the clock and an admin who race for the same parcels have one outcome. Every function is total: any
message in any order and number has an answer, and a command that comes again gets the answer it got.

=============  ======================  =============================  ==============================
state          shipping.create         shipping.cancel                clock, admin
=============  ======================  =============================  ==============================
none           booked or unbooked      cancelled (a tombstone)        nothing
unbooked       booked or unbooked      cancelled                      nothing
booked         shipment.created        cancelled                      dispatched by the first parcel
dispatched     shipment.created        shipment.cancel_refused        delivered by the last parcel
delivered      shipment.created        shipment.cancel_refused        nothing
cancelled      shipment.failed         shipment.cancelled             nothing
=============  ======================  =============================  ==============================
"""

import datetime as dt
import enum
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from contracts import events
from contracts.commands import CancelShipment, CreateShipment
from contracts.envelope import Message
from contracts.orders import Address, StockLine
from oltp.shipping.carriers import CarrierNetwork
from oltp.shipping.geography import Point, between, distance_km, locate

CANCELLED_BEFORE: Final = "cancelled"
NOTHING_TO_SHIP: Final = "nothing_to_ship"

REMEMBERED_REPLIES: Final = 64
"""Answers kept for redelivered commands. The saga repeats its newest attempts only."""


class State(enum.StrEnum):
    """Where an order's fulfilment stands."""

    UNBOOKED = "unbooked"
    BOOKED = "booked"
    DISPATCHED = "dispatched"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


class ParcelStatus(enum.StrEnum):
    """Where a parcel stands."""

    BOOKED = "booked"
    IN_TRANSIT = "in_transit"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One shipment, from one warehouse.

    ``progress`` counts the legs of the way that lie behind it; ``next_event_at`` is when the clock has to look at it,
    None once it is at rest. ``estimated_delivery`` includes ``delayed_by``. Origin and destination are None where
    nobody knows the place.
    """

    shipment_id: str
    warehouse_id: str
    carrier: str
    service_level: str
    tracking_number: str
    items: tuple[StockLine, ...]
    origin: Point | None
    destination: Point | None
    status: ParcelStatus
    legs: int
    progress: int = 0
    transit: dt.timedelta
    estimated_delivery: dt.datetime
    delayed_by: dt.timedelta = dt.timedelta(0)
    next_event_at: dt.datetime | None
    dispatched_at: dt.datetime | None = None
    delivered_at: dt.datetime | None = None

    @property
    def position(self) -> Point | None:
        """Where it was last scanned."""
        if self.origin is None or self.destination is None:
            return self.origin or self.destination
        return between(self.origin, self.destination, min(self.progress / self.legs, 1.0))


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the command with the message id ``cause``, and when it was first given."""

    cause: str
    message: Message
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened without a command. ``key`` is unique to it: the message's id is made of it."""

    key: str
    message: Message
    at: dt.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Fulfilment:
    """An order's parcels and the answers given about them. ``user_id`` is empty if a cancellation came first."""

    order_id: str
    state: State
    user_id: str = ""
    attempt: int = 0
    destination: Address | None = None
    parcels: tuple[Parcel, ...] = ()
    replies: tuple[Reply, ...] = ()

    @property
    def next_event_at(self) -> dt.datetime | None:
        """When the clock has to look at it; None if it is at rest."""
        return min((p.next_event_at for p in self.parcels if p.next_event_at is not None), default=None)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a command leads to."""

    state: Fulfilment
    reply: Reply


@dataclass(frozen=True, slots=True)
class Progress:
    """What the clock or an admin leads to."""

    state: Fulfilment
    happenings: tuple[Happening, ...]


class NotPossible(Exception):
    """The fulfilment's state forbids what an admin asks for."""

    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.state = state


def decide(
    current: Fulfilment | None,
    command: CreateShipment | CancelShipment,
    *,
    cause: str,
    now: dt.datetime,
    carriers: CarrierNetwork,
    origins: Mapping[str, Point],
) -> Decision:
    """The new state and the answer to a command whose message id is ``cause``.

    ``origins`` are the places of the warehouses; one that is missing there sends its parcels from the destination.
    """
    if current is not None:
        known = next((reply for reply in current.replies if reply.cause == cause), None)
        if known is not None:
            return Decision(current, known)
    if isinstance(command, CancelShipment):
        state, message = _cancel(current, command)
    else:
        state, message = _create(current, command, now=now, carriers=carriers, origins=origins)
    reply = Reply(cause, message, now)
    return Decision(replace(state, replies=(*state.replies, reply)[-REMEMBERED_REPLIES:]), reply)


def advance(current: Fulfilment, *, now: dt.datetime, carriers: CarrierNetwork) -> Progress:
    """Lets every parcel do what it was due to do until ``now``; each thing happens at the moment it was due."""
    happenings: list[Happening] = []
    while (due := current.next_event_at) is not None and due <= now:
        parcel = next(p for p in current.parcels if p.next_event_at == due)
        moved = _hand_over(parcel, due) if parcel.status is ParcelStatus.BOOKED else _move(parcel, due, carriers)
        current, happened = _with_parcel(current, moved, due)
        happenings += happened
    return Progress(current, tuple(happenings))


def dispatch(current: Fulfilment, *, now: dt.datetime) -> Progress:
    """Hands every booked parcel to its carrier at once.

    Raises:
        NotPossible: unless the fulfilment is booked.
    """
    if current.state is not State.BOOKED:
        raise NotPossible(current.state)
    happenings: list[Happening] = []
    for parcel in current.parcels:
        moved = replace(_hand_over(parcel, now), estimated_delivery=now + parcel.transit)
        current, happened = _with_parcel(current, moved, now)
        happenings += happened
    return Progress(current, tuple(happenings))


def deliver(current: Fulfilment, *, now: dt.datetime) -> Progress:
    """Has every parcel arrive at once.

    Raises:
        NotPossible: unless the fulfilment is dispatched.
    """
    if current.state is not State.DISPATCHED:
        raise NotPossible(current.state)
    happenings: list[Happening] = []
    for parcel in current.parcels:
        if parcel.status is ParcelStatus.DELIVERED:
            continue
        handed_over = parcel if parcel.dispatched_at else _hand_over(parcel, now)
        current, happened = _with_parcel(current, _arrive(handed_over, now), now)
        happenings += happened
    return Progress(current, tuple(happenings))


def derived_id(order_id: str, *parts: object) -> str:
    """A UUIDv7 with the order id's time and bits that follow from the parts: sorts by time, and comes out again."""
    order = uuid.UUID(order_id)
    digest = hashlib.blake2b("|".join(map(str, (order_id, *parts))).encode(), digest_size=10).digest()
    number = int.from_bytes(order.bytes[:6] + digest)
    number = number & ~(0xF000 << 64) | (0x7000 << 64)
    number = number & ~(0xC000 << 48) | (0x8000 << 48)
    return str(uuid.UUID(int=number))


def _cancel(current: Fulfilment | None, command: CancelShipment) -> tuple[Fulfilment, Message]:
    cancelled = events.ShipmentCancelled(order_id=command.order_id)
    if current is None:
        return Fulfilment(order_id=command.order_id, state=State.CANCELLED), cancelled
    if current.state in (State.DISPATCHED, State.DELIVERED):
        return current, events.ShipmentCancelRefused(order_id=command.order_id)
    parcels = tuple(replace(p, status=ParcelStatus.CANCELLED, next_event_at=None) for p in current.parcels)
    return replace(current, state=State.CANCELLED, parcels=parcels), cancelled


def _create(
    current: Fulfilment | None,
    command: CreateShipment,
    *,
    now: dt.datetime,
    carriers: CarrierNetwork,
    origins: Mapping[str, Point],
) -> tuple[Fulfilment, Message]:
    order_id = command.order_id
    if current is None:
        current = Fulfilment(order_id=order_id, state=State.UNBOOKED)
    if current.state is State.CANCELLED:
        return current, events.ShipmentFailed(order_id=order_id, reason=CANCELLED_BEFORE)
    if current.state is not State.UNBOOKED:
        return current, _created(current)
    current = replace(
        current,
        user_id=command.user_id,
        destination=command.destination,
        attempt=max(current.attempt, command.attempt),
    )
    refusal = carriers.refusal(order_id, command.attempt) if command.allocations else NOTHING_TO_SHIP
    if refusal is not None:
        return current, events.ShipmentFailed(order_id=order_id, reason=refusal)
    booked = replace(current, state=State.BOOKED, parcels=_book(command, now, carriers, origins))
    return booked, _created(booked)


def _book(
    command: CreateShipment, now: dt.datetime, carriers: CarrierNetwork, origins: Mapping[str, Point]
) -> tuple[Parcel, ...]:
    by_warehouse: dict[str, dict[str, int]] = {}
    for allocation in command.allocations:
        units = by_warehouse.setdefault(allocation.warehouse_id, {})
        units[allocation.product_id] = units.get(allocation.product_id, 0) + allocation.quantity
    destination = locate(command.destination)
    parcels: list[Parcel] = []
    for warehouse_id in sorted(by_warehouse):
        origin = origins.get(warehouse_id, destination)
        end = destination or origin
        distance = distance_km(origin, end) if origin and end else 0.0
        quote = carriers.quote(command.order_id, warehouse_id, command.attempt, distance)
        parcels.append(
            Parcel(
                shipment_id=derived_id(command.order_id, warehouse_id),
                warehouse_id=warehouse_id,
                carrier=quote.carrier,
                service_level=quote.service_level,
                tracking_number=quote.tracking_number,
                items=tuple(StockLine(product_id=p, quantity=q) for p, q in by_warehouse[warehouse_id].items()),
                origin=origin,
                destination=end,
                status=ParcelStatus.BOOKED,
                legs=carriers.legs,
                transit=quote.transit,
                estimated_delivery=now + quote.handling + quote.transit,
                next_event_at=now + quote.handling,
            )
        )
    return tuple(parcels)


def _created(current: Fulfilment) -> Message:
    return events.ShipmentCreated(
        order_id=current.order_id,
        parcels=[
            events.Parcel(
                shipment_id=parcel.shipment_id,
                warehouse_id=parcel.warehouse_id,
                carrier=parcel.carrier,
                service_level=parcel.service_level,
                tracking_number=parcel.tracking_number,
                estimated_delivery=parcel.estimated_delivery,
            )
            for parcel in current.parcels
        ],
    )


def _hand_over(parcel: Parcel, at: dt.datetime) -> Parcel:
    return replace(
        parcel, status=ParcelStatus.IN_TRANSIT, dispatched_at=at, next_event_at=at + parcel.transit / parcel.legs
    )


def _move(parcel: Parcel, at: dt.datetime, carriers: CarrierNetwork) -> Parcel:
    leg = parcel.progress + 1
    delay = None if parcel.delayed_by else carriers.delay(parcel.shipment_id, leg)
    if delay:
        return replace(
            parcel,
            status=ParcelStatus.DELAYED,
            delayed_by=delay,
            estimated_delivery=parcel.estimated_delivery + delay,
            next_event_at=at + delay,
        )
    if leg >= parcel.legs:
        return _arrive(parcel, at)
    next_event_at = at + parcel.transit / parcel.legs
    return replace(parcel, status=ParcelStatus.IN_TRANSIT, progress=leg, next_event_at=next_event_at)


def _arrive(parcel: Parcel, at: dt.datetime) -> Parcel:
    return replace(parcel, status=ParcelStatus.DELIVERED, progress=parcel.legs, delivered_at=at, next_event_at=None)


def _with_parcel(current: Fulfilment, moved: Parcel, at: dt.datetime) -> tuple[Fulfilment, list[Happening]]:
    parcels = tuple(moved if p.shipment_id == moved.shipment_id else p for p in current.parcels)
    key = f"{moved.shipment_id}:{moved.progress}:{moved.status}"
    happenings: list[Happening] = []
    state = current.state
    if state is State.BOOKED:
        state = State.DISPATCHED
        left = events.ShipmentInTransit(order_id=current.order_id, shipment_id=moved.shipment_id, occurred_at=at)
        happenings.append(Happening(key, left, at))
    place = moved.position
    if place is not None:
        tracked = events.ShipmentMoved(
            order_id=current.order_id,
            user_id=current.user_id,
            shipment_id=moved.shipment_id,
            status=moved.status,
            latitude=place.latitude,
            longitude=place.longitude,
            estimated_delivery=moved.estimated_delivery,
            occurred_at=at,
        )
        happenings.append(Happening(key, tracked, at))
    if all(p.status is ParcelStatus.DELIVERED for p in parcels):
        state = State.DELIVERED
        arrived = events.ShipmentDelivered(order_id=current.order_id, occurred_at=at)
        happenings.append(Happening(key, arrived, at))
    return replace(current, state=state, parcels=parcels), happenings

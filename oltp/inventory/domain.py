"""The rules of stock: what each message does to one order's reservation and to the levels. No I/O, no clock.

``decide`` is the whole of it: state and message in, state, stock changes and reply out. A caller keeps one
:class:`Reservation` per order (or None) and a :class:`Stock`, applies ``decision.changes`` to the latter, and stores
``decision.reservation`` in the same transaction. Every order of messages is answered; the same message again changes
nothing and is answered the same.

An order of a flash sale also moves the sale's :class:`oltp.inventory.allotment.Allotment`, by :func:`move`. It may have
to wait, and is then answered when :func:`next_in_line` comes to it, which the caller asks after each batch.
"""

import datetime as dt
import enum
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from contracts.commands import FulfilInventory, ReleaseInventory, ReserveInventory
from contracts.envelope import Message
from contracts.events import (
    InventoryFailed,
    InventoryFulfilled,
    InventoryHoldExpired,
    InventoryReleased,
    InventoryReserved,
    OrderConfirmed,
)
from contracts.orders import Address, Allocation, SaleTerms
from contracts.redis_keys import HOLD_SECONDS
from oltp.inventory.allotment import Allotment, SaleClaim, Share

HOLD: Final = dt.timedelta(seconds=HOLD_SECONDS)
EARTH_RADIUS_KM: Final = 6371.0088

Command = ReserveInventory | ReleaseInventory | FulfilInventory | OrderConfirmed
"""What inventory is told about an order."""


class ReservationStatus(enum.StrEnum):
    """Where one order's reservation stands. All but ``QUEUED`` and ``HELD`` are final."""

    QUEUED = "queued"
    HELD = "held"
    REFUSED = "refused"
    RELEASED = "released"
    FULFILLED = "fulfilled"


class FailureReason(enum.StrEnum):
    """Why nothing was reserved."""

    OUT_OF_STOCK = "out_of_stock"
    UNKNOWN_PRODUCT = "unknown_product"
    SOLD_OUT = "sold_out"
    ALREADY_BOUGHT = "already_bought"
    CANCELLED = "cancelled"


class InvalidDemand(ValueError):
    """A reservation without lines, or with a line of no units."""


class OutOfBounds(ValueError):
    """A change would leave a level outside ``0 <= reserved <= quantity``."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """Where stock lies. A lower ``priority`` is preferred where distance says nothing."""

    warehouse_id: str
    country: str
    latitude: float
    longitude: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """One product in one warehouse: units on the shelf, and how many of them are reserved."""

    quantity: int
    reserved: int = 0

    @property
    def available(self) -> int:
        """Units that can still be reserved."""
        return self.quantity - self.reserved


@dataclass(frozen=True, slots=True)
class StockChange:
    """By how much a level moves."""

    product_id: str
    warehouse_id: str
    quantity: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class Reservation:
    """One order's claim on stock.

    ``allocations`` and ``expires_at`` stay after a release or fulfilment; a released one without them is the tombstone
    of a release that came before its reserve. ``reason`` and ``product_ids`` say why one was refused. ``claim`` is what
    an order of a flash sale wants of it, unless it was refused at once.
    """

    order_id: str
    status: ReservationStatus
    allocations: tuple[Allocation, ...] = ()
    expires_at: dt.datetime | None = None
    reason: str = ""
    product_ids: tuple[str, ...] = ()
    confirmed: bool = False
    claim: SaleClaim | None = None

    @property
    def share(self) -> Share:
        """What it has of its sale's allotment. Units that left the warehouse were paid, whatever was heard of it."""
        units = 0 if self.claim is None else self.claim.units
        if self.status is ReservationStatus.QUEUED:
            return Share(waiting=units)
        if self.status is ReservationStatus.HELD:
            return Share(taken=units, paid=units if self.confirmed else 0)
        return Share(taken=units, paid=units) if self.status is ReservationStatus.FULFILLED else Share()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an order can't be reserved, and for which products."""

    reason: FailureReason
    product_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What a message led to.

    ``reservation`` is the order's new state (None: there is still none), ``changes`` are to be applied to the stock,
    ``reply`` is the answer. A reserve that has to wait gets none yet; and a fulfilment of what is not held gets none,
    so that it stays visible as unanswered.
    """

    reservation: Reservation | None
    changes: tuple[StockChange, ...] = ()
    reply: Message | None = None


class Stock:
    """The levels that a decision may look at. Whoever decides applies the changes; the books always balance."""

    def __init__(self, warehouses: Iterable[Warehouse], levels: Mapping[tuple[str, str], Level]) -> None:
        """Takes the warehouses and the level of each (product id, warehouse id)."""
        self.warehouses = {warehouse.warehouse_id: warehouse for warehouse in warehouses}
        self._products: dict[str, dict[str, Level]] = {}
        for (product_id, warehouse_id), level in levels.items():
            _check(product_id, warehouse_id, level)
            self._products.setdefault(product_id, {})[warehouse_id] = level

    def knows(self, product_id: str) -> bool:
        """Whether any warehouse lists the product, even with nothing on the shelf."""
        return product_id in self._products

    def level(self, product_id: str, warehouse_id: str) -> Level:
        """A product's level in one warehouse; nothing where it is not listed."""
        return self._products.get(product_id, {}).get(warehouse_id, Level(0))

    def available(self, product_id: str) -> int:
        """Units of a product that can still be reserved, over all warehouses."""
        return sum(level.available for level in self._products.get(product_id, {}).values())

    def levels(self) -> dict[tuple[str, str], Level]:
        """All levels by (product id, warehouse id)."""
        return {(p, w): level for p, warehouses in self._products.items() for w, level in warehouses.items()}

    def apply(self, changes: Iterable[StockChange]) -> None:
        """Moves the levels, all or none.

        Raises:
            OutOfBounds: if a level would leave ``0 <= reserved <= quantity``.
        """
        moved: dict[tuple[str, str], Level] = {}
        for change in changes:
            key = change.product_id, change.warehouse_id
            level = moved.get(key) or self.level(*key)
            moved[key] = Level(level.quantity + change.quantity, level.reserved + change.reserved)
        for key, level in moved.items():
            _check(*key, level)
        for (product_id, warehouse_id), level in moved.items():
            self._products.setdefault(product_id, {})[warehouse_id] = level


def _check(product_id: str, warehouse_id: str, level: Level) -> None:
    if not 0 <= level.reserved <= level.quantity:
        raise OutOfBounds(f"product {product_id} in warehouse {warehouse_id}: {level}")


def demand(command: ReserveInventory) -> dict[str, int]:
    """Units wanted of each product, lines of the same product added up.

    Raises:
        InvalidDemand: if there are no lines, or one asks for less than one unit.
    """
    wanted: dict[str, int] = {}
    for line in command.lines:
        if line.quantity < 1:
            raise InvalidDemand(f"order {command.order_id} wants {line.quantity} units of product {line.product_id}")
        wanted[line.product_id] = wanted.get(line.product_id, 0) + line.quantity
    if not wanted:
        raise InvalidDemand(f"order {command.order_id} wants nothing")
    return wanted


def decide(
    current: Reservation | None,
    command: Command,
    stock: Stock,
    now: dt.datetime,
    *,
    hold: dt.timedelta = HOLD,
    refusal: Refusal | None = None,
    allotment: Allotment | None = None,
) -> Decision:
    """What ``command`` does to its order's reservation.

    Args:
        current: the order's reservation, if it has one.
        command: what is asked.
        stock: levels of at least the products that ``command`` and ``current`` name.
        now: the moment of the decision.
        hold: how long an unpaid order keeps its units.
        refusal: the verdict of a gate before the books; a first reserve is refused with it without a look at them.
        allotment: that of the flash sale which a reserve names.

    Raises:
        InvalidDemand: if a reserve asks for nothing.
    """
    if isinstance(command, ReserveInventory):
        if current is not None:
            return Decision(current, reply=_reserve_reply(current))
        if command.sale is not None:
            assert allotment is not None, "whoever decides on a sale's order has its allotment"
            return _reserve_in_sale(command, command.sale, allotment, stock, now, hold)
        return _reserve(command, stock, now, hold, refusal)
    if isinstance(command, ReleaseInventory):
        return _release(current, command)
    if isinstance(command, FulfilInventory):
        return _fulfil(current, command)
    if current is not None and current.status is ReservationStatus.HELD:
        return Decision(replace(current, confirmed=True))
    return Decision(current)


def move(allotment: Allotment, before: Reservation | None, after: Reservation) -> None:
    """Moves a sale's allotment by what a decision made of an order's reservation.

    Raises:
        Oversold: if it would leave its bounds.
    """
    claim = after.claim or (before.claim if before is not None else None)
    if claim is not None:
        allotment.apply(claim, before.share if before is not None else Share(), after.share)


def next_in_line(allotment: Allotment, stock: Stock, now: dt.datetime, *, hold: dt.timedelta = HOLD) -> Decision | None:
    """What becomes of one of those who wait; None if everybody goes on waiting.

    To be asked again once the decision is applied to the stock and the allotment. Who can't get anything any more is
    told so; otherwise the first in line gets the units that are free, or waits until there are enough: nobody is
    passed.
    """
    claim = allotment.next_claim()
    if claim is None:
        return None
    assert claim.command is not None, "who waits does so with the command"
    if allotment.closed or allotment.never_free(claim.units):
        return _refused(claim.order_id, Refusal(FailureReason.SOLD_OUT, (allotment.terms.product_id,)), claim)
    return _hold(claim.command, stock, now, hold, claim)


def _reserve(
    command: ReserveInventory, stock: Stock, now: dt.datetime, hold: dt.timedelta, refusal: Refusal | None
) -> Decision:
    if refusal is not None:
        demand(command)
        return _refused(command.order_id, refusal)
    return _hold(command, stock, now, hold)


def _reserve_in_sale(
    command: ReserveInventory,
    sale: SaleTerms,
    allotment: Allotment,
    stock: Stock,
    now: dt.datetime,
    hold: dt.timedelta,
) -> Decision:
    units = demand(command).get(sale.product_id, 0)
    if units < 1:
        raise InvalidDemand(f"order {command.order_id} wants nothing of sale {sale.sale_id}")
    if allotment.over_share(command.customer_id, units):
        return _refused(command.order_id, Refusal(FailureReason.ALREADY_BOUGHT, (sale.product_id,)))
    waits = allotment.waiting > 0 or not allotment.free(units)
    if allotment.never_free(units) or (waits and allotment.closed):
        return _refused(command.order_id, Refusal(FailureReason.SOLD_OUT, (sale.product_id,)))
    claim = SaleClaim(command.order_id, sale.sale_id, command.customer_id, units, allotment.last_place + 1)
    if waits:
        claim = replace(claim, command=command)
        return Decision(Reservation(order_id=command.order_id, status=ReservationStatus.QUEUED, claim=claim))
    return _hold(command, stock, now, hold, claim)


def _hold(
    command: ReserveInventory, stock: Stock, now: dt.datetime, hold: dt.timedelta, claim: SaleClaim | None = None
) -> Decision:
    wanted = demand(command)
    shortage = _shortage(wanted, stock)
    if shortage is not None:
        return _refused(command.order_id, shortage, claim)
    allocations = allocate(wanted, command.destination, stock)
    held = Reservation(
        order_id=command.order_id,
        status=ReservationStatus.HELD,
        allocations=allocations,
        expires_at=now + hold,
        claim=claim and replace(claim, command=None),
    )
    changes = tuple(StockChange(a.product_id, a.warehouse_id, reserved=a.quantity) for a in allocations)
    return Decision(held, changes, _reserve_reply(held))


def _refused(order_id: str, refusal: Refusal, claim: SaleClaim | None = None) -> Decision:
    refused = Reservation(
        order_id=order_id,
        status=ReservationStatus.REFUSED,
        reason=refusal.reason,
        product_ids=refusal.product_ids,
        claim=claim and replace(claim, command=None),
    )
    return Decision(refused, reply=_reserve_reply(refused))


def _reserve_reply(reservation: Reservation) -> Message | None:
    if reservation.status is ReservationStatus.QUEUED:
        return None
    if reservation.expires_at is not None:
        return InventoryReserved(
            order_id=reservation.order_id,
            allocations=list(reservation.allocations),
            expires_at=reservation.expires_at,
        )
    refused = reservation.status is ReservationStatus.REFUSED
    return InventoryFailed(
        order_id=reservation.order_id,
        reason=reservation.reason if refused else FailureReason.CANCELLED.value,
        product_ids=list(reservation.product_ids),
    )


def _shortage(wanted: Mapping[str, int], stock: Stock) -> Refusal | None:
    unknown = tuple(product_id for product_id in wanted if not stock.knows(product_id))
    if unknown:
        return Refusal(FailureReason.UNKNOWN_PRODUCT, unknown)
    short = tuple(product_id for product_id, units in wanted.items() if stock.available(product_id) < units)
    return Refusal(FailureReason.OUT_OF_STOCK, short) if short else None


def _release(current: Reservation | None, command: ReleaseInventory) -> Decision:
    reply = InventoryReleased(order_id=command.order_id, reason=command.reason)
    if current is None:
        tombstone = Reservation(
            order_id=command.order_id, status=ReservationStatus.RELEASED, reason=FailureReason.CANCELLED
        )
        return Decision(tombstone, reply=reply)
    if current.status not in (ReservationStatus.HELD, ReservationStatus.QUEUED):
        return Decision(current, reply=reply)
    changes = tuple(StockChange(a.product_id, a.warehouse_id, reserved=-a.quantity) for a in current.allocations)
    claim = current.claim and replace(current.claim, command=None)
    released = replace(current, status=ReservationStatus.RELEASED, reason=command.reason, claim=claim)
    return Decision(released, changes, reply)


def _fulfil(current: Reservation | None, command: FulfilInventory) -> Decision:
    if current is None or current.status not in (ReservationStatus.HELD, ReservationStatus.FULFILLED):
        return Decision(current)
    reply = InventoryFulfilled(order_id=command.order_id)
    if current.status is ReservationStatus.FULFILLED:
        return Decision(current, reply=reply)
    changes = tuple(
        StockChange(a.product_id, a.warehouse_id, quantity=-a.quantity, reserved=-a.quantity)
        for a in current.allocations
    )
    return Decision(replace(current, status=ReservationStatus.FULFILLED), changes, reply)


def hold_expired(reservation: Reservation, now: dt.datetime) -> InventoryHoldExpired | None:
    """What to say of a hold whose time is over; None while it runs, and once the order is paid or holds nothing."""
    if (
        reservation.status is not ReservationStatus.HELD
        or reservation.confirmed
        or reservation.expires_at is None
        or reservation.expires_at > now
    ):
        return None
    return InventoryHoldExpired(order_id=reservation.order_id, expires_at=reservation.expires_at)


def allocate(wanted: Mapping[str, int], destination: Address, stock: Stock) -> tuple[Allocation, ...]:
    """Which warehouse sends what. Every product must be available in full over all warehouses.

    The nearest warehouse that can send the whole order sends it. If there is none, each product comes from the nearest
    warehouse that has all its units, or else from the nearest ones that have any.

    The parts come ordered by product and warehouse, so that they read the same wherever they were stored.

    Raises:
        OutOfBounds: if a product is not available in full.
    """
    parts = _choose(wanted, destination, stock)
    return tuple(sorted(parts, key=lambda part: (part.product_id, part.warehouse_id)))


def _choose(wanted: Mapping[str, int], destination: Address, stock: Stock) -> list[Allocation]:
    ranked = rank(stock.warehouses.values(), destination)
    for warehouse in ranked:
        if all(stock.level(p, warehouse.warehouse_id).available >= units for p, units in wanted.items()):
            return [_allocation(p, warehouse, units) for p, units in wanted.items()]
    return [part for p, units in wanted.items() for part in _spread(p, units, ranked, stock)]


def _spread(product_id: str, units: int, ranked: list[Warehouse], stock: Stock) -> list[Allocation]:
    for warehouse in ranked:
        if stock.level(product_id, warehouse.warehouse_id).available >= units:
            return [_allocation(product_id, warehouse, units)]
    parts: list[Allocation] = []
    missing = units
    for warehouse in ranked:
        taken = min(missing, stock.level(product_id, warehouse.warehouse_id).available)
        if taken > 0:
            parts.append(_allocation(product_id, warehouse, taken))
            missing -= taken
        if missing == 0:
            return parts
    raise OutOfBounds(f"product {product_id}: {missing} of {units} units are in no warehouse")


def _allocation(product_id: str, warehouse: Warehouse, quantity: int) -> Allocation:
    return Allocation(product_id=product_id, warehouse_id=warehouse.warehouse_id, quantity=quantity)


def rank(warehouses: Iterable[Warehouse], destination: Address) -> list[Warehouse]:
    """Warehouses by preference for a destination.

    By distance where its coordinates are known; otherwise those in its country first, then by priority.
    """
    latitude, longitude = destination.latitude, destination.longitude
    if latitude is not None and longitude is not None and math.isfinite(latitude) and math.isfinite(longitude):
        return sorted(
            warehouses,
            key=lambda w: (
                distance_km(latitude, longitude, w.latitude, w.longitude),
                w.priority,
                w.warehouse_id,
            ),
        )
    country = destination.country.upper()
    return sorted(warehouses, key=lambda w: (w.country.upper() != country, w.priority, w.warehouse_id))


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Great-circle distance (haversine) between two points in degrees."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_phi = math.sin((other_phi - phi) / 2) ** 2
    half_lambda = math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    haversine = half_phi + math.cos(phi) * math.cos(other_phi) * half_lambda
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))

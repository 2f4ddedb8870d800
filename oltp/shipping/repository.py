"""Every query of the shipping schema. Statements on the hot path take a whole batch as arrays."""

import datetime as dt
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, INTEGER, TEXT, TIMESTAMP

from contracts import events
from contracts.envelope import Message, registry
from contracts.orders import Address, StockLine
from kit.db import ReadSession
from oltp.shipping.domain import Fulfilment, Parcel, ParcelStatus, Reply, State
from oltp.shipping.geography import Point


@dataclass(frozen=True, slots=True)
class Record:
    """A fulfilment with the ids that its messages carry on."""

    state: Fulfilment
    correlation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ShipmentRow:
    """A parcel in a list."""

    order_id: str
    user_id: str
    created_at: dt.datetime
    parcel: Parcel


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipmentFilter:
    """What a list is narrowed to; None and False narrow nothing. ``before`` is the last id of the page before."""

    status: str | None = None
    carrier: str | None = None
    late: bool = False
    before: str | None = None


class _ReplyRow(msgspec.Struct):
    cause: str
    type: str
    data: msgspec.Raw
    at: dt.datetime


_encoder: Final = msgspec.json.Encoder()
_address: Final = msgspec.json.Decoder(Address)
_items: Final = msgspec.json.Decoder(tuple[StockLine, ...])
_replies: Final = msgspec.json.Decoder(list[_ReplyRow])

_messages: Final[dict[str, msgspec.json.Decoder[Message]]] = {
    registry.name_of(cls): msgspec.json.Decoder(cls)
    for cls in (
        events.ShipmentCreated,
        events.ShipmentFailed,
        events.ShipmentCancelled,
        events.ShipmentCancelRefused,
    )
}

_TIME: Final = TIMESTAMP(timezone=True)


def _bulk(sql: str, **types: Any) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=ARRAY(type_)) for name, type_ in types.items()))


_FULFILMENT_COLUMNS: Final = {
    "order_ids": TEXT(),
    "user_ids": TEXT(),
    "states": TEXT(),
    "attempts": INTEGER(),
    "destinations": TEXT(),
    "replies": TEXT(),
    "correlations": TEXT(),
    "traces": TEXT(),
    "next_events": _TIME,
}
_FULFILMENT_ROWS: Final = """
    unnest(CAST(:order_ids AS uuid[]), CAST(:user_ids AS uuid[]), :states, :attempts, CAST(:destinations AS jsonb[]),
           CAST(:replies AS jsonb[]), :correlations, :traces, :next_events)
        AS r (order_id, user_id, state, attempt, destination, replies, correlation_id, traceparent, next_event_at)
"""
_INSERT_FULFILMENTS: Final = _bulk(
    f"""
    INSERT INTO shipping.fulfilments (order_id, user_id, state, attempt, destination, replies, correlation_id,
        traceparent, next_event_at, created_at, updated_at)
    SELECT r.*, CAST(:now AS timestamptz), CAST(:now AS timestamptz) FROM {_FULFILMENT_ROWS}
    """,  # noqa: S608
    **_FULFILMENT_COLUMNS,
)
_UPDATE_FULFILMENTS: Final = _bulk(
    f"""
    UPDATE shipping.fulfilments f
    SET user_id = r.user_id, state = r.state, attempt = r.attempt, destination = r.destination, replies = r.replies,
        correlation_id = r.correlation_id, traceparent = r.traceparent, next_event_at = r.next_event_at,
        updated_at = CAST(:now AS timestamptz)
    FROM {_FULFILMENT_ROWS}
    WHERE f.order_id = r.order_id
    """,  # noqa: S608
    **_FULFILMENT_COLUMNS,
)
_SAVE_SHIPMENTS: Final = _bulk(
    """
    INSERT INTO shipping.shipments AS s (id, order_id, user_id, warehouse_id, carrier, service_level, tracking_number,
        status, items, origin_latitude, origin_longitude, destination_latitude, destination_longitude, legs, progress,
        transit_seconds, estimated_delivery, delay_seconds, next_event_at, dispatched_at, delivered_at,
        created_at, updated_at)
    SELECT r.*, CAST(:now AS timestamptz), CAST(:now AS timestamptz)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:order_ids AS uuid[]), CAST(:user_ids AS uuid[]),
        CAST(:warehouse_ids AS uuid[]), :carriers, :service_levels, :tracking_numbers, :statuses,
        CAST(:items AS jsonb[]), :origin_latitudes, :origin_longitudes, :destination_latitudes,
        :destination_longitudes, :legs, :progresses, :transits, :estimates, :delays, :next_events, :dispatches,
        :deliveries) AS r
    ON CONFLICT (id) DO UPDATE
    SET status = excluded.status, progress = excluded.progress, estimated_delivery = excluded.estimated_delivery,
        delay_seconds = excluded.delay_seconds, next_event_at = excluded.next_event_at,
        dispatched_at = excluded.dispatched_at, delivered_at = excluded.delivered_at, updated_at = excluded.updated_at
    """,
    ids=TEXT(),
    order_ids=TEXT(),
    user_ids=TEXT(),
    warehouse_ids=TEXT(),
    carriers=TEXT(),
    service_levels=TEXT(),
    tracking_numbers=TEXT(),
    statuses=TEXT(),
    items=TEXT(),
    origin_latitudes=DOUBLE_PRECISION(),
    origin_longitudes=DOUBLE_PRECISION(),
    destination_latitudes=DOUBLE_PRECISION(),
    destination_longitudes=DOUBLE_PRECISION(),
    legs=INTEGER(),
    progresses=INTEGER(),
    transits=DOUBLE_PRECISION(),
    estimates=_TIME,
    delays=DOUBLE_PRECISION(),
    next_events=_TIME,
    dispatches=_TIME,
    deliveries=_TIME,
)

_SELECT_FULFILMENTS: Final = """
    SELECT CAST(order_id AS text) AS order_id, CAST(user_id AS text) AS user_id, state, attempt,
        CAST(destination AS text) AS destination, CAST(replies AS text) AS replies, correlation_id, traceparent
    FROM shipping.fulfilments
"""
_SELECT_SHIPMENTS: Final = """
    SELECT CAST(id AS text) AS id, CAST(order_id AS text) AS order_id, CAST(user_id AS text) AS user_id,
        CAST(warehouse_id AS text) AS warehouse_id, carrier, service_level, tracking_number, status,
        CAST(items AS text) AS items, origin_latitude, origin_longitude, destination_latitude, destination_longitude,
        legs, progress, transit_seconds, estimated_delivery, delay_seconds, next_event_at, dispatched_at, delivered_at,
        created_at
    FROM shipping.shipments
"""
_LOCK: Final = _bulk(
    _SELECT_FULFILMENTS + " WHERE order_id = ANY(CAST(:ids AS uuid[])) ORDER BY order_id FOR UPDATE", ids=TEXT()
)
_LOCK_DUE: Final = text(
    _SELECT_FULFILMENTS + " WHERE next_event_at <= :now ORDER BY next_event_at LIMIT :most FOR UPDATE SKIP LOCKED"
)
_GET: Final = text(_SELECT_FULFILMENTS + " WHERE order_id = CAST(:id AS uuid)")
_SHIPMENTS_OF: Final = _bulk(
    _SELECT_SHIPMENTS + " WHERE order_id = ANY(CAST(:ids AS uuid[])) ORDER BY order_id, warehouse_id", ids=TEXT()
)
_LOCATIONS: Final = text(
    "SELECT CAST(warehouse_id AS text) AS warehouse_id, latitude, longitude FROM shipping.warehouse_locations"
)


class ShippingRepository:
    """Fulfilments and shipments. What locks or writes needs a :class:`kit.db.WriteSession`, which its owner commits."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def locations(self) -> dict[str, Point]:
        """The places of the warehouses."""
        rows = await self._session.execute(_LOCATIONS)
        return {row.warehouse_id: Point(row.latitude, row.longitude) for row in rows}

    async def get(self, order_id: str) -> Record | None:
        """An order's fulfilment."""
        rows = (await self._session.execute(_GET, {"id": order_id})).all()
        return (await self._with_shipments(rows)).get(order_id)

    async def lock(self, order_ids: Collection[str]) -> dict[str, Record]:
        """Those of the orders' fulfilments that exist, locked in key order until the transaction ends."""
        rows = (await self._session.execute(_LOCK, {"ids": sorted(order_ids)})).all()
        return await self._with_shipments(rows)

    async def lock_due(self, now: dt.datetime, most: int) -> list[Record]:
        """Fulfilments whose time has come, longest overdue first, without those that somebody else has locked."""
        rows = (await self._session.execute(_LOCK_DUE, {"now": now, "most": most})).all()
        return list((await self._with_shipments(rows)).values())

    async def insert(self, records: Sequence[Record], now: dt.datetime) -> None:
        """Stores new fulfilments.

        Raises:
            IntegrityError: if another transaction stored one of them meanwhile.
        """
        await self._write(_INSERT_FULFILMENTS, records, now)

    async def update(self, records: Sequence[Record], now: dt.datetime) -> None:
        """Stores fulfilments that the caller has locked."""
        await self._write(_UPDATE_FULFILMENTS, records, now)

    async def list_shipments(self, narrowed: ShipmentFilter, limit: int) -> list[ShipmentRow]:
        """Parcels, newest orders first (ids sort by the order's time)."""
        conditions = ["TRUE"]
        values: dict[str, Any] = {"limit": limit}
        if narrowed.status is not None:
            conditions.append("status = :status")
            values["status"] = narrowed.status
        if narrowed.carrier is not None:
            conditions.append("carrier = :carrier")
            values["carrier"] = narrowed.carrier
        if narrowed.late:
            conditions.append("delay_seconds > 0")
        if narrowed.before is not None:
            conditions.append("id < CAST(:before AS uuid)")
            values["before"] = narrowed.before
        query = f"{_SELECT_SHIPMENTS} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT :limit"
        rows = await self._session.execute(text(query), values)
        return [ShipmentRow(row.order_id, row.user_id, row.created_at, _parcel(row)) for row in rows]

    async def _with_shipments(self, rows: Sequence[Any]) -> dict[str, Record]:
        if not rows:
            return {}
        parcels: dict[str, list[Parcel]] = {row.order_id: [] for row in rows}
        for row in await self._session.execute(_SHIPMENTS_OF, {"ids": list(parcels)}):
            parcels[row.order_id].append(_parcel(row))
        return {row.order_id: _record(row, parcels[row.order_id]) for row in rows}

    async def _write(self, statement: TextClause, records: Sequence[Record], now: dt.datetime) -> None:
        if not records:
            return
        states = [record.state for record in records]
        await self._session.execute(
            statement,
            {
                "order_ids": [state.order_id for state in states],
                "user_ids": [state.user_id or None for state in states],
                "states": [state.state.value for state in states],
                "attempts": [state.attempt for state in states],
                "destinations": [_json(state.destination) if state.destination else None for state in states],
                "replies": [_json(_reply_rows(state.replies)) for state in states],
                "correlations": [record.correlation_id for record in records],
                "traces": [record.traceparent for record in records],
                "next_events": [state.next_event_at for state in states],
                "now": now,
            },
        )
        parcels = [(state, parcel) for state in states for parcel in state.parcels]
        if not parcels:
            return
        await self._session.execute(
            _SAVE_SHIPMENTS,
            {
                "ids": [parcel.shipment_id for _, parcel in parcels],
                "order_ids": [state.order_id for state, _ in parcels],
                "user_ids": [state.user_id for state, _ in parcels],
                "warehouse_ids": [parcel.warehouse_id for _, parcel in parcels],
                "carriers": [parcel.carrier for _, parcel in parcels],
                "service_levels": [parcel.service_level for _, parcel in parcels],
                "tracking_numbers": [parcel.tracking_number for _, parcel in parcels],
                "statuses": [parcel.status.value for _, parcel in parcels],
                "items": [_json(parcel.items) for _, parcel in parcels],
                "origin_latitudes": [parcel.origin and parcel.origin.latitude for _, parcel in parcels],
                "origin_longitudes": [parcel.origin and parcel.origin.longitude for _, parcel in parcels],
                "destination_latitudes": [parcel.destination and parcel.destination.latitude for _, parcel in parcels],
                "destination_longitudes": [
                    parcel.destination and parcel.destination.longitude for _, parcel in parcels
                ],
                "legs": [parcel.legs for _, parcel in parcels],
                "progresses": [parcel.progress for _, parcel in parcels],
                "transits": [parcel.transit.total_seconds() for _, parcel in parcels],
                "estimates": [parcel.estimated_delivery for _, parcel in parcels],
                "delays": [parcel.delayed_by.total_seconds() for _, parcel in parcels],
                "next_events": [parcel.next_event_at for _, parcel in parcels],
                "dispatches": [parcel.dispatched_at for _, parcel in parcels],
                "deliveries": [parcel.delivered_at for _, parcel in parcels],
                "now": now,
            },
        )


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


def _reply_rows(replies: Iterable[Reply]) -> list[_ReplyRow]:
    return [
        _ReplyRow(
            cause=reply.cause,
            type=registry.name_of(type(reply.message)),
            data=msgspec.Raw(_encoder.encode(reply.message)),
            at=reply.at,
        )
        for reply in replies
    ]


def _reply(row: _ReplyRow) -> Reply:
    return Reply(row.cause, _messages[row.type].decode(row.data), row.at)


def _record(row: Any, parcels: Iterable[Parcel]) -> Record:
    state = Fulfilment(
        order_id=row.order_id,
        state=State(row.state),
        user_id=row.user_id or "",
        attempt=row.attempt,
        destination=_address.decode(row.destination) if row.destination else None,
        parcels=tuple(parcels),
        replies=tuple(map(_reply, _replies.decode(row.replies))),
    )
    return Record(state, row.correlation_id, row.traceparent)


def _point(latitude: float | None, longitude: float | None) -> Point | None:
    return None if latitude is None or longitude is None else Point(latitude, longitude)


def _parcel(row: Any) -> Parcel:
    return Parcel(
        shipment_id=row.id,
        warehouse_id=row.warehouse_id,
        carrier=row.carrier,
        service_level=row.service_level,
        tracking_number=row.tracking_number,
        items=_items.decode(row.items),
        origin=_point(row.origin_latitude, row.origin_longitude),
        destination=_point(row.destination_latitude, row.destination_longitude),
        status=ParcelStatus(row.status),
        legs=row.legs,
        progress=row.progress,
        transit=dt.timedelta(seconds=row.transit_seconds),
        estimated_delivery=row.estimated_delivery,
        delayed_by=dt.timedelta(seconds=row.delay_seconds),
        next_event_at=row.next_event_at,
        dispatched_at=row.dispatched_at,
        delivered_at=row.delivered_at,
    )

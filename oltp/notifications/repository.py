"""Every query of the notifications schema. Statements on the hot path take a whole batch as arrays."""

import datetime as dt
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import CursorResult, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, BOOLEAN, INTEGER, TEXT, TIMESTAMP

from contracts.events import Parcel
from contracts.orders import OrderLine
from kit.db import ReadSession
from kit.ids import new_id
from oltp.notifications.domain import Category, Channel, Preferences, Status, Template, Verdict


@dataclass(frozen=True, slots=True)
class Contact:
    """How a customer is reached, as of a moment: older knowledge never replaces newer."""

    user_id: str
    email: str
    name: str
    phone: str
    as_of: dt.datetime


@dataclass(slots=True)
class KnownOrder:
    """What messages say of an order. Events of different topics add to it in any order."""

    order_id: str
    user_id: str | None = None
    lines: list[OrderLine] | None = None
    parcels: list[Parcel] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """A message to a customer over one channel."""

    id: str
    user_id: str | None
    order_id: str | None
    channel: Channel
    template: Template
    cause_id: str
    correlation_id: str
    params: dict[str, Any]
    status: Status
    attempts: int
    reason: str
    created_at: dt.datetime
    sent_at: dt.datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A notification before it is stored."""

    user_id: str | None
    order_id: str | None
    channel: Channel
    template: Template
    cause_id: str
    correlation_id: str
    params: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a simulated provider would have sent."""

    notification_id: str
    channel: Channel
    recipient: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationFilter:
    """What a list is narrowed to; None narrows nothing. ``before`` is the last id of the page before."""

    user_id: str | None = None
    status: str | None = None
    channel: str | None = None
    before: str | None = None


_encoder: Final = msgspec.json.Encoder()
_params: Final = msgspec.json.Decoder(dict[str, Any])
_lines: Final = msgspec.json.Decoder(list[OrderLine])
_parcels: Final = msgspec.json.Decoder(list[Parcel])
_TIME: Final = TIMESTAMP(timezone=True)


def _bulk(sql: str, **types: Any) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=ARRAY(type_)) for name, type_ in types.items()))


_SAVE_CONTACTS: Final = _bulk(
    """
    INSERT INTO notifications.contacts AS c (user_id, email, name, phone, as_of)
    SELECT * FROM unnest(CAST(:users AS uuid[]), :emails, :names, :phones, :times)
    ON CONFLICT (user_id) DO UPDATE
    SET email = excluded.email, name = excluded.name, phone = excluded.phone, as_of = excluded.as_of
    WHERE c.as_of <= excluded.as_of
    """,
    users=TEXT(),
    emails=TEXT(),
    names=TEXT(),
    phones=TEXT(),
    times=_TIME,
)
_SAVE_ORDERS: Final = _bulk(
    """
    INSERT INTO notifications.orders AS o (order_id, user_id, lines, parcels, created_at)
    SELECT r.*, CAST(:now AS timestamptz)
    FROM unnest(CAST(:orders AS uuid[]), CAST(:users AS uuid[]), CAST(:lines AS jsonb[]), CAST(:parcels AS jsonb[]))
        AS r
    ON CONFLICT (order_id) DO UPDATE
    SET user_id = coalesce(excluded.user_id, o.user_id), lines = coalesce(excluded.lines, o.lines),
        parcels = coalesce(excluded.parcels, o.parcels)
    """,
    orders=TEXT(),
    users=TEXT(),
    lines=TEXT(),
    parcels=TEXT(),
)
_INSERT: Final = _bulk(
    """
    INSERT INTO notifications.notifications (id, user_id, order_id, channel, template, cause_id, correlation_id, params,
        status, next_attempt_at, created_at)
    SELECT r.*, 'pending', CAST(:now AS timestamptz), CAST(:now AS timestamptz)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:users AS uuid[]), CAST(:orders AS uuid[]), :channels, :templates, :causes,
        :correlations, CAST(:params AS jsonb[])) AS r
    ON CONFLICT (cause_id, channel) DO NOTHING
    """,
    ids=TEXT(),
    users=TEXT(),
    orders=TEXT(),
    channels=TEXT(),
    templates=TEXT(),
    causes=TEXT(),
    correlations=TEXT(),
    params=TEXT(),
)
_COLUMNS: Final = """
    CAST(n.id AS text) AS id, CAST(n.user_id AS text) AS user_id, CAST(n.order_id AS text) AS order_id, n.channel,
    n.template, n.cause_id, n.correlation_id, CAST(n.params AS text) AS params, n.status, n.attempts, n.reason,
    n.created_at, n.sent_at
"""
_CLAIM: Final = text(
    f"""
    UPDATE notifications.notifications n SET next_attempt_at = :until
    FROM (
        SELECT id FROM notifications.notifications
        WHERE status = 'pending' AND next_attempt_at <= :now
        ORDER BY next_attempt_at
        LIMIT :most
        FOR UPDATE SKIP LOCKED
    ) due
    WHERE n.id = due.id
    RETURNING {_COLUMNS}
    """  # noqa: S608
)
_SETTLE: Final = _bulk(
    """
    UPDATE notifications.notifications n
    SET user_id = r.user_id, status = r.status, attempts = r.attempts, reason = r.reason,
        next_attempt_at = r.next_attempt_at,
        sent_at = CASE WHEN r.status = 'sent' THEN CAST(:now AS timestamptz) END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:users AS uuid[]), :statuses, :attempts, :reasons, :times)
        AS r (id, user_id, status, attempts, reason, next_attempt_at)
    WHERE n.id = r.id AND n.status = 'pending'
    """,
    ids=TEXT(),
    users=TEXT(),
    statuses=TEXT(),
    attempts=INTEGER(),
    reasons=TEXT(),
    times=_TIME,
)
_CONTACTS: Final = _bulk(
    """
    SELECT CAST(user_id AS text) AS user_id, email, name, phone, as_of FROM notifications.contacts
    WHERE user_id = ANY(CAST(:ids AS uuid[]))
    """,
    ids=TEXT(),
)
_ORDERS: Final = _bulk(
    """
    SELECT CAST(order_id AS text) AS order_id, CAST(user_id AS text) AS user_id, CAST(lines AS text) AS lines,
        CAST(parcels AS text) AS parcels
    FROM notifications.orders WHERE order_id = ANY(CAST(:ids AS uuid[]))
    """,
    ids=TEXT(),
)
_PREFERENCES: Final = _bulk(
    """
    SELECT CAST(user_id AS text) AS user_id, category, channel, enabled FROM notifications.preferences
    WHERE user_id = ANY(CAST(:ids AS uuid[]))
    """,
    ids=TEXT(),
)
_SAVE_PREFERENCES: Final = _bulk(
    """
    INSERT INTO notifications.preferences (user_id, category, channel, enabled, updated_at)
    SELECT CAST(:user AS uuid), r.*, CAST(:now AS timestamptz) FROM unnest(:categories, :channels, :switches) AS r
    ON CONFLICT (user_id, category, channel) DO UPDATE SET enabled = excluded.enabled, updated_at = excluded.updated_at
    """,
    categories=TEXT(),
    channels=TEXT(),
    switches=BOOLEAN(),
)
_RECORD: Final = _bulk(
    """
    INSERT INTO notifications.recordings (notification_id, channel, recipient, body, recorded_at)
    SELECT r.*, CAST(:now AS timestamptz) FROM unnest(CAST(:ids AS uuid[]), :channels, :recipients, :bodies) AS r
    ON CONFLICT (notification_id) DO NOTHING
    """,
    ids=TEXT(),
    channels=TEXT(),
    recipients=TEXT(),
    bodies=TEXT(),
)
_PRUNED: Final = {"notifications": "id", "orders": "order_id", "recordings": "notification_id"}


class NotificationRepository:
    """Contacts, preferences, orders and notifications. What writes needs a :class:`kit.db.WriteSession`."""

    def __init__(self, session: ReadSession) -> None:
        self._session = session

    async def save_contacts(self, contacts: Iterable[Contact]) -> None:
        """Stores contacts, one per customer, unless a newer one is known."""
        rows = sorted(contacts, key=lambda contact: contact.user_id)
        if rows:
            await self._session.execute(
                _SAVE_CONTACTS,
                {
                    "users": [row.user_id for row in rows],
                    "emails": [row.email for row in rows],
                    "names": [row.name for row in rows],
                    "phones": [row.phone for row in rows],
                    "times": [row.as_of for row in rows],
                },
            )

    async def save_orders(self, orders: Iterable[KnownOrder], now: dt.datetime) -> None:
        """Adds to what is known of orders, one row per order."""
        rows = sorted(orders, key=lambda order: order.order_id)
        if rows:
            await self._session.execute(
                _SAVE_ORDERS,
                {
                    "orders": [row.order_id for row in rows],
                    "users": [row.user_id for row in rows],
                    "lines": [_json(row.lines) if row.lines is not None else None for row in rows],
                    "parcels": [_json(row.parcels) if row.parcels is not None else None for row in rows],
                    "now": now,
                },
            )

    async def insert(self, drafts: Sequence[Draft], now: dt.datetime) -> int:
        """Stores those that are new, to be sent at once; returns how many."""
        if not drafts:
            return 0
        result = await self._session.execute(
            _INSERT,
            {
                "ids": [new_id() for _ in drafts],
                "users": [draft.user_id for draft in drafts],
                "orders": [draft.order_id for draft in drafts],
                "channels": [draft.channel.value for draft in drafts],
                "templates": [draft.template.value for draft in drafts],
                "causes": [draft.cause_id for draft in drafts],
                "correlations": [draft.correlation_id for draft in drafts],
                "params": [_json(draft.params) for draft in drafts],
                "now": now,
            },
        )
        assert isinstance(result, CursorResult)
        return result.rowcount

    async def claim(self, now: dt.datetime, *, until: dt.datetime, most: int) -> list[Notification]:
        """Due notifications, oldest first, that nobody else may touch until ``until``."""
        rows = await self._session.execute(_CLAIM, {"now": now, "until": until, "most": most})
        return sorted(map(_notification, rows), key=lambda notification: notification.id)

    async def settle(self, verdicts: Mapping[str, tuple[str | None, Verdict]], now: dt.datetime) -> None:
        """Stores what became of claimed notifications: by id, whose they are and the verdict."""
        rows = sorted(verdicts.items())
        if rows:
            await self._session.execute(
                _SETTLE,
                {
                    "ids": [id for id, _ in rows],
                    "users": [user_id for _, (user_id, _) in rows],
                    "statuses": [verdict.status.value for _, (_, verdict) in rows],
                    "attempts": [verdict.attempts for _, (_, verdict) in rows],
                    "reasons": [verdict.reason[:500].replace("\0", "") for _, (_, verdict) in rows],
                    "times": [verdict.next_attempt_at for _, (_, verdict) in rows],
                    "now": now,
                },
            )

    async def contacts(self, user_ids: Collection[str]) -> dict[str, Contact]:
        """The contacts that are known of customers."""
        rows = await self._session.execute(_CONTACTS, {"ids": list(user_ids)})
        return {row.user_id: Contact(row.user_id, row.email, row.name, row.phone, row.as_of) for row in rows}

    async def orders(self, order_ids: Collection[str]) -> dict[str, KnownOrder]:
        """What is known of orders."""
        rows = await self._session.execute(_ORDERS, {"ids": list(order_ids)})
        return {
            row.order_id: KnownOrder(
                row.order_id,
                row.user_id,
                _lines.decode(row.lines) if row.lines else None,
                _parcels.decode(row.parcels) if row.parcels else None,
            )
            for row in rows
        }

    async def preferences(self, user_ids: Collection[str]) -> dict[str, Preferences]:
        """What each of the customers has switched."""
        switched: dict[str, dict[tuple[Category, Channel], bool]] = {user_id: {} for user_id in user_ids}
        for row in await self._session.execute(_PREFERENCES, {"ids": list(user_ids)}):
            switched[row.user_id][Category(row.category), Channel(row.channel)] = row.enabled
        return {user_id: Preferences(values) for user_id, values in switched.items()}

    async def save_preferences(
        self, user_id: str, switched: Mapping[tuple[Category, Channel], bool], now: dt.datetime
    ) -> None:
        """Stores what a customer has switched."""
        await self._session.execute(
            _SAVE_PREFERENCES,
            {
                "user": user_id,
                "categories": [category.value for category, _ in switched],
                "channels": [channel.value for _, channel in switched],
                "switches": list(switched.values()),
                "now": now,
            },
        )

    async def record(self, recordings: Sequence[Recording], now: dt.datetime) -> None:
        """Stores recordings; one that is known stays as it is."""
        await self._session.execute(
            _RECORD,
            {
                "ids": [recording.notification_id for recording in recordings],
                "channels": [recording.channel.value for recording in recordings],
                "recipients": [recording.recipient for recording in recordings],
                "bodies": [recording.body for recording in recordings],
                "now": now,
            },
        )

    async def page(self, narrowed: NotificationFilter, limit: int) -> list[Notification]:
        """Notifications, newest first (ids sort by time)."""
        conditions = ["TRUE"]
        values: dict[str, Any] = {"limit": limit}
        for column in ("status", "channel"):
            if (value := getattr(narrowed, column)) is not None:
                conditions.append(f"n.{column} = :{column}")
                values[column] = value
        if narrowed.user_id is not None:
            conditions.append("n.user_id = CAST(:user_id AS uuid)")
            values["user_id"] = narrowed.user_id
        if narrowed.before is not None:
            conditions.append("n.id < CAST(:before AS uuid)")
            values["before"] = narrowed.before
        query = (
            f"SELECT {_COLUMNS} FROM notifications.notifications n"  # noqa: S608
            f" WHERE {' AND '.join(conditions)} ORDER BY n.id DESC LIMIT :limit"
        )
        return [_notification(row) for row in await self._session.execute(text(query), values)]

    async def prune(self, before: dt.datetime, most: int) -> int:
        """Deletes at most ``most`` rows of each table that are older; returns how many went."""
        oldest = str(uuid.UUID(int=int(before.timestamp() * 1000) << 80))
        gone = 0
        for table, key in _PRUNED.items():
            statement = f"""
                DELETE FROM notifications.{table} WHERE {key} IN (
                    SELECT {key} FROM notifications.{table} WHERE {key} < CAST(:oldest AS uuid) ORDER BY {key}
                    LIMIT :most
                )
            """  # noqa: S608
            result = await self._session.execute(text(statement), {"oldest": oldest, "most": most})
            assert isinstance(result, CursorResult)
            gone += result.rowcount
        return gone


def _json(value: object) -> str:
    return _encoder.encode(value).decode()


def _notification(row: Any) -> Notification:
    return Notification(
        id=row.id,
        user_id=row.user_id,
        order_id=row.order_id,
        channel=Channel(row.channel),
        template=Template(row.template),
        cause_id=row.cause_id,
        correlation_id=row.correlation_id,
        params=_params.decode(row.params),
        status=Status(row.status),
        attempts=row.attempts,
        reason=row.reason,
        created_at=row.created_at,
        sent_at=row.sent_at,
    )

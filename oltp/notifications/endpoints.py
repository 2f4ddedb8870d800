"""The notification routes."""

import uuid
from typing import Annotated

from fastapi import APIRouter, Query, Request

from kit.auth import CurrentAdmin, CurrentUser
from kit.db import ReadSessionDep, WriteSessionDep
from kit.errors import Forbidden, Invalid, Unauthorized, Unavailable, responses
from kit.ids import is_uuid
from kit.pagination import Page, decode_cursor, encode_cursor
from oltp.notifications.domain import Channel, Status
from oltp.notifications.repository import NotificationFilter, NotificationRepository
from oltp.notifications.schemas import (
    NotificationPreferences,
    NotificationRead,
    notification_read,
    preferences_read,
)
from oltp.notifications.service import NotificationService, PreferenceService

router = APIRouter(tags=["notifications"])

PREFERENCES = "/api/users/me/notification-preferences"


@router.get(
    PREFERENCES,
    summary="See what you are told, and how",
    response_model=NotificationPreferences,
    responses=responses(Unauthorized, Unavailable),
)
async def get_preferences(principal: CurrentUser, session: ReadSessionDep, request: Request) -> NotificationPreferences:
    """Every category over every channel, with what applies by default."""
    service = PreferenceService(NotificationRepository(session), request.state.resources.clock)
    return preferences_read(await service.get(principal.user_id))


@router.put(
    PREFERENCES,
    summary="Choose what you are told, and how",
    response_model=NotificationPreferences,
    responses=responses(Unauthorized, Invalid, Unavailable),
)
async def put_preferences(
    wanted: NotificationPreferences, principal: CurrentUser, session: WriteSessionDep, request: Request
) -> NotificationPreferences:
    """Replaces all of them. Messages that wait to be sent follow the new choice."""
    service = PreferenceService(NotificationRepository(session), request.state.resources.clock)
    return preferences_read(await service.put(principal.user_id, wanted.switches()))


@router.get(
    "/api/admin/notifications",
    summary="List notifications, newest first",
    response_model=Page[NotificationRead],
    responses=responses(Unauthorized, Forbidden, Invalid, Unavailable),
)
async def list_notifications(
    _: CurrentAdmin,
    session: ReadSessionDep,
    user_id: Annotated[uuid.UUID | None, Query(description="Only this customer's.")] = None,
    status: Annotated[Status | None, Query(description="Only those that stand so.")] = None,
    channel: Annotated[Channel | None, Query(description="Only over this channel.")] = None,
    limit: Annotated[int, Query(ge=1, le=200, description="Rows a page.")] = 50,
    cursor: Annotated[str | None, Query(max_length=500, description="`next_cursor` of the page before.")] = None,
) -> Page[NotificationRead]:
    """Keyset-paginated; a page costs the same however far it lies."""
    narrowed = NotificationFilter(
        user_id=str(user_id) if user_id else None,
        status=status.value if status else None,
        channel=channel.value if channel else None,
        before=_notification_id(cursor) if cursor else None,
    )
    rows, following = await NotificationService(NotificationRepository(session)).page(narrowed, limit)
    items = [notification_read(row) for row in rows]
    return Page(items=items, next_cursor=encode_cursor(following) if following else None)


def _notification_id(cursor: str) -> str:
    (notification_id,) = decode_cursor(cursor, 1)
    if not isinstance(notification_id, str) or not is_uuid(notification_id):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return notification_id

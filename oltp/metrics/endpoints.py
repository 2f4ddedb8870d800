"""HTTP to the live metrics."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from kit.auth import CurrentAdmin
from kit.errors import Forbidden, Invalid, Unauthorized, Unavailable, responses
from kit.redis import RedisDep
from kit.resources import Resources
from oltp.metrics.reader import LiveReader
from oltp.metrics.schemas import LiveMetrics, LiveQuery

router = APIRouter(
    prefix="/api/admin/live", tags=["live"], responses=responses(Invalid, Unavailable, Unauthorized, Forbidden)
)


@router.get("", summary="Show what the shop does right now", response_model=LiveMetrics)
async def show_live(
    query: Annotated[LiveQuery, Query()], admin: CurrentAdmin, redis: RedisDep, request: Request
) -> LiveMetrics:
    """Orders, payments, carts, checkouts, lag and errors in windows of event time, up to a second old."""
    resources: Resources = request.state.resources
    now = resources.clock.now()
    live = await LiveReader(redis).read(query.window.window, query.points, int(now.timestamp()))
    return LiveMetrics.of(live, now, resources.settings.currency)

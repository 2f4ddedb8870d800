"""What the API tells of the live metrics. Money is integer minor units (hundredths) of ``currency``."""

import datetime as dt
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from oltp.metrics.domain import Point, Window
from oltp.metrics.reader import MOST_POINTS, Live, Progress


class WindowLength(StrEnum):
    """How long the windows are."""

    SECOND = "1s"
    MINUTE = "1m"
    FIVE_MINUTES = "5m"

    @property
    def window(self) -> Window:
        """The window."""
        return {window.label: window for window in Window}[self.value]


class LiveQuery(BaseModel):
    """Which windows to show."""

    model_config = ConfigDict(extra="forbid")

    window: WindowLength = Field(default=WindowLength.SECOND, description="Length of the windows.", examples=["1s"])
    points: int = Field(
        default=60,
        ge=1,
        le=MOST_POINTS,
        description="How many windows, up to the present one; those of a day are kept.",
        examples=[60],
    )


class LivePoint(BaseModel):
    """One window of event time: what happened in it, whenever it was heard of."""

    model_config = ConfigDict(extra="forbid")

    start: dt.datetime = Field(description="When it began.", examples=["2026-11-27T12:00:00Z"])
    orders: int = Field(description="Orders placed.", examples=[52])
    orders_per_second: float = Field(description="Their mean over the window.", examples=[52.0])
    revenue: int = Field(description="Worth of the orders placed.", examples=[390000])
    confirmed: int = Field(description="Orders paid and confirmed.", examples=[50])
    paid: int = Field(description="Worth of those.", examples=[374000])
    payment_success_rate: float | None = Field(
        description="Part of the payments concluded that succeeded; null: none was.", examples=[0.96]
    )
    cancelled: int = Field(description="Orders cancelled.", examples=[2])
    cancelled_by_reason: dict[str, int] = Field(description="The same by reason.", examples=[{"payment_failed": 2}])
    shipped: int = Field(description="Orders that left.", examples=[31])
    delivered: int = Field(description="Orders that arrived.", examples=[20])
    views: int = Field(description="Products looked at.", examples=[410])
    searches: int = Field(description="Searches.", examples=[120])
    cart_adds: int = Field(description="Additions to carts.", examples=[90])
    cart_removes: int = Field(description="Removals from carts.", examples=[8])
    checkouts: int = Field(description="Checkouts begun.", examples=[61])
    placed: int = Field(description="Checkouts that became an order, as the storefront saw it.", examples=[52])
    errors: int = Field(description="Requests answered with 5xx, and messages that consumers gave up on.", examples=[0])
    errors_by_kind: dict[str, int] = Field(description="The same by kind.", examples=[{"http": 1}])
    active_carts: int | None = Field(
        description="Carts filled, not bought, touched in the last 30 minutes. Highest sample; null: none taken.",
        examples=[314],
    )
    checkout_sessions: int | None = Field(
        description="Visitors at the checkout who have not bought, begun in the last 15 minutes. Highest sample.",
        examples=[21],
    )
    lag: int | None = Field(description="Messages that all consumers had before them. Highest sample.", examples=[12])
    lag_by_group: dict[str, int] = Field(description="The same by consumer group.", examples=[{"order-saga": 3}])

    @classmethod
    def of(cls, point: Point) -> Self:
        """The document of a window."""
        fields = {name: getattr(point, name) for name in cls.model_fields if name != "start"}
        return cls(start=dt.datetime.fromtimestamp(point.start, dt.UTC), **fields)


class LiveProgress(BaseModel):
    """How the counting goes since Redis was last empty."""

    model_config = ConfigDict(extra="forbid")

    counted: int = Field(description="Events counted.", examples=[120000])
    repeated: int = Field(description="Events that came again and were not counted again.", examples=[3])
    late: int = Field(description="Of those counted, how many more than 2 s after their second.", examples=[14])
    out_of_range: int = Field(description="Events older than a day, or of the future.", examples=[0])
    counted_at: dt.datetime | None = Field(description="When anything was last counted.")
    sampled_at: dt.datetime | None = Field(description="When carts, checkouts and lag were last looked at.")

    @classmethod
    def of(cls, progress: Progress) -> Self:
        """The document."""

        def moment(second: int) -> dt.datetime | None:
            return dt.datetime.fromtimestamp(second, dt.UTC) if second else None

        return cls(
            counted=progress.counted,
            repeated=progress.repeated,
            late=progress.late,
            out_of_range=progress.out_of_range,
            counted_at=moment(progress.counted_at),
            sampled_at=moment(progress.sampled_at),
        )


class LiveMetrics(BaseModel):
    """What the shop does right now."""

    model_config = ConfigDict(extra="forbid")

    at: dt.datetime = Field(description="When this was read.", examples=["2026-11-27T12:00:00.250000Z"])
    window: WindowLength = Field(description="Length of the windows.", examples=["1s"])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    points: list[LivePoint] = Field(description="Windows, the oldest first; the last one is not over yet.")
    progress: LiveProgress = Field(description="How the counting goes.")

    @classmethod
    def of(cls, live: Live, at: dt.datetime, currency: str) -> Self:
        """The document."""
        return cls(
            at=at,
            window=WindowLength(live.window.label),
            currency=currency,
            points=[LivePoint.of(point) for point in live.points],
            progress=LiveProgress.of(live.progress),
        )

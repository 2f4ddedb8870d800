"""What the API takes and shows of notifications."""

import datetime as dt
import uuid

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from oltp.notifications.domain import Category, Channel, Preferences, Status, Template
from oltp.notifications.repository import Notification

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ChannelPreferences(_Schema):
    """What comes over one channel."""

    account: StrictBool = Field(description="About the account.", examples=[True])
    orders: StrictBool = Field(description="Confirmations, cancellations, refunds.", examples=[True])
    shipping: StrictBool = Field(description="Parcels: sent, delayed, delivered.", examples=[True])


class NotificationPreferences(_Schema):
    """What a customer is told, and how. SMS has to be asked for; push tells of shipping by default."""

    email: ChannelPreferences = Field(description="Email.")
    sms: ChannelPreferences = Field(description="SMS, to the account's phone number.")
    push: ChannelPreferences = Field(description="Push, to the customer's devices.")

    def switches(self) -> dict[tuple[Category, Channel], bool]:
        """As the domain says it."""
        return {
            (category, channel): bool(getattr(getattr(self, channel.value), category.value))
            for channel in Channel
            for category in Category
        }


class NotificationRead(_Schema):
    """A message to a customer over one channel."""

    id: uuid.UUID = Field(description="Notification.", examples=[_ID])
    user_id: uuid.UUID | None = Field(description="Customer; null while nobody knows whose it is.", examples=[_ID])
    order_id: uuid.UUID | None = Field(description="Order that it is about.", examples=[_ID])
    channel: Channel = Field(description="How it goes out.", examples=["email"])
    template: Template = Field(description="What it says.", examples=["order_confirmed"])
    status: Status = Field(description="Where it stands; `skipped` was never tried, for `reason`.", examples=["sent"])
    attempts: int = Field(description="Answers of the channel so far.", examples=[1])
    reason: str = Field(description="Why it was not sent, or not yet; empty if it was.", examples=[""])
    cause_id: str = Field(description="Message that led to it.", examples=[_ID])
    created_at: dt.datetime = Field(description="When it was noted.", examples=["2026-02-26T18:00:00Z"])
    sent_at: dt.datetime | None = Field(description="When the channel took it.", examples=["2026-02-26T18:00:01Z"])


def preferences_read(preferences: Preferences) -> NotificationPreferences:
    """Preferences as the API shows them, defaults filled in."""
    channels = {
        channel.value: ChannelPreferences(
            **{category.value: preferences.wants(category, channel) for category in Category}
        )
        for channel in Channel
    }
    return NotificationPreferences(**channels)


def notification_read(row: Notification) -> NotificationRead:
    """A notification as the API shows it."""
    return NotificationRead(
        id=uuid.UUID(row.id),
        user_id=uuid.UUID(row.user_id) if row.user_id else None,
        order_id=uuid.UUID(row.order_id) if row.order_id else None,
        channel=row.channel,
        template=row.template,
        status=row.status,
        attempts=row.attempts,
        reason=row.reason,
        cause_id=row.cause_id,
        created_at=row.created_at,
        sent_at=row.sent_at,
    )

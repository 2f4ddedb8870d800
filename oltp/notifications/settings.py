"""Settings of the notifications worker."""

import datetime as dt
from typing import Literal

from pydantic import Field, SecretStr

from kit.settings import Settings
from oltp.notifications.domain import Patience


class NotificationSettings(Settings):
    """The mail server, and how hard it is tried."""

    smtp_host: str = "127.0.0.1"
    smtp_port: int = Field(default=18007, ge=1, le=65535)
    smtp_username: str = ""
    smtp_password: SecretStr = SecretStr("")
    smtp_security: Literal["none", "starttls", "tls"] = "none"
    smtp_connections: int = Field(default=2, ge=1, le=50, description="Connections that are kept open and shared.")
    mail_from: str = Field(default="Surge <orders@surge.example>", description="Sender of every email.")

    notifications_batch: int = Field(default=200, ge=1, description="Most notifications sent in one round.")
    notifications_poll_seconds: float = Field(default=1.0, gt=0, description="How often retries are looked for.")
    notifications_attempts: int = Field(default=8, ge=1, description="Answers of a channel until it has failed.")
    notifications_grace_seconds: float = Field(default=60.0, ge=0, description="How long a recipient may be unknown.")
    notifications_lease_seconds: float = Field(
        default=60.0, ge=1, description="After this time a round that was killed is taken up by another."
    )
    notifications_max_age_seconds: float = Field(
        default=86_400.0, gt=0, description="Older events are no news: a group that reads from the start sends nothing."
    )
    notifications_kept_days: int = Field(default=90, ge=2, description="Rows older than this are deleted.")

    def patience(self) -> Patience:
        """How long a notification is kept trying."""
        return Patience(self.notifications_attempts, dt.timedelta(seconds=self.notifications_grace_seconds))

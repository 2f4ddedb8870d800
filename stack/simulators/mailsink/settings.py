"""Settings of the mail sink. It listens where its process does; SMTP has a port of its own."""

from pathlib import Path

from pydantic import Field

from kit.settings import Settings


class MailSinkSettings(Settings):
    """Where mail comes in, and how much of it is kept."""

    smtp_port: int = Field(default=18007, ge=1, le=65535, description="Port that takes SMTP.")
    home: Path = Field(default=Path(".surge"), description="The instance's directory.")
    mail_state: Path | None = Field(default=None, description="The mailbox's file; `data/mail.sqlite3` in the home.")
    mail_kept: int = Field(default=50_000, ge=1, description="Messages that are kept, the newest.")
    mail_max_bytes: int = Field(default=1024 * 1024, ge=1024, description="Largest message that is taken.")

    @property
    def mailbox_file(self) -> Path:
        """The mailbox's file."""
        return self.mail_state or self.home / "data" / "mail.sqlite3"

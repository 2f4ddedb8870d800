"""Identifiers: UUIDv7 (RFC 9562), so that keys sort by time and indexes grow at one end."""

import uuid

from uuid_utils import uuid7 as _uuid7


def new_id() -> str:
    """A fresh UUIDv7 in its canonical text."""
    return str(_uuid7())


def is_uuid(text: str) -> bool:
    """Whether the text is a UUID in canonical form."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False

"""Whose visit a request belongs to: pure rules on its headers."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from kit.ids import is_uuid

SESSION_HEADER: Final = b"x-session-id"
SESSION_COOKIE: Final = "session_id"

_SEEN: Final = frozenset({SESSION_HEADER, b"cookie", b"authorization", b"user-agent", b"referer"})
_COOKIE: Final = re.compile(rf"(?:^|;)\s*{SESSION_COOKIE}=([0-9A-Fa-f-]{{36}})\s*(?:;|$)")
_TABLET: Final = re.compile(r"iPad|Tablet|Android(?!.*Mobi)")
_DESKTOP: Final = re.compile(r"Windows NT|Macintosh|X11|CrOS")
_MOST_REFERRER: Final = 253


@dataclass(frozen=True, slots=True)
class Traits:
    """What the headers say: the session if one is named, the bearer token, the device, the host that sent it here."""

    session_id: str | None
    token: str
    device: str
    referrer: str


def traits(headers: Iterable[tuple[bytes, bytes]]) -> Traits:
    """What a request's raw headers say of its visitor.

    The session is the ``X-Session-ID`` header or the ``session_id`` cookie, a UUID; anything else counts as none.
    """
    found = {name: value.decode("latin-1") for name, value in headers if name in _SEEN}
    session = found.get(SESSION_HEADER, "")
    if not session and (cookie := _COOKIE.search(found.get(b"cookie", ""))):
        session = cookie[1]
    scheme, _, token = found.get(b"authorization", "").partition(" ")
    return Traits(
        session_id=session.lower() if is_uuid(session) else None,
        token=token.strip() if scheme.lower() == "bearer" else "",
        device=device_of(found.get(b"user-agent", "")),
        referrer=referrer_of(found.get(b"referer", "")),
    )


@lru_cache(maxsize=1024)
def device_of(user_agent: str) -> str:
    """``desktop``, ``mobile``, ``tablet``, or ``other`` for what is no browser."""
    if _TABLET.search(user_agent):
        return "tablet"
    if "Mobi" in user_agent:
        return "mobile"
    return "desktop" if _DESKTOP.search(user_agent) else "other"


@lru_cache(maxsize=1024)
def referrer_of(referer: str) -> str:
    """The host of the page that a visitor came from, or nothing."""
    if not referer:
        return ""
    try:
        return (urlsplit(referer).hostname or "")[:_MOST_REFERRER]
    except ValueError:
        return ""


@lru_cache(maxsize=65_536)
def session_of_user(user_id: str, day: int) -> str:
    """The session of a signed-in visitor who names none: one a day (``day`` counts from 1970-01-01, UTC)."""
    return str(UUID(bytes=sha1(f"{user_id}|{day}".encode(), usedforsecurity=False).digest()[:16], version=5))

"""Whose visit a request belongs to: pure rules on its headers."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from typing import Final
from urllib.parse import urlsplit

SESSION_HEADER: Final = b"x-session-id"

_SEEN: Final = frozenset({SESSION_HEADER, b"cookie", b"authorization", b"user-agent", b"referer"})
_UUID: Final = rb"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"
_HEADER: Final = re.compile(_UUID)
_COOKIE: Final = re.compile(rb"(?:^|;)\s*session_id=(" + _UUID + rb")\s*(?:;|$)")
_TABLET: Final = re.compile(rb"iPad|Tablet|Android(?!.*Mobi)")
_DESKTOP: Final = re.compile(rb"Windows NT|Macintosh|X11|CrOS")
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
    found = {name: value for name, value in headers if name in _SEEN}
    return Traits(
        session_id=_session(found),
        token=_token(found.get(b"authorization", b"")),
        device=device_of(found.get(b"user-agent", b"")),
        referrer=referrer_of(found.get(b"referer", b"")),
    )


def _session(found: Mapping[bytes, bytes]) -> str | None:
    named = found.get(SESSION_HEADER)
    if named is not None:
        return named.decode().lower() if _HEADER.fullmatch(named) else None
    cookie = found.get(b"cookie")
    if cookie is None or (held := _COOKIE.search(cookie)) is None:
        return None
    return held[1].decode().lower()


def _token(authorization: bytes) -> str:
    return authorization[7:].decode("latin-1").strip() if authorization[:7].lower() == b"bearer " else ""


@lru_cache(maxsize=1024)
def device_of(user_agent: bytes) -> str:
    """``desktop``, ``mobile``, ``tablet``, or ``other`` for what is no browser."""
    if _TABLET.search(user_agent):
        return "tablet"
    if b"Mobi" in user_agent:
        return "mobile"
    return "desktop" if _DESKTOP.search(user_agent) else "other"


@lru_cache(maxsize=1024)
def referrer_of(referer: bytes) -> str:
    """The host of the page that a visitor came from, or nothing."""
    if not referer:
        return ""
    try:
        return (urlsplit(referer.decode("latin-1")).hostname or "")[:_MOST_REFERRER]
    except ValueError:
        return ""


@lru_cache(maxsize=65_536)
def session_of_user(user_id: str, day: int) -> str:
    """The session of a signed-in visitor who names none: one a day (``day`` counts from 1970-01-01, UTC)."""
    # a version 5 UUID, without the uuid module's objects
    digest = bytearray(sha1(f"{user_id}|{day}".encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

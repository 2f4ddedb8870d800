"""Rules of accounts: pure, no clock, no I/O."""

import datetime as dt
import enum
import ipaddress
import unicodedata
from dataclasses import dataclass
from typing import Final

MIN_PASSWORD: Final = 10
MAX_PASSWORD: Final = 128

_COMMON: Final = frozenset(
    """
    1234567890 0123456789 0987654321 12345678910 123456789a 1q2w3e4r5t 1qaz2wsx3edc abcdefghij abc1234567
    administrator changeme123 charlie123 computer123 default123 football123 iloveyou123 letmein123 michael123
    password01 password12 password123 password1234 password12345 passw0rd123 p@ssw0rd123 princess123 q1w2e3r4t5
    qazwsxedcrfv qwerty1234 qwerty12345 qwerty123456 qwertyuiop qwertyuiop123 sunshine123 superman123 trustno1trustno1
    welcome123 welcome1234
    """.split()  # noqa: SIM905 - a list of forty quoted words is no easier to read
)


def normalize_email(raw: str) -> str:
    """The form in which an address is stored, compared and written to.

    Compatibility forms and case fall together (NFKC, lower case). Mail only ever goes to this form, so an address
    that merely looks like somebody's after folding reaches that somebody, not the impostor.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", raw.strip()).lower())
    return folded.strip()


def normalize_password(raw: str) -> str:
    """The form in which a password is hashed: what two keyboards type for the same characters is the same (NFKC)."""
    return unicodedata.normalize("NFKC", raw)


def password_weakness(password: str, *, email: str, name: str) -> str | None:
    """What is wrong with a normalised password, or nothing."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        return f"must have {MIN_PASSWORD} to {MAX_PASSWORD} characters"
    folded = password.casefold()
    address = email.casefold()
    if folded in {address, address.partition("@")[0], name.casefold()}:
        return "must not be your email address or name"
    if len(set(folded)) < 4:
        return "must have at least 4 different characters"
    if folded in _COMMON:
        return "is among the first that anyone would guess"
    return None


def client_network(address: str) -> str:
    """What limits count a client by: its IPv4 address, or the /64 that an IPv6 customer has to choose from."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


class RefreshVerdict(enum.Enum):
    """What becomes of a presented refresh token."""

    ROTATE = "rotate"
    """Unused and alive: it is used up, its successor is issued."""
    REPEAT = "repeat"
    """Just rotated, and its successor not used yet: the same successor again (a second tab, a lost answer)."""
    REUSE = "reuse"
    """Used before: somebody has a copy, so the whole family ends."""
    REFUSE = "refuse"
    """Expired, revoked, or the account is disabled."""


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A refresh token that is known, with what its family and its user allow."""

    expires_at: dt.datetime
    rotated_at: dt.datetime | None
    successor_rotated: bool
    family_expires_at: dt.datetime
    family_revoked: bool
    user_active: bool


def judge_refresh(token: PresentedToken, *, now: dt.datetime, grace: dt.timedelta) -> RefreshVerdict:
    """Rotation with reuse detection (RFC 9700, section 4.14.2).

    Within ``grace`` of its rotation a token answers with the successor that was issued for it, never with another one,
    so a family is always a chain and a copy shows as soon as both holders have refreshed.
    """
    if token.family_revoked or not token.user_active or token.family_expires_at <= now:
        return RefreshVerdict.REFUSE
    if token.rotated_at is not None:
        if not token.successor_rotated and now - token.rotated_at < grace:
            return RefreshVerdict.REPEAT
        return RefreshVerdict.REUSE
    return RefreshVerdict.REFUSE if token.expires_at <= now else RefreshVerdict.ROTATE

"""Who is asking: access tokens (JWT, HS256 only) and the dependencies that demand one."""

import datetime as dt
import enum
import hashlib
import hmac
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, cast

import jwt
import msgspec
from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import HTTPConnection

from kit.errors import Forbidden, Unauthorized
from kit.ids import new_id
from kit.settings import Settings

ALGORITHM: Final = "HS256"
TOKEN_TYPE: Final = "access"  # noqa: S105


class Role(enum.StrEnum):
    """What a user may do."""

    CUSTOMER = "customer"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user."""

    user_id: str
    role: Role

    @property
    def is_admin(self) -> bool:
        """Whether the admin's routes are open."""
        return self.role is Role.ADMIN


def issue_access_token(settings: Settings, principal: Principal, now: dt.datetime) -> str:
    """A signed access token that lasts ``access_token_seconds``."""
    claims = {
        "iss": settings.jwt_issuer,
        "aud": settings.jwt_audience,
        "sub": principal.user_id,
        "role": principal.role.value,
        "typ": TOKEN_TYPE,
        "jti": new_id(),
        "iat": now,
        "nbf": now,
        "exp": now + dt.timedelta(seconds=settings.access_token_seconds),
    }
    return jwt.encode(claims, settings.jwt_secret.get_secret_value(), algorithm=ALGORITHM)


def verify_access_token(settings: Settings, token: str) -> Principal:
    """The principal of a token.

    Raises:
        Unauthorized: if it is expired, for someone else, of another type, or not ours.
    """
    try:
        principal, expires_at = _verified(
            token, settings.jwt_secret.get_secret_value(), settings.jwt_issuer, settings.jwt_audience
        )
        if expires_at <= time.time():
            raise jwt.ExpiredSignatureError
    except jwt.ExpiredSignatureError:
        raise Unauthorized("The access token has expired; use the refresh token to get a new one.") from None
    except jwt.InvalidTokenError:
        raise Unauthorized("The access token is not valid; sign in to get one.") from None
    return principal


@lru_cache(maxsize=8192)
def _verified(token: str, secret: str, issuer: str, audience: str) -> tuple[Principal, float]:
    """The principal of a valid token and when it expires. A request may look more than once; the signature stays.

    A token as we make them is looked through here (5 µs); whatever is not plainly right PyJWT judges (50 µs).
    """
    ours = _plainly_ours(token, secret)
    if (
        ours is not None
        and (ours.iss, ours.aud, ours.typ) == (issuer, audience, TOKEN_TYPE)
        and max(ours.nbf, ours.iat) <= time.time() < ours.exp
    ):
        return Principal(ours.sub, ours.role), float(ours.exp)
    claims = jwt.decode(
        token,
        secret,
        algorithms=[ALGORITHM],
        audience=audience,
        issuer=issuer,
        options={"require": ["exp", "iat", "sub", "aud", "iss"]},
    )
    role = claims.get("role")
    if claims.get("typ") != TOKEN_TYPE or role not in set(Role):
        raise Unauthorized("This is not an access token; sign in to get one.")
    return Principal(user_id=claims["sub"], role=Role(role)), float(claims["exp"])


class _Claims(msgspec.Struct):
    iss: str
    aud: str
    sub: str
    role: Role
    typ: str
    iat: int
    nbf: int
    exp: int


_HEADER: Final = jwt.encode({}, "0" * 32, algorithm=ALGORITHM).partition(".")[0] + "."
_claims: Final = msgspec.json.Decoder(_Claims)


def _plainly_ours(token: str, secret: str) -> _Claims | None:
    """The claims of a token with the header that ours have, signed with the secret, of our claims' types."""
    signed, _, signature = token.rpartition(".")
    if not signed.startswith(_HEADER):
        return None
    payload = signed[len(_HEADER) :]
    try:
        mac = hmac.digest(secret.encode(), signed.encode(), hashlib.sha256)
        if not hmac.compare_digest(urlsafe_b64encode(mac).rstrip(b"="), signature.encode()):
            return None
        return _claims.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (ValueError, msgspec.MsgspecError):
        return None


_bearer = HTTPBearer(auto_error=False, scheme_name="bearer", bearerFormat="JWT", description="Access token from login.")


def _settings(connection: HTTPConnection) -> Settings:
    return cast(Settings, connection.state.resources.settings)


async def _authenticated(
    connection: HTTPConnection, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Principal:
    if credentials is None:
        raise Unauthorized("Send an access token: `Authorization: Bearer …`.")
    return verify_access_token(_settings(connection), credentials.credentials)


async def _administrating(principal: Annotated[Principal, Depends(_authenticated)]) -> Principal:
    if not principal.is_admin:
        raise Forbidden("Only admins may do this.")
    return principal


CurrentUser = Annotated[Principal, Security(_authenticated, scopes=[Role.CUSTOMER.value])]
"""Anyone who is signed in. OpenAPI shows the role as the scheme's scope."""

CurrentAdmin = Annotated[Principal, Security(_administrating, scopes=[Role.ADMIN.value])]
"""Admins only."""

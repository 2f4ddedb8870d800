"""Refresh tokens: 256 bits, stored as hashes, each one's successor derived from it with the shop's key.

Derivation makes rotation repeatable: two refreshes with one token, at once or after a lost answer, give the same
successor, so a family never forks. Without the key a token says nothing about its successor.
"""

import hashlib
import hmac
import secrets
from base64 import urlsafe_b64encode

from pydantic import SecretStr


def _text(secret: bytes) -> str:
    return urlsafe_b64encode(secret).decode().rstrip("=")


def first_token() -> str:
    """A fresh family's first token (43 characters of base64url)."""
    return _text(secrets.token_bytes(32))


def successor(token: str, key: SecretStr) -> str:
    """The token that follows ``token``."""
    return _text(hmac.digest(key.get_secret_value().encode(), b"surge.refresh.v1\0" + token.encode(), "sha256"))


def fingerprint(token: str) -> bytes:
    """What is stored of a token. Its 256 bits need neither salt nor stretching."""
    return hashlib.sha256(token.encode()).digest()

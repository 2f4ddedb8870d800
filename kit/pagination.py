"""Keyset pages: a cursor is the last row's sort key, opaque to the client and checked when it comes back."""

import base64
import binascii
from typing import Any, Generic, TypeVar

import orjson
from pydantic import BaseModel, Field

from kit.errors import Invalid

T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """One page of a list."""

    items: list[T] = Field(description="The rows, in order.")
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last one.")


def encode_cursor(*key: Any) -> str:
    """A cursor from a row's sort key (strings, numbers, datetimes)."""
    return base64.urlsafe_b64encode(orjson.dumps(key)).decode().rstrip("=")


def decode_cursor(cursor: str, size: int) -> list[Any]:
    """The sort key of ``size`` parts in a cursor.

    Raises:
        Invalid: if it is not a cursor that :func:`encode_cursor` made.
    """
    try:
        key = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        key = None
    if not isinstance(key, list) or len(key) != size or any(isinstance(part, dict | list) for part in key):
        raise Invalid("query.cursor", "is not a cursor from an earlier page; leave it out for the first page")
    return key

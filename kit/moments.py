"""Moments as requests give them: RFC 3339 with an offset, that there are in UTC."""

import datetime as dt
import re
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_NUMBER: Final = re.compile(r"[-+]?[0-9]*\.?[0-9]*")


def _representable(moment: dt.datetime) -> dt.datetime:
    """A moment in UTC.

    Raises:
        ValueError: if it has none, at either end of the calendar.
    """
    try:
        return moment.astimezone(dt.UTC)
    except OverflowError:
        raise ValueError("is outside of the calendar in UTC") from None


def _rfc_3339(value: object) -> object:
    """Refuses numbers, which pydantic would read as seconds since 1970.

    Raises:
        ValueError: if it is one.
    """
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError("is not an RFC 3339 date and time")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_rfc_3339), AfterValidator(_representable)]

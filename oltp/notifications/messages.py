"""Messages as customers read them: the templates filled in."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from oltp.notifications.domain import Template

_MINOR_DIGITS: Final = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "KWD": 3, "BHD": 3, "TND": 3}
"""ISO 4217 currencies whose minor unit is not a hundredth."""


_WHY: Final = {
    "out_of_stock": "something you ordered is out of stock",
    "sold_out": "the last units of the sale went to those who came before you",
    "already_bought": "you have bought as many in this sale as one may",
    "payment_failed": "the payment was declined",
    "payment_timeout": "the payment took too long",
    "customer_request": "you asked us to",
    "admin_request": "our customer service decided so",
}


@dataclass(frozen=True, slots=True)
class Rendered:
    """One message in every form: email has subject, text and HTML; SMS and push are short."""

    subject: str
    text: str
    html: str
    short: str


def money(amount: int, currency: str) -> str:
    """An amount of minor units in words."""
    digits = _MINOR_DIGITS.get(currency, 2)
    return f"{currency} {amount / 10**digits:,.{digits}f}"


def moment(time: str | dt.datetime) -> str:
    """A moment in words."""
    parsed = dt.datetime.fromisoformat(time) if isinstance(time, str) else time
    return f"{parsed.astimezone(dt.UTC):%d %B %Y, %H:%M} UTC"


def why(reason: str) -> str:
    """A cancellation's reason in words."""
    return _WHY.get(reason, "it could not be fulfilled")


class Messages:
    """Fills templates in. HTML is escaped; a value that a template misses is an error, not a gap."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=select_autoescape(["html"], default=False),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            auto_reload=False,
        )
        self._environment.filters |= {"money": money, "moment": moment, "why": why}

    def render(self, template: Template, values: Mapping[str, Any]) -> Rendered:
        """The message.

        Raises:
            jinja2.TemplateError: if a template does not fit its values.
        """
        plain = self._environment.get_template(f"{template}.txt")
        context = plain.new_context(dict(values))
        subject, short, content = (
            "".join(plain.blocks[block](context)).strip() for block in ("subject", "short", "content")
        )
        text = self._environment.get_template("layout.txt").render(values, content=content)
        html = self._environment.get_template(f"{template}.html").render(values, subject=subject)
        return Rendered(" ".join(subject.split()), text, html, " ".join(short.split()))

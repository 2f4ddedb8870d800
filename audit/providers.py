"""The payment providers' own books against ours."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import asyncpg
import httpx

from audit.books import MOST
from audit.report import Finding, Offender
from audit.settings import AuditSettings

KEY: Final = "money.providers"
TITLE: Final = "the providers took and gave back what our books say, once"

_PAGE: Final = 5_000
_OURS: Final = """
    SELECT p.order_id::text AS order_id, p.provider,
           (CASE WHEN p.status IN ('succeeded', 'refunding', 'refunded') THEN p.amount ELSE 0 END * 100)::bigint
               AS captured,
           (coalesce(r.amount, 0) * 100)::bigint AS refunded
    FROM payments.payments p LEFT JOIN payments.refunds r ON r.order_id = p.order_id AND r.status = 'succeeded'
    WHERE p.provider IN ('stripe', 'paypal')
"""


Books = Mapping[str, Sequence[Mapping[str, Any]]]
"""What each provider did for each order."""


async def read(http: httpx.AsyncClient, settings: AuditSettings) -> Books:
    """The providers' whole books.

    Raises:
        httpx.HTTPError: if the providers do not answer.
    """
    headers = {"Authorization": f"Bearer {settings.stripe_api_key.get_secret_value()}"}
    books: dict[str, list[dict[str, Any]]] = {}
    after: str | None = ""
    while after is not None:
        parameters: dict[str, str | int] = {"after": after, "limit": _PAGE}
        answer = await http.get(f"{settings.providers_address}/_control/orders", params=parameters, headers=headers)
        answer.raise_for_status()
        page = answer.json()
        for entry in page["items"]:
            books.setdefault(entry["order_id"], []).append(entry)
        after = page["next_after"]
    return books


async def judge(connection: asyncpg.Connection, theirs: Books) -> Finding:
    """Compares every order that Stripe or PayPal moved money for, or should have."""
    ours = {row["order_id"]: row for row in await connection.fetch(_OURS)}
    offenders = list(_compare(ours, theirs))
    figures = {
        "captures": sum(entry["captures"] for entries in theirs.values() for entry in entries),
        "refunds": sum(entry["refunds"] for entries in theirs.values() for entry in entries),
        "cents kept": sum(entry["captured"] - entry["refunded"] for entries in theirs.values() for entry in entries),
    }
    return Finding(KEY, TITLE, figures, tuple(offenders[:MOST]), len(offenders), needs_quiet=True)


def _compare(ours: Mapping[str, Any], theirs: Books) -> Iterator[Offender]:
    for order_id in sorted(ours.keys() | theirs.keys()):
        entries = theirs.get(order_id, [])
        captures = sum(entry["captures"] for entry in entries)
        captured, refunded = sum(e["captured"] for e in entries), sum(e["refunded"] for e in entries)
        row = ours.get(order_id)
        if captures > 1:
            yield Offender(order_id, f"captured {captures} times")
        elif row is None:
            yield Offender(order_id, f"they captured {captured} cents of an order that we never charged")
        elif (captured, refunded) != (row["captured"], row["refunded"]):
            said = f"they captured {captured} and refunded {refunded} cents"
            yield Offender(order_id, f"{said}, we {row['captured']} and {row['refunded']}")

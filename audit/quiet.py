"""Whether anything is under way."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from audit.books import IN_QUEUE
from audit.log import Progress

_OUTSTANDING = f"""
    SELECT c ->> 'command' AS command, count(*) AS orders
    FROM orders.orders o CROSS JOIN jsonb_array_elements(o.outstanding) c
    WHERE o.outstanding <> '[]' AND c ->> 'command' <> 'shipping.create'
      AND NOT (c ->> 'command' = 'inventory.reserve' AND {IN_QUEUE})
    GROUP BY 1 ORDER BY 1
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Unrest:
    """What is under way, in words; empty when the shop is quiet.

    An order whose booking a carrier refused waits for its next try, and one of a flash sale for a unit that is not
    paid: that moves nothing and counts as quiet.
    """

    reasons: tuple[str, ...]

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way."""
        return not self.reasons

    def __str__(self) -> str:
        return "; ".join(self.reasons)


async def outstanding(connection: asyncpg.Connection) -> list[str]:
    """The commands that orders wait for an answer to."""
    rows = await connection.fetch(_OUTSTANDING)
    return [f"{row['orders']} × {row['command']}" for row in rows]


def unrest(before: Progress | None, waiting: Sequence[str], after: Progress | None) -> Unrest:
    """What was under way around a snapshot, by the consumers' lag before and after it."""
    if before is None or after is None:
        return Unrest(("Kafka is away", *waiting))
    behind = {group: max(before.lag.get(group, 0), after.lag.get(group, 0)) for group in {**before.lag, **after.lag}}
    lags = [f"{group} is {lag} behind" for group, lag in sorted(behind.items()) if lag]
    return Unrest((*lags, *([f"waiting for {', '.join(waiting)}"] if waiting else [])))

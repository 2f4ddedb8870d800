"""Keeps the gate in Redis equal to the books, without a person and without disturbing what is under way."""

from collections import Counter

from contracts.redis_keys import HOLD_SECONDS
from kit.resources import Resources
from oltp.inventory.gate import Books
from oltp.inventory.redis_gate import FIRST_PRODUCT, QUIET_MS, RedisGate
from oltp.inventory.repository import DatabaseBooks


def redis_gate(resources: Resources, *, hold_seconds: int = HOLD_SECONDS, quiet_ms: int = QUIET_MS) -> RedisGate:
    """The gate of a process's Redis before the books of its database."""
    books = DatabaseBooks(resources.database)
    return RedisGate(resources.redis, books, hold_seconds=hold_seconds, quiet_ms=quiet_ms)


async def rebuild(resources: Resources) -> Counter[str]:
    """Fills Redis's stock from the books: outcome (``equal``, ``filled``, ``corrected``, ``busy``) → products.

    Safe while orders come in: a product that moved a moment ago is left to the worker's reconciler (``busy``).
    """
    return await redis_gate(resources).fill()


class Reconciler:
    """Compares counters with the books, round by round.

    In each round: the products that moved and are quiet since, and the next few of all products in turn. A counter is
    corrected when two rounds find it quiet and wrong in the same way; one that is on its way to agree is left alone.
    The first round goes over all products, and so does the next one after a wipe or a restart of Redis.
    """

    def __init__(self, gate: RedisGate, books: Books, *, moved: int = 2000, rotation: int = 500) -> None:
        """A reconciler that takes at most ``moved`` products that moved and ``rotation`` others a round."""
        self._gate = gate
        self._books = books
        self._moved = moved
        self._rotation = rotation
        self._last = FIRST_PRODUCT
        self._seen: dict[str, tuple[int, str]] = {}
        self._started = False

    async def round(self) -> None:
        """One round."""
        if not self._started or await self._gate.doubtful():
            await self._gate.fill()
            self._started = True
        moved = await self._gate.quiet(self._moved)
        suspects = {*moved, *self._seen}
        available = await self._books.available(suspects) if suspects else {}
        page = await self._books.available_after(self._last, self._rotation)
        self._last = page[-1][0] if len(page) == self._rotation else FIRST_PRODUCT
        available |= dict(page)
        seen = {
            product_id: counter
            for product_id, (expected, counter) in self._seen.items()
            if available.get(product_id) == expected
        }
        compared = await self._gate.compare(available, seen=seen)
        self._seen = {c.product_id: (c.available, c.counter) for c in compared if c.outcome == "differs"}

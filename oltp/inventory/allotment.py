"""A flash sale's units: how many are taken and paid, what each customer has of them, and who waits. Pure.

An order of a sale takes units, or waits in the order in which it came for those that are taken and not paid. What a
reservation has of an allotment is its :class:`Share`; an allotment moves by what becomes of shares, and refuses to move
out of its bounds.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from contracts.commands import ReserveInventory
from contracts.orders import SaleTerms


class Oversold(ValueError):
    """A sale would have more units taken than there are, or a customer more than one may have."""


@dataclass(frozen=True, slots=True)
class SaleClaim:
    """What an order wants in a sale. ``place`` counts its orders as they came; ``command`` is kept while it waits."""

    order_id: str
    sale_id: str
    customer_id: str
    units: int
    place: int
    command: ReserveInventory | None = None


class Share(NamedTuple):
    """Units that an order waits for, that it has taken, and those of the latter that are paid."""

    waiting: int = 0
    taken: int = 0
    paid: int = 0


class Allotment:
    """One sale's units. Whoever decides applies what follows; the counts always balance.

    Args:
        terms: the sale's.
        taken: units that orders hold or have bought.
        paid: those of them that are paid.
        waiting: units that orders wait for.
        last_place: the last place that was given.
        closed: whether nobody waits any more.
        customers: units that customers have or wait for; those who have none may be missing.
        queue: who waits; None if it does not matter now, then nobody's turn can come.
    """

    def __init__(
        self,
        terms: SaleTerms,
        *,
        taken: int = 0,
        paid: int = 0,
        waiting: int = 0,
        last_place: int = 0,
        closed: bool = False,
        customers: Mapping[str, int] | None = None,
        queue: Iterable[SaleClaim] | None = (),
    ) -> None:
        self.terms = terms
        self.taken = taken
        self.paid = paid
        self.waiting = waiting
        self.last_place = last_place
        self.closed = closed
        self.customers = dict(customers or {})
        self._queue: dict[str, SaleClaim] | None = None
        if queue is not None:
            self._queue = {claim.order_id: claim for claim in sorted(queue, key=lambda claim: claim.place)}

    @property
    def queue(self) -> tuple[SaleClaim, ...]:
        """Who waits, first come first; nobody if that was not given."""
        return tuple((self._queue or {}).values())

    def over_share(self, customer_id: str, units: int) -> bool:
        """Whether a customer would have more than one may."""
        return self.customers.get(customer_id, 0) + units > self.terms.units_per_customer

    def never_free(self, units: int) -> bool:
        """Whether so many units can't become free any more, but by the return of paid ones."""
        return self.paid + units > self.terms.units

    def free(self, units: int) -> bool:
        """Whether so many units are not taken."""
        return self.taken + units <= self.terms.units

    def next_claim(self) -> SaleClaim | None:
        """Whose fate is known now: first whoever waits in vain, then the first in line, if there is enough for it."""
        queue = (self._queue or {}).values()
        for claim in queue:
            if self.closed or self.never_free(claim.units):
                return claim
        first = next(iter(queue), None)
        return first if first is not None and self.free(first.units) else None

    def apply(self, claim: SaleClaim, before: Share, after: Share) -> None:
        """Moves the counts by what becomes of an order's share.

        Raises:
            Oversold: if they would leave their bounds.
        """
        taken = self.taken + after.taken - before.taken
        paid = self.paid + after.paid - before.paid
        waiting = self.waiting + after.waiting - before.waiting
        units = after.taken + after.waiting - before.taken - before.waiting
        has = self.customers.get(claim.customer_id, 0) + units
        if not 0 <= paid <= taken <= self.terms.units or waiting < 0:
            raise Oversold(f"sale {claim.sale_id}: {paid} paid, {taken} taken of {self.terms.units}, {waiting} waiting")
        if not 0 <= has <= self.terms.units_per_customer:
            raise Oversold(f"sale {claim.sale_id}: customer {claim.customer_id} has {has}")
        self.taken, self.paid, self.waiting = taken, paid, waiting
        self.customers[claim.customer_id] = has
        self.last_place = max(self.last_place, claim.place)
        if self._queue is not None:
            if after.waiting:
                self._queue[claim.order_id] = claim
            else:
                self._queue.pop(claim.order_id, None)

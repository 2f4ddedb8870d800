"""The gate before the books: a fast first answer, never the last one.

An order that the gate admits still has to be written to the books, whose levels decide. A gate may admit too much (the
books refuse then, and the gate is corrected) or too little (an order is refused that could have been served); it can
never sell what is not there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from oltp.inventory.domain import Refusal


@dataclass(frozen=True, slots=True)
class Claim:
    """What one order wants, or has, of each product."""

    order_id: str
    units: Mapping[str, int]


class GateAway(ConnectionError):
    """The gate can't answer now; nothing is lost by asking again."""


class Gate(Protocol):
    """Admits orders to the books. Every call may be repeated with the same claims without further effect."""

    async def admit(self, claims: Sequence[Claim]) -> list[Refusal | None]:
        """For each claim in turn, takes all its units (None) or none of them (why not).

        Raises:
            GateAway: if the gate can't answer; some of the claims may have been admitted.
        """
        ...

    async def give_back(self, claims: Sequence[Claim]) -> None:
        """Makes the claims' units available again. To be called once the books have given them back."""
        ...

    async def forget(self, claims: Sequence[Claim]) -> None:
        """Forgets orders whose units have left the shelves for good."""
        ...

    async def follow(self, product_ids: Collection[str]) -> None:
        """Takes over what the books say of these products now."""
        ...

    async def suspect(self, product_ids: Collection[str]) -> None:
        """Has these products compared with the books once they are quiet."""
        ...


class Books(Protocol):
    """What the books have of each product: units that can still be reserved, over all warehouses."""

    async def available(self, product_ids: Collection[str]) -> dict[str, int]:
        """Of those of the products that the books know."""
        ...

    async def available_after(self, product_id: str, limit: int) -> list[tuple[str, int]]:
        """Of the next ``limit`` products in order of their ids."""
        ...

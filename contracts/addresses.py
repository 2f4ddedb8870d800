"""How other services ask for a customer's stored addresses."""

from typing import Protocol

from contracts.orders import Address


class AddressDirectory(Protocol):
    """Looks stored addresses up; implemented by accounts, handed to its users where the gateway is put together."""

    async def get(self, user_id: str, address_id: str) -> Address | None:
        """The customer's address as it stands; None if the customer has none with this id.

        Raises:
            kit.errors.Unavailable: if it is not known, and what knows it is away.
        """
        ...

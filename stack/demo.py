"""The demo shop that `surge up` opens: its seed, and the orders that show it at work.

Both read ``kit.settings`` from the environment, which the caller has set.
"""

import inspect
from typing import Any


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def seed() -> str:
    """Customers, products, stock and order history, if the shop is empty; returns what is there in a few words."""
    from seed import demo

    return str(await _result(demo.ensure()))


async def rush() -> Any:
    """The main job: checkouts through the public API, followed to their end. Prints its own closing table."""
    from seed import rush as orders

    return await _result(orders.run())

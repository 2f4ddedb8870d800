"""The demo shop that `surge up` opens: its seed, and the orders that show it at work."""

import inspect
from typing import Any

from stack import environment
from stack.instance import Instance


async def _result(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def seed(instance: Instance) -> str:
    """Customers, products, stock and order history, if the shop is empty; returns what is there in a few words."""
    environment.apply(instance)
    from seed import demo

    return str(await _result(demo.ensure()))


async def rush(instance: Instance) -> Any:
    """The main job: checkouts through the public API, followed to their end. Prints its own closing table."""
    environment.apply(instance)
    from seed import rush as orders

    return await _result(orders.run())

"""What the cart needs in the process that serves it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kit.resources import Resources
from oltp.cart.repository import Carts
from oltp.cart.settings import CartSettings


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Gives request state ``cart_settings`` and ``carts``. The routes also need ``products`` and ``sales``."""
    settings = CartSettings.beside(resources.settings)
    yield {"cart_settings": settings, "carts": Carts(resources.shared_redis, settings)}

"""What inventory gives to the process that serves its routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kit.resources import Resources
from oltp.inventory.repository import DatabaseBooks


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Gives request state ``sale_books`` (:class:`contracts.sales.SaleBooks`)."""
    yield {"sale_books": DatabaseBooks(resources.database)}

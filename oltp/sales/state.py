"""What flash sales hold open in a process that serves their routes, or prices and shows products."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kit.resources import Resources
from kit.tasks import Periodic, running
from oltp.sales.board import Board
from oltp.sales.settings import SalesSettings


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Gives request state ``sales``, a SaleBoard that is kept fresh.

    The routes also need ``products`` and ``sale_books``.
    """
    settings = SalesSettings.beside(resources.settings)
    board = Board(resources.shared_redis, resources.database, resources.clock)
    async with running([Periodic("sales.board", board.refresh, settings.sales_poll_seconds)]):
        yield {"sales": board}

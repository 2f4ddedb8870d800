"""What the catalog holds open in a process that serves it or looks products up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kit.db import Database
from kit.resources import Resources
from kit.tasks import Periodic, running
from oltp.catalog.directory import Directory
from oltp.catalog.repository import CountedCategory, Products
from oltp.catalog.settings import CatalogSettings


class CategoryCounts:
    """The categories with their counts, read once for all who ask within a few seconds."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._known: list[CountedCategory] = []
        self._until = 0.0

    async def get(self) -> list[CountedCategory]:
        """All categories by name."""
        async with self._lock:
            asked = time.monotonic()
            if asked >= self._until:
                async with self._database.read() as session:
                    self._known = await Products(session).categories()
                self._until = asked + self._seconds
            return self._known

    def forget(self) -> None:
        """Has the next one who asks read again."""
        self._until = 0.0


@dataclass(frozen=True, slots=True)
class CatalogState:
    """Settings, the directory that admins' changes are made known to, and the category counts."""

    settings: CatalogSettings
    directory: Directory
    categories: CategoryCounts


@asynccontextmanager
async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
    """Gives request state ``products`` (a ProductDirectory) and ``catalog``, and keeps the cards in Redis fresh."""
    settings = CatalogSettings.beside(resources.settings)
    directory = Directory(resources.shared_redis, resources.database, settings)
    counts = CategoryCounts(resources.database, settings.catalog_categories_seconds)
    refreshing = Periodic("catalog.cards", directory.refresh, settings.catalog_poll_seconds)
    async with running([refreshing]):
        yield {"products": directory, "catalog": CatalogState(settings, directory, counts)}

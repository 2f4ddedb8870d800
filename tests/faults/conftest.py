"""The running shop, with a rig on it: see :mod:`tests.faults.rig`."""

from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from tests.faults.rig import Rig, open_rig
from tests.shop import Shop, admin, customer, shop, shop_settings

__all__ = ["admin", "customer", "shop", "shop_settings"]


@pytest.fixture
async def rig(shop: Shop) -> AsyncIterator[Rig]:
    """The running shop under test, quiet at the start."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=50)
    url = shop.settings.database_url.get_secret_value().replace("+asyncpg", "", 1)
    async with (
        httpx.AsyncClient(base_url=shop.base_url, timeout=8, limits=limits) as http,
        asyncpg.create_pool(url, min_size=0, max_size=4, timeout=5) as database,
    ):
        yield await open_rig(shop, http, database)

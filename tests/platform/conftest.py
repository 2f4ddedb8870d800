"""A running shop with its data platform: capture, and the warehouse behind it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from cdc import catalogue
from cdc.catalogue import Table
from cdc.settings import CdcSettings
from cdc.verify import Report, verify
from stack import instance as instances
from stack.warehouse import Warehouse
from tests.rig import rig
from tests.shop import admin, customer, shop, shop_settings

__all__ = ["admin", "customer", "rig", "shop", "shop_settings"]


@pytest.fixture(scope="session")
def capture() -> CdcSettings:
    """Capture's settings."""
    return CdcSettings()


@pytest.fixture
async def tables(capture: CdcSettings) -> list[Table]:
    """The captured tables."""
    async with capture.shop() as connection:
        return await catalogue.read(connection)


@pytest.fixture
async def books(capture: CdcSettings) -> AsyncIterator[Any]:
    """The shop's database, as its owner."""
    async with capture.shop() as connection:
        yield connection


@pytest.fixture
async def warehouse(capture: CdcSettings) -> AsyncIterator[Any]:
    """The warehouse, as its loader."""
    async with capture.warehouse() as connection:
        yield connection


@pytest.fixture
def server() -> Warehouse:
    """The warehouse's server."""
    return Warehouse.of(instances.current())


async def equal(capture: CdcSettings, tables: Sequence[Table]) -> Report:
    """The proof that nothing differs; fails with the rows that do."""
    report = await verify(capture, tables)
    assert report.equal, [finding.shown for finding in report.findings if not finding.equal]
    return report


async def arrives(connection: Any, query: str, *arguments: Any, seconds: float = 30) -> Any:
    """The first row of a query on the warehouse, as soon as there is one."""
    deadline = time.monotonic() + seconds
    while (row := await connection.fetchrow(query, *arguments)) is None:
        assert time.monotonic() < deadline, f"nothing came within {seconds:.0f} s: {query}"
        await asyncio.sleep(0.05)
    return row

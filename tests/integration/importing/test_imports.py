"""An imported shop in its tables: its totals are the file's, and the books close."""

import os
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest

from audit import books, money, parcels
from audit.report import Verdict
from seed import imports, loading
from seed.importing import ImportRefused, Mapping, read_lines, read_mapping, understand
from seed.settings import SeedSettings
from tests import order_lines

ROOT = Path(__file__).parents[3]
MAPPING = ROOT / "seed" / "mappings" / "online_retail.yml"
REAL = Path(
    os.environ.get("SURGE_ONLINE_RETAIL")
    or ROOT.parent / "shared/data/online_retail/order_lines_2010-12-01_2011-10-09.csv.gz"
)
"""The real shop's lines lie beside the project, never in it."""


@pytest.fixture(scope="module")
def mapping() -> Mapping:
    return read_mapping(MAPPING)


@pytest.fixture
async def connection(seed_settings: SeedSettings) -> AsyncIterator[asyncpg.Connection]:
    async with loading.connected(seed_settings) as opened:
        yield opened


async def written(settings: SeedSettings, file: Path, mapping: Mapping) -> None:
    await imports.write(settings, understand(read_lines(file, mapping), mapping))


async def totals(connection: asyncpg.Connection, name: str) -> order_lines.Totals:
    """What the tables say of the orders of an imported shop, whose customers have its address."""
    mine = f"o.user_id IN (SELECT id FROM accounts.users WHERE email LIKE '%@{name}.example')"
    row = await connection.fetchrow(
        f"""
        SELECT count(*) AS orders, count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
               count(DISTINCT user_id) AS customers, sum(total_amount) FILTER (WHERE status = 'delivered') AS revenue,
               count(DISTINCT user_id) FILTER (WHERE user_id IN
                   (SELECT id FROM accounts.users WHERE name = 'Guest')) AS guests
        FROM orders.orders o WHERE {mine}
        """
    )
    found = order_lines.Totals(**dict(row))
    for field, column in (
        ("by_month", "to_char(created_at AT TIME ZONE 'Europe/London', 'YYYY-MM')"),
        ("by_country", "shipping_address ->> 'country'"),
    ):
        groups = await connection.fetch(
            f"""
            SELECT {column} AS of, count(DISTINCT o.id) AS orders, sum(i.quantity * i.price_at_purchase) AS revenue
            FROM orders.orders o JOIN orders.order_items i ON i.order_id = o.id
            WHERE status = 'delivered' AND {mine} GROUP BY 1
            """
        )
        setattr(found, field, {group["of"]: (group["orders"], Decimal(group["revenue"])) for group in groups})
    return found


async def test_a_dirty_file_becomes_a_shop_whose_totals_are_its_own_and_whose_books_close(
    seed_settings: SeedSettings, connection: asyncpg.Connection, mapping: Mapping, tmp_path: Path
) -> None:
    file = tmp_path / "lines.csv"
    order_lines.write(file, first_code=31_700)
    own = mapping.model_copy(update={"name": "Made Up"})
    await written(seed_settings, file, own)
    assert await totals(connection, "made-up") == order_lines.add_up(file, mapping.countries)
    findings = await books.judge(connection, (*books.STOCK, *books.ORDERS, *money.CHECKS, *parcels.CHECKS))
    assert {finding.key: finding.offenders for finding in findings if finding.verdict is not Verdict.HOLDS} == {}
    with pytest.raises(ImportRefused, match="imported already"):
        await written(seed_settings, file, own)
    with pytest.raises(ImportRefused, match="has a product"):
        await written(seed_settings, file, mapping.model_copy(update={"name": "Another"}))
    assert str(await loading.ensure(seed_settings)) == "the orders of Made Up, as before"


@pytest.mark.skipif(not REAL.exists(), reason="the real shop's lines are not beside the project")
async def test_the_real_shop_adds_up(
    seed_settings: SeedSettings, connection: asyncpg.Connection, mapping: Mapping
) -> None:
    await written(seed_settings, REAL, mapping)
    found = await totals(connection, "online-retail")
    assert found == order_lines.add_up(REAL, mapping.countries)
    assert (found.orders, found.cancelled, found.revenue) == (17_406, 2_682, Decimal("7414621.15"))

"""The seeded shop is looked at again, in its tables."""

from pathlib import Path

import pytest

from seed import loading, plots
from seed.loading import Seeded
from seed.settings import SeedSettings
from seed.verify import NotSeeded, verify

EXACT = ("customers", "products", "categories", "orders")
"""Lines that leave nothing to chance; six hundred orders are too few for most others."""


async def test_found_is_what_the_tables_say(seed_settings: SeedSettings, seeded: Seeded, tmp_path: Path) -> None:
    verdict = await verify(seed_settings)
    lines = {line.subject: line for line in verdict.lines}
    assert all(lines[subject].holds for subject in EXACT)
    assert lines["orders that are fraud"].holds
    assert sum(verdict.evidence.statuses.values()) == sum(verdict.evidence.days.values()) == 600
    page = tmp_path / "seed.html"
    plots.page(verdict, page)
    assert page.read_text().count("<tr ") == len(verdict.lines)
    assert "data:image/png;base64," in page.read_text()
    async with loading.connected(seed_settings) as connection:
        gone = await connection.fetchval("SELECT id FROM accounts.users WHERE role = 'customer' ORDER BY id LIMIT 1")
        try:
            await connection.execute("UPDATE accounts.users SET role = 'admin' WHERE id = $1", gone)
            doctored = {line.subject: line for line in (await verify(seed_settings)).lines}
        finally:
            await connection.execute("UPDATE accounts.users SET role = 'customer' WHERE id = $1", gone)
    assert not doctored["customers"].holds
    assert doctored["customers"].found == 59


async def test_a_shop_that_is_half_seeded_is_not_judged(seed_settings: SeedSettings, seeded: Seeded) -> None:
    async with loading.connected(seed_settings) as writer:
        try:
            await writer.execute("UPDATE seed.datasets SET complete = false")
            with pytest.raises(NotSeeded, match="broken off"):
                await verify(seed_settings)
        finally:
            await writer.execute("UPDATE seed.datasets SET complete = true")

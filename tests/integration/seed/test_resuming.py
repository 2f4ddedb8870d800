"""A large shop's way: bare tables, several processes, and a run that is broken off and gone on with."""

import dataclasses
import datetime as dt
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from audit import books, money, parcels
from audit.report import Verdict
from kit.settings import Settings
from seed import loading, marks
from seed.loading import SeedError
from seed.plan import Scale, scaled
from seed.settings import SeedSettings
from seed.writing import Writer
from tests.small_shop import empty_database

PLAN = dataclasses.replace(
    scaled(Scale.MILLION, dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC), orders=900),
    customers=80,
    products=100,
    chunk=300,
    recorded=dt.timedelta(days=2),
)
LAYOUT = """
    SELECT indexdef AS part FROM pg_indexes WHERE schemaname NOT IN ('pg_catalog', 'seed')
    UNION ALL SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || convalidated
    FROM pg_constraint WHERE connamespace::regnamespace::text <> 'seed'
    UNION ALL SELECT oid::regclass || ' ' || reloptions::text FROM pg_class WHERE reloptions IS NOT NULL
"""


async def layout(connection: asyncpg.Connection) -> set[str]:
    """Indexes, constraints and how tables are stored."""
    return {row["part"] for row in await connection.fetch(LAYOUT)}


def own(settings: SeedSettings, url: str, home: Path, patch: pytest.MonkeyPatch) -> SeedSettings:
    """The settings of a database of its own, for the processes that are started, too."""
    chosen = settings.model_copy(update={"database_url": SecretStr(url), "home": home})
    for name in ("database_url", "redis_url", "mongo_url", "admin_password", "demo_password"):
        patch.setenv(f"SURGE_{name.upper()}", getattr(chosen, name).get_secret_value())
    patch.setenv("SURGE_HOME", str(home))
    return chosen


async def plain(settings: Settings, seed_settings: SeedSettings, home: Path, patch: pytest.MonkeyPatch) -> Any:
    """The checksums of an undisturbed run in one process."""
    async with empty_database(settings) as url:
        return (await loading.fill(own(seed_settings, url, home, patch), PLAN)).digests


async def test_a_broken_off_run_is_gone_on_with_and_makes_the_same_shop(
    settings: Settings, seed_settings: SeedSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = await plain(settings, seed_settings, tmp_path / "plain", monkeypatch)
    monkeypatch.setattr(loading, "_BARE_FROM", 1)
    async with empty_database(settings) as url:
        chosen = own(seed_settings, url, tmp_path / "large", monkeypatch)
        async with loading.connected(chosen) as connection:
            before = await layout(connection)

            with monkeypatch.context() as broken:
                broken.setattr(Writer, "stock", _fails)
                with pytest.raises(RuntimeError, match="power"):
                    await loading.fill(chosen, PLAN)
            assert set(await marks.chunks(connection)) == {marks.BASE, 0, 1, 2}
            assert len(before - await layout(connection)) > 40
            with pytest.raises(SeedError, match="another data set"):
                await loading.fill(chosen, dataclasses.replace(PLAN, seed=7))

            seeded = await loading.fill(chosen, PLAN)
            assert seeded.fresh
            assert seeded.digests == expected
            assert await layout(connection) == before
            assert await connection.fetchval("SELECT count(*) FROM orders.orders") == PLAN.orders
            findings = await books.judge(connection, (*books.STOCK, *books.ORDERS, *money.CHECKS, *parcels.CHECKS))
            assert {f.key: f.offenders for f in findings if f.verdict is not Verdict.HOLDS} == {}
            with pytest.raises(SeedError, match="seeded already"):
                await loading.fill(chosen, PLAN)


async def _fails(_: Writer) -> None:
    raise RuntimeError("the power went away")

"""One small warehouse: the raw tables of a seeded shop, as the sink would have written them, and dbt upon it."""

import asyncio
import datetime as dt
import os
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from cdc import catalogue, raw, state
from kit.settings import Settings
from stack.dbt import PROJECT
from stack.warehouse import ANALYST, LOADER, TRANSFORMER
from tests.small_shop import scratch, scratch_url, seed_settings, seeded

__all__ = ["scratch", "scratch_url", "seed_settings", "seeded"]

PASSWORD = "a password of the tests"
COPIED_AT = dt.datetime.now(dt.UTC) - dt.timedelta(hours=2)
"""The moment that a backfill gave all its rows."""

SNAPSHOT_ROWS = 50
"""From how many rows of one moment on dbt takes it for a backfill's, in a shop as small as this."""


@dataclass(frozen=True, slots=True)
class Dbt:
    """Runs dbt in this process, which reads the project once for each set of schemas."""

    folder: Path
    manifests: dict[str, Any] = field(default_factory=dict)

    async def __call__(self, *arguments: str, suffix: str = "", grace: str = "10 minutes") -> Any:
        """The result of a command; ``success`` says whether all went well."""
        if suffix not in self.manifests:
            self.manifests[suffix] = (await self._invoke(None, ["parse"], suffix, grace)).result
        return await self._invoke(self.manifests[suffix], list(arguments), suffix, grace)

    async def _invoke(self, manifest: Any, arguments: list[str], suffix: str, grace: str) -> Any:
        from dbt.cli.main import dbtRunner

        variables = f"{{snapshot_rows: {SNAPSHOT_ROWS}, suffix: '{suffix}', grace: {grace}}}"
        options = [
            *("--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT), "--vars", variables),
            *("--target-path", str(self.folder / f"target{suffix}"), "--log-path", str(self.folder)),
        ]
        return await asyncio.to_thread(dbtRunner(manifest=manifest).invoke, ["--quiet", *arguments, *options])


@pytest.fixture(scope="package")
async def database(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """How to reach an empty warehouse database; its roles, and the environment that dbt reads."""
    url = make_url(settings.database_url.get_secret_value())
    name = f"warehouse_{uuid.uuid4().hex[:12]}"
    reach = {"host": url.host, "port": url.port}
    superuser = {"user": "postgres", "password": os.environ["SURGE_POSTGRES_PASSWORD"]}
    admin = await asyncpg.connect(**reach, **superuser, database="postgres")
    for role in (LOADER, TRANSFORMER, ANALYST):
        if not await admin.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            await admin.execute(f"CREATE ROLE {role} LOGIN")
        await admin.execute(f"ALTER ROLE {role} PASSWORD '{PASSWORD}'")
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.execute(f"GRANT CREATE, TEMPORARY ON DATABASE {name} TO {TRANSFORMER}")
    patch = pytest.MonkeyPatch()
    patch.setenv("SURGE_WAREHOUSE_HOST", str(url.host))
    patch.setenv("SURGE_WAREHOUSE_PORT", str(url.port))
    patch.setenv("SURGE_WAREHOUSE_DATABASE", name)
    patch.setenv("SURGE_TRANSFORMER_PASSWORD", PASSWORD)
    patch.setenv("SURGE_DBT_THREADS", "4")
    try:
        yield {**reach, **superuser, "database": name}
    finally:
        patch.undo()
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


async def take(
    shop: Any, warehouse: Any, tables: Iterable[catalogue.Table], where: str, op: str, at: dt.datetime
) -> None:
    """Writes rows of the shop into raw, as the sink would."""
    for table in tables:
        names = [column.name for column in table.columns]
        rows = await shop.fetch(f"SELECT {', '.join(map(raw.quoted, names))} FROM {table.name} WHERE {where}")
        await warehouse.copy_records_to_table(
            table.raw,
            schema_name="raw",
            columns=[*names, "__op", "__source_ts_ms", "__source_lsn", "__emitted_at"],
            records=[(*row, op, 0, 0, at) for row in rows],
        )


@pytest.fixture(scope="package")
async def shop(seeded: object, scratch_url: str) -> AsyncIterator[Any]:
    """A connection to the seeded shop's database."""
    opened = await asyncpg.connect(scratch_url.replace("+asyncpg", "", 1))
    yield opened
    await opened.close()


@pytest.fixture(scope="package")
async def warehouse(database: dict[str, Any], shop: Any) -> AsyncIterator[Any]:
    """A superuser's connection to the warehouse, whose raw tables hold the seeded shop."""
    tables = await catalogue.read(shop)
    opened = await asyncpg.connect(**database)
    await opened.execute(f"CREATE SCHEMA raw; CREATE SCHEMA cdc; GRANT USAGE ON SCHEMA raw, cdc TO {TRANSFORMER}")
    await raw.ensure(opened, tables)
    await state.ensure(opened)
    await opened.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA raw, cdc TO {TRANSFORMER}")
    await take(shop, opened, tables, "true", "r", COPIED_AT)
    for table in tables:
        await state.keep(opened, state.Copy(table.raw, COPIED_AT, snapshot_lsn=1, rows=0, seconds=0))
    yield opened
    await opened.close()


@pytest.fixture(scope="package")
def dbt(database: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Dbt:
    """dbt on the warehouse."""
    return Dbt(tmp_path_factory.mktemp("dbt"))


@pytest.fixture
def as_analyst(database: dict[str, Any]) -> Callable[[str], Coroutine[Any, Any, Any]]:
    """Runs a query as an analyst would."""

    async def run(query: str) -> Any:
        opened = await asyncpg.connect(**{**database, "user": ANALYST, "password": PASSWORD})
        try:
            return await opened.fetch(query)
        finally:
            await opened.close()

    return run

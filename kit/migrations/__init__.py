"""Alembic without an ini file: one history a schema, run by one call."""

from importlib import resources
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, event, text
from sqlalchemy.ext.asyncio import create_async_engine

HISTORIES: Final = {
    "outbox": "kit",
    "accounts": "oltp.accounts",
    "catalog": "oltp.catalog",
    "orders": "oltp.orders",
    "inventory": "oltp.inventory",
    "payments": "oltp.payments",
    "shipping": "oltp.shipping",
    "notifications": "oltp.notifications",
    "sales": "oltp.sales",
    "experiments": "oltp.experiments",
}
"""Schema → the package whose ``migrations/versions`` folder holds its history."""

_LOCK: Final = 7_405_311_842_001


def versions(schema: str) -> Path:
    """The folder of a schema's migrations."""
    return Path(str(resources.files(HISTORIES[schema]))) / "migrations"


def _run_scripts(_cursor: Any, statement: str, _parameters: Any, context: Any) -> bool:
    """Sends several statements at once by the simple protocol; asyncpg prepares all others, one at a time."""
    if ";" not in statement.rstrip().rstrip(";"):
        return False
    context.root_connection.connection.dbapi_connection.run_async(lambda driver: driver.execute(statement))
    return True


def _upgrade(connection: Connection, schema: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(versions(schema)))
    script = ScriptDirectory.from_config(config)
    connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{schema}"'))
    with EnvironmentContext(config, script, fn=lambda current, _: script._upgrade_revs(revision, current)) as env:
        env.configure(connection=connection, version_table_schema=schema, version_table="alembic_version")
        env.run_migrations()


async def upgrade_all(url: str, *, schemas: tuple[str, ...] = tuple(HISTORIES)) -> None:
    """Brings every schema to its newest revision, all in one transaction and one process at a time.

    Locks are waited for 5 s at most, so that a migration can't queue the shop's traffic up behind itself.
    """
    engine = create_async_engine(url)
    event.listen(engine.sync_engine, "do_execute", _run_scripts)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            await connection.execute(text("SET LOCAL lock_timeout = '5s'"))
            for schema in schemas:
                await connection.run_sync(_upgrade, schema, "heads")
    finally:
        await engine.dispose()

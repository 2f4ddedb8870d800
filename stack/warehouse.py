"""The warehouse's server: its roles and database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from cdc.tables import RAW
from stack.definitions import PROCESSES, WAREHOUSE
from stack.environment import WAREHOUSE_DATABASE, ensure_secrets
from stack.instance import Instance

LOADER: Final = "loader"
TRANSFORMER: Final = "transformer"
ANALYST: Final = "analyst"
DAGSTER: Final = "dagster"
"""Also the name of its database: what Dagster knows of its runs is no analyst's matter."""

PASSWORDS: Final[Mapping[str, str]] = {
    LOADER: "SURGE_LOADER_PASSWORD",
    TRANSFORMER: "SURGE_TRANSFORMER_PASSWORD",
    ANALYST: "SURGE_ANALYST_PASSWORD",
    DAGSTER: "SURGE_DAGSTER_PASSWORD",
}
"""Role → the variable that holds its password."""

_GRANTS: Final = f"""
    GRANT CREATE, TEMPORARY ON DATABASE {WAREHOUSE_DATABASE} TO {TRANSFORMER};
    GRANT TEMPORARY ON DATABASE {WAREHOUSE_DATABASE} TO {LOADER};
    CREATE SCHEMA IF NOT EXISTS {RAW} AUTHORIZATION {LOADER};
    CREATE SCHEMA IF NOT EXISTS cdc AUTHORIZATION {LOADER};
    GRANT USAGE ON SCHEMA {RAW}, cdc TO {TRANSFORMER};
    GRANT SELECT ON ALL TABLES IN SCHEMA {RAW}, cdc TO {TRANSFORMER};
    ALTER DEFAULT PRIVILEGES FOR ROLE {LOADER} IN SCHEMA {RAW}, cdc GRANT SELECT ON TABLES TO {TRANSFORMER};
    GRANT {TRANSFORMER} TO {LOADER};
    ALTER ROLE {TRANSFORMER} SET synchronous_commit = off;
    ALTER ROLE {DAGSTER} SET synchronous_commit = off;
    ALTER ROLE {ANALYST} SET default_transaction_read_only = on;
    ALTER ROLE {ANALYST} SET statement_timeout = '60s';
"""
"""The transformer may lose what it wrote last before a crash: dbt builds it again. The loader may not; it belongs to
the transformer, since a raw column that changes its type has views of the transformer's put back over it."""


@dataclass(frozen=True, slots=True)
class Warehouse:
    """The warehouse's server and the secrets of its stack."""

    host: str
    port: int
    secret: Mapping[str, str]

    @classmethod
    def of(cls, instance: Instance) -> "Warehouse":
        """The native server of an instance."""
        return cls("127.0.0.1", instance.port(PROCESSES[WAREHOUSE].port), ensure_secrets(instance))

    @asynccontextmanager
    async def superuser(self, database: str = "postgres") -> AsyncIterator[Any]:
        """A connection of the server's superuser."""
        async with self._connection("postgres", self.secret["SURGE_WAREHOUSE_PASSWORD"], database) as connection:
            yield connection

    @asynccontextmanager
    async def analyst(self) -> AsyncIterator[Any]:
        """A connection of those who may only read the marts."""
        async with self._connection(ANALYST, self.secret[PASSWORDS[ANALYST]], WAREHOUSE_DATABASE) as connection:
            yield connection

    @asynccontextmanager
    async def _connection(self, user: str, password: str, database: str) -> AsyncIterator[Any]:
        connection = await asyncpg.connect(
            host=self.host, port=self.port, user=user, password=password, database=database, timeout=10
        )
        try:
            yield connection
        finally:
            await connection.close()


async def ensure_roles(warehouse: Warehouse) -> str:
    """The roles, with their passwords at their creation, the database, and who may do what in it."""
    async with warehouse.superuser() as connection:
        known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        for role, password in PASSWORDS.items():
            if role not in known:
                literal = await connection.fetchval("SELECT quote_literal($1::text)", warehouse.secret[password])
                await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD {literal}")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", WAREHOUSE_DATABASE):
            await connection.execute(f"CREATE DATABASE {WAREHOUSE_DATABASE}")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DAGSTER):
            await connection.execute(f"CREATE DATABASE {DAGSTER} OWNER {DAGSTER}")
            await connection.execute(f"REVOKE CONNECT ON DATABASE {DAGSTER} FROM PUBLIC")
    async with warehouse.superuser(WAREHOUSE_DATABASE) as connection:
        await connection.execute(_GRANTS)
    return "roles and database"

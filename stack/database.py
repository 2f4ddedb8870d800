"""Postgres: roles, databases, the publication that Debezium reads, and the migrations."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from cdc.outbox import OUTBOX_TABLE, PUBLICATION
from stack.definitions import POSTGRES, PROCESSES
from stack.environment import DATABASE, OWNER, REPLICATION_ROLE, build, ensure_secrets
from stack.instance import ROOT, Instance

_SCHEMA_STAMP: Final = "schema-stamp"


@asynccontextmanager
async def superuser(instance: Instance, database: str = "postgres") -> AsyncIterator[Any]:
    """A connection of Postgres's superuser."""
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=instance.port(PROCESSES[POSTGRES].port),
        user="postgres",
        password=ensure_secrets(instance)["SURGE_POSTGRES_PASSWORD"],
        database=database,
        timeout=10,
    )
    try:
        yield connection
    finally:
        await connection.close()


async def ensure_roles(instance: Instance) -> str:
    """The roles with the passwords of this instance's secrets, and the shop's database."""
    secret = ensure_secrets(instance)
    roles = {
        OWNER: ("LOGIN", secret["SURGE_DATABASE_PASSWORD"]),
        REPLICATION_ROLE: ("LOGIN REPLICATION", secret["SURGE_DEBEZIUM_PASSWORD"]),
    }
    async with superuser(instance) as connection:
        known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        for role, (attributes, password) in roles.items():
            if role not in known:
                literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
                await connection.execute(f'CREATE ROLE "{role}" {attributes} PASSWORD {literal}')
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}" OWNER "{OWNER}"')
    return "roles and database"


def _histories() -> str:
    digest = hashlib.sha256()
    for file in sorted(ROOT.glob("*/**/migrations/**/*.py")):
        if ".surge" not in file.parts:
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


async def migrate(instance: Instance, *, always: bool = False) -> str:
    """Brings every schema to its newest revision, then the publication. Skipped while no migration file changed.

    The comment on the database remembers which files it was brought up to, so a restored one is looked at again.
    """
    from kit.migrations import HISTORIES, upgrade_all

    wanted = _histories()
    async with superuser(instance, DATABASE) as connection:
        comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        if not always and await connection.fetchval(comment) == f"{_SCHEMA_STAMP} {wanted}":
            return f"{len(HISTORIES)} schemas, unchanged"
    present = tuple(
        schema
        for schema, package in HISTORIES.items()
        if (ROOT / package.replace(".", "/") / "migrations" / "versions").is_dir()
        and (ROOT / package.replace(".", "/") / "__init__.py").exists()
    )
    await upgrade_all(build(instance)["SURGE_DATABASE_URL"], schemas=present)
    async with superuser(instance, DATABASE) as connection:
        await _ensure_publication(connection)
        await connection.execute(f"COMMENT ON DATABASE \"{DATABASE}\" IS '{_SCHEMA_STAMP} {wanted}'")
    return f"{len(present)} schemas migrated"


async def _ensure_publication(connection: Any) -> None:
    schema, _ = OUTBOX_TABLE.split(".")
    if not await connection.fetchval("SELECT 1 FROM pg_publication WHERE pubname = $1", PUBLICATION):
        await connection.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {OUTBOX_TABLE} WITH (publish = 'insert')")
        await connection.execute(f'ALTER PUBLICATION {PUBLICATION} OWNER TO "{OWNER}"')
    await connection.execute(f'GRANT USAGE ON SCHEMA {schema} TO "{REPLICATION_ROLE}"')
    await connection.execute(f'GRANT SELECT ON {OUTBOX_TABLE} TO "{REPLICATION_ROLE}"')

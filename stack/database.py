"""Postgres: roles, databases, the publication that Debezium reads, and the migrations."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg

from cdc.source import OUTBOX_TABLE, PUBLICATION, SLOT, SourceDatabase
from stack.definitions import POSTGRES, PROCESSES
from stack.environment import DATABASE, OWNER, REPLICATION_ROLE, ensure_secrets
from stack.errors import StackError
from stack.instance import ROOT, Instance

_SCHEMA_STAMP: Final = "schema-stamp"


@dataclass(frozen=True, slots=True)
class Server:
    """A Postgres server and the secrets of its stack. ``dialled``: the port that others reach it by, if another."""

    host: str
    port: int
    secret: Mapping[str, str]
    dialled: int | None = None

    @classmethod
    def of(cls, instance: Instance) -> "Server":
        """The native server of an instance."""
        offset = PROCESSES[POSTGRES].port
        return cls("127.0.0.1", instance.port(offset), ensure_secrets(instance), instance.dial_base + offset)

    @property
    def url(self) -> str:
        """The shop's database, as its owner."""
        password = self.secret["SURGE_DATABASE_PASSWORD"]
        return f"postgresql+asyncpg://{OWNER}:{password}@{self.host}:{self.port}/{DATABASE}"

    @property
    def source(self) -> SourceDatabase:
        """The shop's database, as Debezium reads it."""
        return SourceDatabase(
            host=self.host,
            port=self.dialled or self.port,
            name=DATABASE,
            user=REPLICATION_ROLE,
            password=self.secret["SURGE_DEBEZIUM_PASSWORD"],
        )

    @asynccontextmanager
    async def superuser(self, database: str = "postgres") -> AsyncIterator[Any]:
        """A connection of the server's superuser."""
        connection = await asyncpg.connect(
            host=self.host,
            port=self.port,
            user="postgres",
            password=self.secret["SURGE_POSTGRES_PASSWORD"],
            database=database,
            timeout=10,
        )
        try:
            yield connection
        finally:
            await connection.close()


async def ensure_roles(server: Server) -> str:
    """The roles, with their passwords at their creation, and the shop's database."""
    roles = {
        OWNER: ("LOGIN", server.secret["SURGE_DATABASE_PASSWORD"]),
        REPLICATION_ROLE: ("LOGIN REPLICATION", server.secret["SURGE_DEBEZIUM_PASSWORD"]),
    }
    async with server.superuser() as connection:
        known = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        for role, (attributes, password) in roles.items():
            if role not in known:
                literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
                await connection.execute(f'CREATE ROLE "{role}" {attributes} PASSWORD {literal}')
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f'CREATE DATABASE "{DATABASE}" OWNER "{OWNER}"')
    return "roles and database"


def _histories() -> str:
    from kit.migrations import HISTORIES

    digest = hashlib.sha256()
    for package in sorted(HISTORIES.values()):
        for file in sorted((ROOT / package.replace(".", "/") / "migrations").rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


async def migrated(server: Server) -> bool:
    """Whether every schema was brought to its newest revision, by the files' present state.

    The comment on the database remembers which files it was brought up to, so a restored one is looked at again.
    """
    async with server.superuser(DATABASE) as connection:
        comment = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()"
        return bool(await connection.fetchval(comment) == f"{_SCHEMA_STAMP} {_histories()}")


async def migrate(server: Server, *, always: bool = False) -> str:
    """Brings every schema to its newest revision, then the publication. Skipped while no migration file changed."""
    from kit.migrations import HISTORIES, upgrade_all

    wanted = _histories()
    if not always and await migrated(server):
        return f"{len(HISTORIES)} schemas, unchanged"
    await upgrade_all(server.url)
    async with server.superuser(DATABASE) as connection:
        await _ensure_publication(connection)
        await connection.execute(f"COMMENT ON DATABASE \"{DATABASE}\" IS '{_SCHEMA_STAMP} {wanted}'")
    return f"{len(HISTORIES)} schemas migrated"


async def wait_streaming(server: Server, *, seconds: float = 60) -> None:
    """Waits until Debezium reads from the slot: Connect's own word may be of its previous life.

    Raises:
        StackError: if it does not in time.
    """
    try:
        async with asyncio.timeout(seconds), server.superuser() as connection:
            while True:
                slot = "SELECT active FROM pg_replication_slots WHERE slot_name = $1"
                if await connection.fetchval(slot, SLOT):
                    return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise StackError(f"nobody reads the replication slot {SLOT} after {seconds:.0f} s") from None


async def _ensure_publication(connection: Any) -> None:
    schema, _ = OUTBOX_TABLE.split(".")
    if not await connection.fetchval("SELECT 1 FROM pg_publication WHERE pubname = $1", PUBLICATION):
        await connection.execute(f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {OUTBOX_TABLE} WITH (publish = 'insert')")
        await connection.execute(f'ALTER PUBLICATION {PUBLICATION} OWNER TO "{OWNER}"')
    await connection.execute(f'GRANT USAGE ON SCHEMA {schema} TO "{REPLICATION_ROLE}"')
    await connection.execute(f'GRANT SELECT ON {OUTBOX_TABLE} TO "{REPLICATION_ROLE}"')

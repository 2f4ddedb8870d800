"""Postgres: one engine a process, read and write sessions as different types, commit at the boundary."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, cast

import orjson
from fastapi import Depends
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from starlette.requests import HTTPConnection

from kit.settings import Settings

NAMING: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def metadata(schema: str) -> MetaData:
    """The metadata of one service's tables, in a schema of its own."""
    return MetaData(schema=schema, naming_convention=NAMING)


class ReadSession(AsyncSession):
    """A session whose transaction is read-only in Postgres."""


class WriteSession(ReadSession):
    """A session that the boundary commits. Nobody else calls ``commit``."""


class Database:
    """The engine and the two kinds of session."""

    def __init__(self, url: str, *, pool_size: int = 8, application_name: str = "surge") -> None:
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=5,
            pool_pre_ping=False,
            json_serializer=lambda value: orjson.dumps(value).decode(),
            json_deserializer=orjson.loads,
            connect_args={
                "timeout": 5,
                "command_timeout": 60,
                "server_settings": {"application_name": application_name, "timezone": "UTC", "jit": "off"},
            },
        )
        options: dict[str, Any] = {"expire_on_commit": False, "autoflush": False}
        self._read = async_sessionmaker(self.engine, class_=ReadSession, **options)
        self._write = async_sessionmaker(self.engine, class_=WriteSession, **options)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[ReadSession]:
        """A read-only transaction."""
        async with self._read() as session:
            await session.execute(text("SET TRANSACTION READ ONLY"))
            yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[WriteSession]:
        """A transaction that is committed when the block ends, and rolled back when it raises."""
        async with self._write() as session, session.begin():
            yield session

    async def ping(self) -> None:
        """Raises if the database does not answer."""
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Closes every connection."""
        await self.engine.dispose()


def from_settings(settings: Settings) -> Database:
    """The process's database."""
    return Database(
        settings.database_url.get_secret_value(),
        pool_size=settings.database_pool_size,
        application_name=f"{settings.instance}.{settings.process}",
    )


def _database(connection: HTTPConnection) -> Database:
    return cast(Database, connection.state.resources.database)


async def _read_session(connection: HTTPConnection) -> AsyncIterator[ReadSession]:
    async with _database(connection).read() as session:
        yield session


async def _write_session(connection: HTTPConnection) -> AsyncIterator[WriteSession]:
    async with _database(connection).write() as session:
        yield session


ReadSessionDep = Annotated[ReadSession, Depends(_read_session, scope="function")]
WriteSessionDep = Annotated[WriteSession, Depends(_write_session, scope="function")]
"""Commits before the response goes out: with the default scope a commit that fails would still answer 2xx."""

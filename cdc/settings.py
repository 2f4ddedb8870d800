"""How the shop's database, the warehouse and the Connect workers are reached."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pydantic import Field, SecretStr
from sqlalchemy.engine import make_url

from kit.settings import Settings


class CdcSettings(Settings):
    """What capture needs besides what all processes share."""

    connect_url: str = Field(description="The REST interface of the Connect worker that runs the source.")
    sink_url: str = Field(description="The REST interface of the Connect worker that runs the sinks.")
    debezium_password: SecretStr
    warehouse_host: str = "127.0.0.1"
    warehouse_port: int = 18160
    warehouse_database: str = "warehouse"
    loader_password: SecretStr

    @asynccontextmanager
    async def shop(self, **options: Any) -> AsyncIterator[Any]:
        """A connection to the shop's database, as its owner."""
        url = self.database_url.get_secret_value().replace("+asyncpg", "", 1)
        connection = await asyncpg.connect(url, timeout=10, **options)
        try:
            yield connection
        finally:
            await connection.close()

    @asynccontextmanager
    async def warehouse(self, **options: Any) -> AsyncIterator[Any]:
        """A connection to the warehouse, as its loader."""
        connection = await asyncpg.connect(
            host=self.warehouse_host,
            port=self.warehouse_port,
            user="loader",
            password=self.loader_password.get_secret_value(),
            database=self.warehouse_database,
            timeout=10,
            **options,
        )
        try:
            yield connection
        finally:
            await connection.close()

    @property
    def shop_database(self) -> tuple[str, int, str]:
        """Host, port and name of the shop's database."""
        url = make_url(self.database_url.get_secret_value())
        return url.host or "127.0.0.1", url.port or 5432, url.database or "surge"

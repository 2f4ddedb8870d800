"""How the shop's database, the warehouse and the Connect workers are reached."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from pydantic import Field, SecretStr
from sqlalchemy.engine import make_url

from cdc.source import SourceDatabase
from kit.settings import Settings


class CdcSettings(Settings):
    """What capture needs besides what all processes share."""

    connect_url: str = Field(description="The REST interface of the Connect worker that runs the source.")
    sink_url: str = Field(description="The REST interface of the Connect worker that runs the sinks.")
    debezium_role: str = "debezium"
    debezium_password: SecretStr
    warehouse_host: str = "127.0.0.1"
    warehouse_port: int = 18160
    warehouse_database: str = "warehouse"
    loader_password: SecretStr
    cdc_wal_alert_mb: int = Field(
        default=1024, ge=1, description="Megabytes of the shop's log that the slot may keep back before it is told."
    )

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
    def source(self) -> SourceDatabase:
        """The shop's database as Debezium reads it."""
        url = make_url(self.database_url.get_secret_value())
        return SourceDatabase(
            host=url.host or "127.0.0.1",
            port=url.port or 5432,
            name=url.database or "surge",
            user=self.debezium_role,
            password=self.debezium_password.get_secret_value(),
        )

    @property
    def target(self) -> dict[str, str]:
        """The warehouse as the sinks write it."""
        return {
            "host": self.warehouse_host,
            "port": str(self.warehouse_port),
            "database": self.warehouse_database,
            "password": self.loader_password.get_secret_value(),
        }

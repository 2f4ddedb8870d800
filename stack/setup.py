"""What must be there before the services start, brought about from settings alone: the containers' one-off job.

``python -m stack.setup``: database, migrations, topics, connectors, demo shop, raw tables. Natively `surge up` does
the same steps.
"""

import asyncio
import os

import structlog
from pydantic import Field, SecretStr
from sqlalchemy.engine import make_url

from cdc import run as capture
from cdc.connect import ConnectClient
from cdc.settings import CdcSettings
from cdc.source import CONNECTOR, connector
from kit import telemetry
from kit.settings import Settings
from stack import database, demo, kafka, warehouse
from stack.database import Server
from stack.errors import StackError
from stack.warehouse import Warehouse

log = structlog.get_logger()


class SetupSettings(Settings):
    """What the job needs besides what all processes share."""

    connect_url: str
    postgres_password: SecretStr
    debezium_password: SecretStr
    kafka_replication: int = Field(default=1, ge=1, description="Copies of each topic that is created.")
    warehouse_host: str = "127.0.0.1"
    warehouse_port: int = 18160
    warehouse_password: SecretStr | None = Field(
        default=None, description="Of the warehouse's superuser; without it, there is no data platform."
    )
    loader_password: SecretStr = SecretStr("")
    transformer_password: SecretStr = SecretStr("")
    analyst_password: SecretStr = SecretStr("")
    setup_demo: bool = Field(default=True, description="Whether an empty shop is filled with the demo's data.")

    def warehouse(self) -> Warehouse | None:
        """The warehouse's server, if there is one."""
        if self.warehouse_password is None:
            return None
        passwords = {
            "SURGE_WAREHOUSE_PASSWORD": self.warehouse_password,
            warehouse.PASSWORDS[warehouse.LOADER]: self.loader_password,
            warehouse.PASSWORDS[warehouse.TRANSFORMER]: self.transformer_password,
            warehouse.PASSWORDS[warehouse.ANALYST]: self.analyst_password,
        }
        secret = {name: password.get_secret_value() for name, password in passwords.items()}
        if missing := [name for name, password in secret.items() if not password]:
            raise StackError(f"the warehouse's roles need passwords: {', '.join(missing)}")
        return Warehouse(self.warehouse_host, self.warehouse_port, secret)

    def server(self) -> Server:
        """The server behind ``database_url``."""
        url = make_url(self.database_url.get_secret_value())
        return Server(
            host=url.host or "127.0.0.1",
            port=url.port or 5432,
            secret={
                "SURGE_DATABASE_PASSWORD": str(url.password),
                "SURGE_POSTGRES_PASSWORD": self.postgres_password.get_secret_value(),
                "SURGE_DEBEZIUM_PASSWORD": self.debezium_password.get_secret_value(),
            },
        )


async def set_up(settings: SetupSettings) -> None:
    """Does every step; each is safe to repeat."""
    server = settings.server()
    log.info("setup.done", step="database", result=await database.ensure_roles(server))
    log.info("setup.done", step="migrations", result=await database.migrate(server))
    log.info("setup.done", step="topics", result=await _topics(settings))
    async with ConnectClient(settings.connect_url) as client:
        await client.put(CONNECTOR, connector(server.source))
        await client.wait_healthy(CONNECTOR)
    await database.wait_streaming(server)
    log.info("setup.done", step="connectors", result=CONNECTOR)
    if settings.setup_demo:
        log.info("setup.done", step="seed", result=await demo.seed())
    if store := settings.warehouse():
        log.info("setup.done", step="warehouse", result=await warehouse.ensure_roles(store))
        log.info("setup.done", step="raw", result=await capture.ensure(CdcSettings()))
        log.info("setup.done", step="visits", result=await demo.tell_visits())


async def _topics(settings: SetupSettings) -> str:
    return await kafka.ensure_topics(settings.kafka_bootstrap, replication=settings.kafka_replication)


def main() -> None:
    """Runs the job."""
    os.environ.setdefault("SURGE_PROCESS", "setup")
    settings = SetupSettings()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    asyncio.run(set_up(settings))


if __name__ == "__main__":
    main()

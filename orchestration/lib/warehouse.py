"""The warehouse, asked by Dagster itself: as the transformer, which reads ``raw`` and owns what dbt builds."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg
import psycopg2
import psycopg2.extras

from orchestration.settings import OrchestrationSettings

Row = Mapping[str, Any]


class Warehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """A connection for each question; nothing is kept open between them."""

    @contextmanager
    def connect(self, *, statement_seconds: int = 600) -> Iterator[Any]:
        """A connection that commits each statement for itself, as VACUUM asks for."""
        settings = OrchestrationSettings()
        connection = psycopg2.connect(
            host=settings.warehouse_host,
            port=settings.warehouse_port,
            user="transformer",
            password=settings.transformer_password.get_secret_value(),
            dbname=settings.warehouse_database,
            connect_timeout=10,
            application_name="dagster",
            options=f"-c statement_timeout={statement_seconds * 1000}",
        )
        try:
            connection.autocommit = True
            yield connection
        finally:
            connection.close()

    def ask(self, query: Any, values: Sequence[Any] | Mapping[str, Any] = (), *, seconds: int = 60) -> list[Row]:
        """The rows of a query, at most ``seconds`` long."""
        with (
            self.connect(statement_seconds=seconds) as connection,
            connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor,
        ):
            cursor.execute(query, values)
            return list(cursor.fetchall())

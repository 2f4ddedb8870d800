"""``python -m orchestration.code``: the server that loads the graph, and starts the runs.

It becomes Dagster's own gRPC server once what that needs is there: Dagster's tables and dbt's manifest.
"""

import os
import sys

import structlog
from dagster import DagsterInstance

from kit import telemetry
from orchestration import home, manifest
from orchestration.settings import OrchestrationSettings

log = structlog.get_logger()


def main() -> None:
    """Prepares, then becomes the server; returns only by raising."""
    settings = OrchestrationSettings()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    home.prepare(settings)
    with DagsterInstance.get():  # makes the tables, before three processes try to at once
        log.info("dagster.storage_ready")
    manifest.ensure(settings.dbt_folder)
    log.info("dagster.manifest_ready", folder=str(settings.dbt_folder))
    server = [sys.executable, "-m", "dagster", "api", "grpc", "--module-name", "orchestration.definitions"]
    address = ["--host", settings.host, "--port", str(settings.port), "--location-name", home.LOCATION]
    os.execv(sys.executable, [*server, *address, "--log-format", "json", "--use-python-environment-entry-point"])  # noqa: S606


if __name__ == "__main__":
    main()

"""The graph as it is loaded from the project's files, without a server."""

import os
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from orchestration import home
from orchestration.settings import OrchestrationSettings

NOWHERE = {
    "SURGE_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/nothing",
    "SURGE_REDIS_URL": "redis://127.0.0.1:1/0",
    "SURGE_JWT_SECRET": "a secret of these tests, long enough",
    "SURGE_WAREHOUSE_HOST": "127.0.0.1",
    "SURGE_WAREHOUSE_PORT": "1",
    "SURGE_TRANSFORMER_PASSWORD": "unused",
    "SURGE_DAGSTER_PASSWORD": "unused",
    "SURGE_ADMIN_EMAIL": "operators@surge.example",
}


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrchestrationSettings]:
    """Settings that lead nowhere; Dagster's folder is a temporary one."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NOWHERE.items():
            patch.setenv(name, value)
        patch.setenv("SURGE_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("DAGSTER_HOME", "DBT_TARGET_PATH", "DBT_LOG_PATH"):
            patch.setenv(name, "")
        settings = OrchestrationSettings()
        home.prepare(settings)
        yield settings


@pytest.fixture(scope="session")
def defs(settings: OrchestrationSettings) -> dg.Definitions:
    """Everything that Dagster knows."""
    assert Path(os.environ["DBT_TARGET_PATH"]) == settings.dbt_folder
    from orchestration.definitions import defs

    return defs

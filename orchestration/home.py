"""Dagster's own folder: its instance's configuration and its workspace."""

import os
from pathlib import Path
from typing import Any, Final

import yaml

from orchestration.settings import OrchestrationSettings

LOCATION: Final = "surge"
KEPT_TICK_DAYS: Final = {"skipped": 1, "success": 7, "failure": 30, "started": 7}


def instance_configuration(settings: OrchestrationSettings) -> dict[str, Any]:
    """``dagster.yaml``. The password stays in the environment.

    Runs of dbt must not overlap: it is a pool with one place, and a run waits in the queue until it has it.
    """
    ticks = {"purge_after_days": dict(KEPT_TICK_DAYS)}
    home = str(settings.dagster_home)
    return {
        "storage": {
            "postgres": {
                "postgres_db": {
                    "hostname": settings.warehouse_host,
                    "port": settings.warehouse_port,
                    "username": "dagster",
                    "password": {"env": "SURGE_DAGSTER_PASSWORD"},
                    "db_name": "dagster",
                    "scheme": "postgresql+psycopg2",  # SQLAlchemy's own choice became psycopg 3, Dagster's did not
                }
            }
        },
        "local_artifact_storage": {
            "module": "dagster.core.storage.root",
            "class": "LocalArtifactStorage",
            "config": {"base_dir": home},
        },
        "compute_logs": {
            "module": "dagster.core.storage.local_compute_log_manager",
            "class": "LocalComputeLogManager",
            "config": {"base_dir": f"{home}/logs"},
        },
        "concurrency": {"pools": {"default_limit": 1, "granularity": "run"}, "runs": {"max_concurrent_runs": 2}},
        "run_retries": {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False},
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 180,
            "cancel_timeout_seconds": 60,
            "poll_interval_seconds": 60,
        },
        "retention": {"schedule": ticks, "sensor": ticks},
        "freshness": {"enabled": True},
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
    }


def prepare(settings: OrchestrationSettings) -> Path:
    """Writes the configuration, and names the folder to everything of Dagster's that this process loads or starts."""
    home = settings.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    workspace = {
        "load_from": [
            {
                "grpc_server": {
                    "host": settings.dagster_code_host,
                    "port": settings.dagster_code_port,
                    "location_name": LOCATION,
                }
            }
        ]
    }
    _write(home / "dagster.yaml", instance_configuration(settings))
    _write(home / "workspace.yaml", workspace)
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ["DBT_TARGET_PATH"] = str(settings.dbt_folder)
    os.environ["DBT_LOG_PATH"] = str(settings.dbt_folder)
    return home


def _write(file: Path, content: dict[str, Any]) -> None:
    # three processes may write it at once, all of them the same
    fresh = file.with_name(f"{file.name}.{os.getpid()}")
    fresh.write_text(yaml.safe_dump(content, sort_keys=False))
    fresh.replace(file)

"""dbt's models, views and snapshots, built together: what fails stops what depends on it, inside dbt."""

import json
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliInvocation, DbtCliResource, dbt_assets
from pydantic import Field

from orchestration.defs.warehouse import project
from orchestration.lib.warehouse import Warehouse

POOL = "dbt"
"""Runs of dbt must not overlap: incremental models take from each other what is new by the time it was built."""

_RETRIES = dg.RetryPolicy(max_retries=2, delay=15, backoff=dg.Backoff.EXPONENTIAL)

_ROWS = "SELECT n_live_tup AS rows FROM pg_stat_user_tables WHERE schemaname = %s AND relname = %s"


class Build(dg.Config):
    """How dbt builds. ``full_refresh`` makes incremental models anew.

    Without ``daily``, tests that read everything are left to the day's run. ``variables`` go over those of the project.
    Unit tests are the project's own (`surge test`): they say nothing of the data.
    """

    full_refresh: bool = False
    daily: bool = True
    variables: dict[str, str] = Field(default_factory=dict)

    def command(self) -> list[str]:
        """The command, without a selection."""
        return [
            "build",
            *("--exclude-resource-type", "unit_test"),
            *(["--full-refresh"] if self.full_refresh else []),
            *([] if self.daily else ["--exclude", f"tag:{project.DAILY}"]),
            *(["--vars", json.dumps(self.variables)] if self.variables else []),
        ]


@dbt_assets(
    manifest=project.graph(),
    project=project.project(),
    dagster_dbt_translator=project.names(),
    name="dbt",
    pool=POOL,
    retry_policy=_RETRIES,
)
def models(
    context: dg.AssetExecutionContext, dbt: DbtCliResource, warehouse: Warehouse, config: Build
) -> Iterator[Any]:
    """Builds what is selected of the models, with their tests.

    A run that failed at a test is not tried again: the data will not have changed. One that failed otherwise (a server
    that was restarted) is.
    """
    began = time.monotonic()
    invocation = dbt.cli(config.command(), context=context, raise_on_error=False)
    for event in invocation.stream():
        yield _counted(event, warehouse)
    context.log.info("dbt took %.1f s", time.monotonic() - began)
    if not invocation.is_successful():
        results = _results(invocation)
        failed = [result["unique_id"] for result in results if result["status"] == "fail"]
        broken = [result["unique_id"] for result in results if result["status"] == "error"]
        said = f"tests failed: {', '.join(failed)}" if failed else f"dbt failed: {', '.join(broken) or 'see its log'}"
        raise dg.Failure(said, metadata={"tests": failed, "errors": broken}, allow_retries=not failed)


def _counted(event: Any, warehouse: Warehouse) -> Any:
    """The event of a table with how many rows it has now, as the server counts them in passing."""
    if not isinstance(event, dg.Output) or "unique_id" not in event.metadata:
        return event
    node = project.graph()["nodes"][event.metadata["unique_id"].value]
    found = warehouse.ask(_ROWS, [node["schema"], node["alias"]])
    return event.with_metadata({**event.metadata, "dagster/row_count": found[0]["rows"]}) if found else event


def _results(invocation: DbtCliInvocation) -> list[dict[str, Any]]:
    try:
        results: list[dict[str, Any]] = invocation.get_artifact("run_results.json")["results"]
    except FileNotFoundError:  # dbt ended before it ran anything
        return []
    return results

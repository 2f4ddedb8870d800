"""dbt's models, views and snapshots, built together: what fails stops what depends on it, inside dbt."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, dbt_assets

from orchestration.defs.warehouse import project

POOL = "dbt"
"""Runs of dbt must not overlap: incremental models take from each other what is new by the time it was built."""

_RETRIES = dg.RetryPolicy(max_retries=2, delay=15, backoff=dg.Backoff.EXPONENTIAL)


@dbt_assets(
    manifest=project.graph(),
    project=project.project(),
    dagster_dbt_translator=project.names(),
    name="dbt",
    pool=POOL,
    retry_policy=_RETRIES,
)
def models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator[Any]:
    """Builds what is selected of the models, with their tests.

    A run that failed at a test is not tried again: the data will not have changed. One that failed otherwise (a server
    that was restarted) is.
    """
    began = time.monotonic()
    invocation = dbt.cli(["build"], context=context, raise_on_error=False)
    yield from invocation.stream()
    context.log.info("dbt took %.1f s", time.monotonic() - began)
    if not invocation.is_successful():
        results = _results(invocation)
        failed = [result["unique_id"] for result in results if result["status"] == "fail"]
        broken = [result["unique_id"] for result in results if result["status"] == "error"]
        said = f"tests failed: {', '.join(failed)}" if failed else f"dbt failed: {', '.join(broken) or 'see its log'}"
        raise dg.Failure(said, metadata={"tests": failed, "errors": broken}, allow_retries=not failed)


def _results(invocation: Any) -> list[dict[str, Any]]:
    try:
        results: list[dict[str, Any]] = invocation.get_artifact("run_results.json")["results"]
    except FileNotFoundError:  # dbt ended before it ran anything
        return []
    return results

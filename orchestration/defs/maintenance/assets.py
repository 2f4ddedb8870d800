"""What keeps the warehouse and Dagster itself in shape, and shows it: statistics by day, vacuum and proof by week."""

import asyncio
import datetime as dt
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource
from psycopg2 import sql

from cdc.connect import ConnectClient
from cdc.settings import CdcSettings
from orchestration.defs.maintenance.plots import bars, markdown
from orchestration.defs.warehouse.assets import POOL
from orchestration.lib.warehouse import Warehouse
from orchestration.settings import OrchestrationSettings

GROUP = "maintenance"
KEPT_DAYS = 14
"""How long runs, their logs and what dbt wrote in them are kept."""

_TABLES = """
    SELECT s.schemaname AS schema, s.relname AS name, pg_total_relation_size(s.relid) AS bytes, s.n_live_tup AS rows,
           s.n_dead_tup AS dead, s.n_mod_since_analyze AS modified, pg_has_role(c.relowner, 'MEMBER') AS own
    FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
    ORDER BY bytes DESC
"""


@dg.asset(
    key=["maintenance", "statistics"],
    deps=[["sales", "agg_sales_daily"], ["products", "agg_product_performance"]],  # the last ones to be built
    group_name=GROUP,
    kinds={"postgres"},
    pool=POOL,
)
def statistics(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[Any]:
    """Planner statistics of the marts whose rows have changed by a tenth since the last; sizes of all tables."""
    tables = warehouse.ask(_TABLES)
    stale = [table for table in tables if table["own"] and table["modified"] > 0.1 * max(table["rows"], 100)]
    with warehouse.connect() as connection, connection.cursor() as cursor:
        for number, table in enumerate(stale, 1):
            began = time.monotonic()
            cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table["schema"], table["name"])))
            context.log.info(
                "analysed %s.%s (%d of %d) in %.1f s",
                table["schema"],
                table["name"],
                number,
                len(stale),
                time.monotonic() - began,
            )
    largest = [(f"{table['schema']}.{table['name']}", table["bytes"] / 2**20) for table in tables[:15]]
    return dg.MaterializeResult(
        metadata={
            "tables": len(tables),
            "analysed": len(stale),
            "size_mb": round(sum(table["bytes"] for table in tables) / 2**20, 1),
            "largest": dg.MarkdownMetadataValue(markdown(bars(largest, "MB with indexes"))),
        }
    )


@dg.asset(
    key=["maintenance", "docs"],
    deps=[["sales", "agg_sales_daily"], ["products", "agg_product_performance"]],
    group_name=GROUP,
    kinds={"dbt"},
    pool=POOL,
)
def docs(dbt: DbtCliResource) -> dg.MaterializeResult[Any]:
    """The site that describes the models, written anew and shown by the process ``docs``."""
    written = dbt.cli(["docs", "generate", "--static"]).wait()
    page = OrchestrationSettings().home / "docs" / "dbt" / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    fresh = page.with_suffix(".new")
    shutil.copyfile(written.target_path / "static_index.html", fresh)
    fresh.replace(page)
    return dg.MaterializeResult(metadata={"mb": round(page.stat().st_size / 2**20, 1)})


@dg.asset(key=["maintenance", "vacuum"], group_name=GROUP, kinds={"postgres"}, pool=POOL)
def vacuum(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[Any]:
    """Takes back the room of replaced rows in what dbt owns; beside readers, never with an exclusive lock."""
    tables = [table for table in warehouse.ask(_TABLES) if table["own"] and table["dead"] > 0]
    with warehouse.connect(statement_seconds=3600) as connection, connection.cursor() as cursor:
        for number, table in enumerate(tables, 1):
            cursor.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(table["schema"], table["name"])))
            context.log.info("vacuumed %s.%s (%d of %d)", table["schema"], table["name"], number, len(tables))
    return dg.MaterializeResult(metadata={"tables": len(tables), "dead_rows": sum(table["dead"] for table in tables)})


EQUAL = "equal_to_a_full_build"
_TWINS = ("--vars", "{suffix: __full}")
_INCREMENTAL = ("--select", "+config.materialized:incremental")


@dg.asset(
    key=["maintenance", "proof"],
    group_name=GROUP,
    kinds={"dbt"},
    pool=POOL,
    deps=[["sales", "fct_orders"], ["sales", "fct_order_items"], ["payments", "fct_payments"]],
    check_specs=[
        dg.AssetCheckSpec(
            EQUAL,
            asset=["maintenance", "proof"],
            description="Every incremental model equals, row by row, a full build of itself.",
        )
    ],
)
def proof(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> dg.MaterializeResult:  # type: ignore[type-arg]
    """Builds a twin of each incremental model in full beside it, compares them row by row, and drops the twins.

    The sinks pause meanwhile: rows that arrived between the two builds would be in the twins alone. Kafka keeps them.
    """
    began = time.monotonic()
    steps = (
        ["run", *_INCREMENTAL],
        ["run", "--full-refresh", *_TWINS, *_INCREMENTAL],
        ["run-operation", "compare_with_full", "--args", _TWINS[1]],
    )
    found: list[str] = []
    with sinks_paused():
        try:
            for number, step in enumerate(steps, 1):
                invocation = dbt.cli(step, raise_on_error=False)
                messages = [str(event.raw_event["info"]["msg"]).strip() for event in invocation.stream_raw_events()]
                found += [message for message in messages if message.startswith(("equal", "DIFFERENT", "only"))]
                context.log.info("step %d of %d after %.0f s", number, len(steps), time.monotonic() - began)
                if not found and not invocation.is_successful():
                    raise dg.Failure(f"dbt {' '.join(step)} failed")
        finally:
            dbt.cli(["run-operation", "drop_full", "--args", _TWINS[1]]).wait()
    different = [line for line in found if not line.startswith("equal")]
    return dg.MaterializeResult(
        metadata={"seconds": round(time.monotonic() - began, 1)},
        check_results=[
            dg.AssetCheckResult(
                check_name=EQUAL,
                passed=bool(found) and not different,
                description="; ".join(different) or None,
                metadata={"models": "\n".join(found)},
            )
        ],
    )


@contextmanager
def sinks_paused() -> Iterator[None]:
    """Pauses the connectors that write ``raw``, and has them go on afterwards, whatever happened."""
    url = CdcSettings().sink_url

    async def each(act: Callable[[ConnectClient, str], Awaitable[None]]) -> None:
        async with ConnectClient(url) as client:
            for connector in await client.statuses():
                await act(client, connector.name)

    asyncio.run(each(ConnectClient.pause))
    try:
        yield
    finally:
        asyncio.run(each(ConnectClient.resume))


@dg.asset(key=["maintenance", "history"], group_name=GROUP)
def history(context: dg.AssetExecutionContext) -> dg.MaterializeResult[Any]:
    """Forgets runs, their logs and what dbt wrote in them after two weeks."""
    oldest = dt.datetime.now(dt.UTC) - dt.timedelta(days=KEPT_DAYS)
    gone = 0
    while records := context.instance.get_run_records(
        dg.RunsFilter(created_before=oldest, statuses=list(_FINISHED)), limit=100
    ):
        for record in records:
            context.instance.delete_run(record.dagster_run.run_id)
        gone += len(records)
        context.log.info("%d runs forgotten", gone)
    settings = OrchestrationSettings()
    folders = [
        folder
        for parent in (settings.dbt_folder, settings.dagster_home / "logs", settings.dagster_home / "storage")
        for folder in (parent.iterdir() if parent.is_dir() else ())
        if folder.is_dir() and _changed(folder) < oldest
    ]
    for folder in folders:
        shutil.rmtree(folder)
    return dg.MaterializeResult(metadata={"runs": gone, "folders": len(folders)})


_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def _changed(folder: Path) -> dt.datetime:
    return dt.datetime.fromtimestamp(folder.stat().st_mtime, dt.UTC)

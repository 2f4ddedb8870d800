"""What is built when. The slower a number moves, or the dearer it is, the rarer it is made.

==========  ==========  ==================================================================================
``fast``    each 30 s   orders and their lines into the facts, and the sums by hour and day
``hourly``  at :07      Great Expectations at the boundary, then all marts and views but what the day changes
``daily``   at 02:30    everything, with segments, cohorts, lifetime values; statistics, and the site of the models
``weekly``  Sun 04:00   the proof of the incremental models, vacuum, the report, what is forgotten
==========  ==========  ==================================================================================

All times are UTC. Runs of dbt wait for each other.
"""

import datetime as dt
from typing import Final

import dagster as dg
from psycopg2 import sql

from orchestration.defs.cdc.assets import RAW
from orchestration.defs.maintenance import assets as maintenance
from orchestration.defs.maintenance import report
from orchestration.defs.quality.checks import raw_boundary
from orchestration.defs.warehouse import project
from orchestration.defs.warehouse.assets import models
from orchestration.lib.warehouse import Warehouse

FAST: Final = (
    ["staging", "stg_orders__orders"],
    ["staging", "stg_orders__order_items"],
    ["sales", "fct_orders"],
    ["sales", "fct_order_items"],
    ["sales", "agg_orders_hourly"],
    ["sales", "agg_orders_daily"],
)
RETRIES: Final = {"dagster/max_retries": "2"}
"""Of a run whose process was lost; a step that failed decides for itself (see ``assets``)."""

_NOT_DAILY: Final = {"ops": {"dbt": {"config": {"daily": False}}}}
_ON = dg.DefaultScheduleStatus.RUNNING
_BOUNDARY = dg.AssetSelection.checks(raw_boundary)
_MODELS = dg.AssetSelection.assets(models)

fast = dg.define_asset_job(
    "fast",
    selection=dg.AssetSelection.assets(*FAST),
    description="Orders and their lines into the facts, and the sums by hour and day.",
    config=_NOT_DAILY,
    tags={**RETRIES, "dagster/priority": "1"},
)
hourly = dg.define_asset_job(
    "hourly",
    selection=(_MODELS - dg.AssetSelection.tag(project.DAILY, "")) | _BOUNDARY,
    description="The boundary, then all marts and views but those of the day.",
    config=_NOT_DAILY,
    tags=RETRIES,
)
daily = dg.define_asset_job(
    "daily",
    selection=_MODELS | _BOUNDARY | dg.AssetSelection.assets(maintenance.statistics, maintenance.docs),
    description="The boundary, then everything, then statistics and the site of the models.",
    tags=RETRIES,
)
weekly = dg.define_asset_job(
    "weekly",
    selection=dg.AssetSelection.assets(maintenance.proof, maintenance.vacuum, maintenance.history, report.weekly),
    description="The proof of the incremental models, vacuum, the report, and what is forgotten.",
    tags=RETRIES,
)
TAKEN: Final = ((("sales", "fct_orders"), "orders_orders"), (("sales", "fct_order_items"), "orders_order_items"))
_UNDER_WAY: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

_BUILT_LAST: Final = dg.AssetKey(["products", "agg_product_performance"])

JOBS = [fast, hourly, daily, weekly]


def has_new(warehouse: Warehouse, fact: tuple[str, str], table: str) -> bool:
    """Whether a raw table holds rows that its fact has not taken; so too while there is no fact."""
    there = warehouse.ask("SELECT to_regclass(%s) IS NOT NULL AS there", [".".join(fact)])
    taken = (
        sql.SQL("(SELECT max(_emitted_at) FROM {})").format(sql.Identifier(*fact)) if there[0]["there"] else sql.NULL
    )
    # counted, not EXISTS: for the first row alone the planner would read the table from its beginning
    query = sql.SQL("SELECT count(*) > 0 AS new FROM raw.{} WHERE __emitted_at > coalesce({}, {}::timestamptz)")
    query = query.format(sql.Identifier(table), taken, sql.Literal("-infinity"))
    return bool(warehouse.ask(query)[0]["new"])


def built(instance: dg.DagsterInstance) -> bool:
    """Whether everything was built once; until then, only ``fast`` and ``daily`` find what they read."""
    return instance.get_latest_materialization_event(_BUILT_LAST) is not None


@dg.sensor(job=fast, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING)
def every_half_minute(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.RunRequest | dg.SkipReason:
    """Skips while there is nothing new, and while the run before is still waiting or at work.

    A sensor, because no schedule is shorter than a minute: a run takes some 25 s, and an order has to be in its fact
    90 s after it was placed, also the one that came just too late for a run.
    """
    if context.instance.get_runs(dg.RunsFilter(job_name=fast.name, statuses=_UNDER_WAY), limit=1):
        return dg.SkipReason("the run before is not done")
    if not any(has_new(warehouse, fact, table) for fact, table in TAKEN):
        return dg.SkipReason("nothing has arrived since")
    return dg.RunRequest()


@dg.schedule(job=hourly, cron_schedule="7 * * * *", default_status=_ON)
def every_hour(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Skips until everything was built once."""
    if not built(context.instance):
        return dg.SkipReason("everything has to be built once before: by the sensor first_build, or the job daily")
    return dg.RunRequest()


@dg.sensor(job=daily, minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
def first_build(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Builds everything once as soon as something has arrived; a try that failed is repeated an hour later."""
    if built(context.instance):
        return dg.SkipReason("everything was built before")
    if context.instance.get_latest_materialization_event(dg.AssetKey([RAW, "orders_orders"])) is None:
        return dg.SkipReason("no order has arrived yet")
    return dg.RunRequest(run_key=f"first/{dt.datetime.now(dt.UTC):%Y-%m-%dT%H}")


SCHEDULES = [
    every_hour,
    dg.ScheduleDefinition(name="every_day", job=daily, cron_schedule="30 2 * * *", default_status=_ON),
    dg.ScheduleDefinition(name="every_week", job=weekly, cron_schedule="0 4 * * 0", default_status=_ON),
]
SENSORS = [every_half_minute, first_build]

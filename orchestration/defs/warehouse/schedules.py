"""When what is built."""

import dagster as dg

from orchestration.defs.warehouse.assets import models

fast = dg.define_asset_job(
    "fast",
    selection=dg.AssetSelection.assets(
        ["staging", "stg_orders__orders"],
        ["staging", "stg_orders__order_items"],
        ["sales", "fct_orders"],
        ["sales", "fct_order_items"],
        ["sales", "agg_orders_hourly"],
        ["sales", "agg_orders_daily"],
    ),
    description="Orders and their lines into the facts, and the sums by hour and day.",
)
hourly = dg.define_asset_job(
    "hourly",
    selection=dg.AssetSelection.assets(models),
    description="Every model.",
)

SCHEDULES = [
    dg.ScheduleDefinition(
        name="fast",
        job=fast,
        cron_schedule="* * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
    dg.ScheduleDefinition(
        name="hourly",
        job=hourly,
        cron_schedule="7 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    ),
]

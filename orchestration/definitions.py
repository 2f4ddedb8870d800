"""Everything that Dagster knows: ``dagster definitions validate -m orchestration.definitions``."""

import dagster as dg

from orchestration.defs.alerts import sensors as alerts
from orchestration.defs.cdc import assets as cdc
from orchestration.defs.warehouse import assets, project, schedules
from orchestration.lib.alerts import Alerts
from orchestration.lib.warehouse import Warehouse

defs = dg.Definitions(
    assets=[*cdc.specs(), assets.models, *project.exposures()],
    jobs=[schedules.fast, schedules.hourly],
    schedules=schedules.SCHEDULES,
    sensors=[alerts.failed_runs, alerts.warnings],
    resources={"dbt": project.resource(), "warehouse": Warehouse(), "alerts": Alerts()},
    executor=dg.in_process_executor,
)

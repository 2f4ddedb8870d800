"""Everything that Dagster knows: ``dagster definitions validate -m orchestration.definitions``."""

import dagster as dg

from orchestration.defs.alerts import sensors as alerts
from orchestration.defs.cdc import assets as cdc
from orchestration.defs.cdc import sensors as flow
from orchestration.defs.maintenance import assets as maintenance
from orchestration.defs.maintenance import report
from orchestration.defs.quality import checks
from orchestration.defs.warehouse import assets, months, project, schedules
from orchestration.lib.alerts import Alerts
from orchestration.lib.warehouse import Warehouse

defs = dg.Definitions(
    assets=[
        *cdc.specs(project.freshness_of_sources()),
        assets.models,
        *months.FACTS,
        *project.exposures(),
        maintenance.statistics,
        maintenance.docs,
        maintenance.proof,
        maintenance.vacuum,
        maintenance.history,
        report.weekly,
    ],
    asset_checks=[checks.raw_boundary],
    jobs=[*schedules.JOBS, months.months],
    schedules=schedules.SCHEDULES,
    sensors=[*schedules.SENSORS, flow.raw_tables, flow.cdc_lag, flow.freshness, alerts.failed_runs, alerts.warnings],
    resources={"dbt": project.resource(), "warehouse": Warehouse(), "alerts": Alerts()},
    executor=dg.in_process_executor,
)

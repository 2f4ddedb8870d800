"""What makes an alert: a run that failed, with the rows that its checks found; a check that warns; changes that do not
arrive; marts that do not follow.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import dagster as dg
from psycopg2 import sql

from orchestration.lib.alerts import Alert, Alerts
from orchestration.lib.warehouse import Warehouse

FAILURES: Final = "test_failures"
"""The schema in which dbt keeps the rows that a test at the boundary found."""

MOST_ROWS: Final = 20

_STARTED = dg.DefaultSensorStatus.RUNNING


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[dg.AssetCheckEvaluation]:
    """The checks that failed in a run, whatever their severity."""
    logged = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    evaluations = [entry.dagster_event.event_specific_data for entry in logged if entry.dagster_event is not None]
    return [found for found in evaluations if isinstance(found, dg.AssetCheckEvaluation) and not found.passed]


def rows_of(warehouse: Warehouse, check: dg.AssetCheckEvaluation) -> list[str]:
    """The rows that a check found, as text: what it says itself, or what dbt stored of the test of its name."""
    own = check.metadata.get("rows")
    if own is not None:
        rows: list[Mapping[str, Any]] = json.loads(json.dumps(own.value))
        return [_words(row) for row in rows[:MOST_ROWS]]
    stored = warehouse.ask("SELECT to_regclass(%s) IS NOT NULL AS there", [f"{FAILURES}.{check.check_name}"])
    if not stored[0]["there"]:
        return []
    table = sql.Identifier(FAILURES, check.check_name)
    return [
        _words(row) for row in warehouse.ask(sql.SQL("SELECT * FROM {} LIMIT {}").format(table, sql.Literal(MOST_ROWS)))
    ]


def _words(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.items() if not name.startswith("_") and value is not None)


def describe(warehouse: Warehouse, checks: list[dg.AssetCheckEvaluation]) -> Iterator[str]:
    """Each check and its rows."""
    for check in checks:
        found = check.metadata.get("dagster_dbt/failed_row_count") or check.metadata.get("found")
        number = f": {found.value} row{'s' if found.value != 1 else ''}" if found is not None else ""
        yield f"{check.asset_key.to_user_string()}: {check.check_name} ({check.severity.value.lower()}){number}"
        yield from (f"  {row}" for row in rows_of(warehouse, check))


@dg.run_failure_sensor(name="failed_runs", default_status=_STARTED, minimum_interval_seconds=15)
def failed_runs(context: dg.RunFailureSensorContext, warehouse: Warehouse, alerts: Alerts) -> None:
    """A run that failed for good; one that is tried again says nothing yet."""
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return
    checks = failed_checks(context.instance, run.run_id)
    reason = context.failure_event.message or "no reason given"
    details = list(describe(warehouse, checks)) or [reason]
    what = f"{len(checks)} checks failed" if len(checks) > 1 else "a check failed" if checks else "it broke off"
    key = _same(run.job_name, details)
    alerts.raise_alert(Alert(key, "run_failed", f"{run.job_name}: {what}", details, run.run_id))


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    name="warnings",
    default_status=_STARTED,
    minimum_interval_seconds=30,
)
def warnings(context: dg.RunStatusSensorContext, warehouse: Warehouse, alerts: Alerts) -> None:
    """A run that went through although a check warned."""
    run = context.dagster_run
    if checks := failed_checks(context.instance, run.run_id):
        title = f"{run.job_name}: {len(checks)} check{'s' if len(checks) > 1 else ''} warned"
        details = list(describe(warehouse, checks))
        alerts.raise_alert(Alert(_same(run.job_name, details), "check_failed", title, details, run.run_id))


def _same(job: str, details: list[str]) -> str:
    """The alert's key: what is wrong in the same way in each run of a job is told once a day."""
    found = hashlib.sha256("\n".join(details).encode()).hexdigest()[:16]
    return f"{job}/{dt.datetime.now(dt.UTC):%Y-%m-%d}/{found}"

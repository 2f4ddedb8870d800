"""What is worth an alert, and what it says."""

import datetime as dt

import pytest

from cdc.status import SlotStatus, Status, TableStatus
from orchestration.defs.cdc.sensors import MOST_LAG, lag_problems
from orchestration.lib.alerts import MOST_DETAILS, Alert, event

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
LONG = int(MOST_LAG.total_seconds() * 1000)


def flow(lag_ms: int, *problems: str) -> Status:
    table = TableStatus("orders.orders", True, 10, 3, lag_ms, 0.0)
    slot = SlotStatus(True, "reserved", 0, 0, 2**32, 2**30)
    return Status((table,), slot, (), 0, problems)


@pytest.mark.parametrize(("lag_ms", "said"), [(0, 0), (LONG, 0), (LONG + 1, 1)])
def test_changes_may_wait_for_a_while(lag_ms: int, said: int) -> None:
    assert len(lag_problems(flow(lag_ms))) == said


def test_what_the_status_calls_a_problem_is_one() -> None:
    assert lag_problems(flow(0, "nobody reads the replication slot")) == ["nobody reads the replication slot"]


def test_an_alert_leads_to_its_run_and_can_be_read() -> None:
    alert = Alert("run/7", "run_failed", "fast: a check failed", [f"row {n}" for n in range(MOST_DETAILS + 5)], "7")

    told = event(alert, recipient="operators@surge.example", pages="http://dagster.example", now=NOW)

    assert told.link == "http://dagster.example/runs/7"
    assert told.recipient == "operators@surge.example"
    assert told.details[: MOST_DETAILS + 1] == [*alert.details[:MOST_DETAILS], "… and 5 more"]

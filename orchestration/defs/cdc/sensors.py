"""What has arrived in ``raw``, and alerts when changes do not arrive or marts do not follow."""

import asyncio
import datetime as dt
import json
from typing import Final

import dagster as dg
from psycopg2 import sql

from cdc import status
from cdc.raw import EVENTS_TABLE
from cdc.settings import CdcSettings
from cdc.tables import CAPTURED
from orchestration.defs.cdc.assets import raw_key
from orchestration.lib.alerts import Alert, Alerts
from orchestration.lib.warehouse import Warehouse

MOST_LAG: Final = dt.timedelta(minutes=2)
"""Changes that have waited longer than this in Kafka are an alert."""

_FOLLOWED: Final = {
    ("sales", "fct_orders"): ("orders_orders", dt.timedelta(minutes=15)),
    ("sales", "fct_order_items"): ("orders_order_items", dt.timedelta(minutes=15)),
    ("payments", "fct_payments"): ("payments_payments", dt.timedelta(minutes=100)),
    ("fulfilment", "fct_shipments"): ("shipping_shipments", dt.timedelta(minutes=100)),
}
"""Fact → the raw table that it takes from, and for how long it may lack what is there: its schedule and some time."""

_ARRIVED: Final = """
    SELECT count(*) AS rows, max(__emitted_at) AS newest,
           (SELECT n_live_tup FROM pg_stat_user_tables WHERE schemaname = 'raw' AND relname = {name}) AS total
    FROM raw.{table} WHERE __emitted_at > %s
"""
_TOLD: Final = "told"
_RUNNING = dg.DefaultSensorStatus.RUNNING


@dg.sensor(name="raw_tables", minimum_interval_seconds=300, default_status=_RUNNING)
def raw_tables(context: dg.SensorEvaluationContext, warehouse: Warehouse) -> dg.SensorResult:
    """Tells the graph what has arrived since the last look: rows by table, and when the newest entered Kafka."""
    seen: dict[str, str] = json.loads(context.cursor or "{}")
    events: list[dg.AssetMaterialization] = []
    for table in [*(captured.raw for captured in CAPTURED), EVENTS_TABLE]:
        query = sql.SQL(_ARRIVED).format(table=sql.Identifier(table), name=sql.Literal(table))
        [found] = warehouse.ask(query, [seen.get(table, "-infinity")], seconds=120)
        if not found["rows"]:
            continue
        seen[table] = found["newest"].isoformat()
        events.append(
            dg.AssetMaterialization(
                raw_key(table),
                metadata={
                    "arrived": found["rows"],
                    "dagster/row_count": found["total"] or found["rows"],
                    "newest": dg.TimestampMetadataValue(found["newest"].timestamp()),
                },
            )
        )
    return dg.SensorResult(asset_events=events, cursor=json.dumps(seen))


@dg.sensor(name="cdc_lag", minimum_interval_seconds=60, default_status=_RUNNING)
def cdc_lag(context: dg.SensorEvaluationContext, alerts: Alerts) -> dg.SkipReason:
    """Changes wait too long, the shop's log grows for a reader that does not come, or a connector has failed."""
    found = asyncio.run(status.gather(CdcSettings(), sample=0))
    said = lag_problems(found)
    return _episode(context, alerts, "cdc_lag", "Changes of the shop do not reach the warehouse", said)


def lag_problems(found: status.Status) -> list[str]:
    """What is wrong with the flow, as sentences: lags that are too long, and what the status itself calls a problem."""
    late = [table for table in found.tables if table.lag_ms > MOST_LAG.total_seconds() * 1000]
    said = [f"{table.table}: {table.lag_rows} changes, the oldest {table.lag_ms / 1000:.0f} s old" for table in late]
    return [*said, *found.problems]


@dg.sensor(name="freshness", minimum_interval_seconds=120, default_status=_RUNNING)
def freshness(context: dg.SensorEvaluationContext, warehouse: Warehouse, alerts: Alerts) -> dg.SkipReason:
    """A fact lacks rows that have been in ``raw`` for long: its runs fail, or do not run."""
    said = behind(warehouse)
    return _episode(context, alerts, "freshness", "The marts do not follow the raw tables", said)


def behind(warehouse: Warehouse) -> list[str]:
    """The facts that lack what has been in ``raw`` for too long, as sentences."""
    said = []
    for (schema, name), (table, most) in _FOLLOWED.items():
        there = warehouse.ask("SELECT to_regclass(%s) IS NOT NULL AS there", [f"{schema}.{name}"])
        if not there[0]["there"]:
            continue
        query = sql.SQL(
            "SELECT count(*) AS rows, min(__emitted_at) AS oldest FROM raw.{raw}"
            " WHERE __emitted_at > (SELECT coalesce(max(_emitted_at), '-infinity') FROM {fact})"
            " AND __emitted_at < now() - %s"
        ).format(raw=sql.Identifier(table), fact=sql.Identifier(schema, name))
        [lacking] = warehouse.ask(query, [most], seconds=120)
        if lacking["rows"]:
            said.append(
                f"{schema}.{name} lacks {lacking['rows']} rows, the oldest of {lacking['oldest']:%d %B, %H:%M} UTC"
            )
    return said


def _episode(
    context: dg.SensorEvaluationContext, alerts: Alerts, kind: str, title: str, said: list[str]
) -> dg.SkipReason:
    """One alert for each time that something is wrong at two looks in a row: a restart is none.

    The cursor remembers since when; it is written after Kafka has the alert, so that one that failed is raised again.
    """
    if not said:
        context.update_cursor("")
        return dg.SkipReason("all is well")
    since, _, told = (context.cursor or "").partition(" ")
    if not since:
        context.update_cursor(dt.datetime.now(dt.UTC).isoformat(timespec="seconds"))
    elif not told:
        alerts.raise_alert(Alert(f"{kind}/{since}", kind, title, said))
        context.update_cursor(f"{since} {_TOLD}")
    return dg.SkipReason("; ".join(said))

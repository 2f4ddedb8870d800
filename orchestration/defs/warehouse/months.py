"""The big facts a month at a time: for a history that is too large for one build, or a month that has to be made anew.

Ordinary runs take what is new, whatever month it is of; these take one month's rows of ``raw``, new or not, and leave
what is newer than the fact's newest row to the ordinary ones (see ``to_take`` in the project's macros). Aggregates
follow with the next ordinary run: they recompute what a fact has rewritten.
"""

import json
import time
from typing import Any, Final

import dagster as dg
from dagster_dbt import DbtCliResource
from psycopg2 import sql

from orchestration.defs.cdc.assets import raw_key
from orchestration.defs.warehouse.assets import POOL
from orchestration.lib.warehouse import Warehouse

MONTHS: Final = dg.MonthlyPartitionsDefinition(start_date="2024-01-01", timezone="UTC", end_offset=1)
"""With the month that is not over yet."""

_FACTS: Final = (
    ("sales", "fct_orders", "ordered_at", "orders_orders", False),
    ("sales", "fct_order_items", "ordered_at", "orders_order_items", True),
    ("payments", "fct_payments", "started_at", "payments_payments", False),
    ("fulfilment", "fct_shipments", "booked_at", "shipping_shipments", True),
)
"""Schema, fact, the moment by which a row is of a month, its raw table, and whether it takes from its order."""


def _key(name: str) -> dg.AssetKey:
    return dg.AssetKey(["months", name])


def _month(schema: str, name: str, moment: str, raw: str, of_order: bool) -> dg.AssetsDefinition:
    @dg.asset(
        key=_key(name),
        partitions_def=MONTHS,
        deps=[raw_key(raw), *([_key("fct_orders")] if of_order else [])],
        group_name="months",
        kinds={"dbt", "postgres"},
        pool=POOL,
        description=f"One month of {schema}.{name}, made anew from raw.{raw}.",
    )
    def month(
        context: dg.AssetExecutionContext, dbt: DbtCliResource, warehouse: Warehouse
    ) -> dg.MaterializeResult[Any]:
        began = time.monotonic()
        variables = json.dumps({"month": context.partition_key})
        dbt.cli(["run", "--select", name, "--vars", variables]).wait()
        end = sql.SQL("({start}::timestamp + interval '1 month') at time zone 'UTC'").format(
            start=sql.Literal(context.partition_key)
        )
        query = sql.SQL("SELECT count(*) AS rows FROM {fact} WHERE {moment} >= {start} AND {moment} < {end}").format(
            fact=sql.Identifier(schema, name),
            moment=sql.Identifier(moment),
            start=sql.Literal(f"{context.partition_key} 00:00Z"),
            end=end,
        )
        [found] = warehouse.ask(query, seconds=300)
        return dg.MaterializeResult(
            metadata={
                "dagster/partition_row_count": found["rows"],
                "seconds": round(time.monotonic() - began, 1),
            }
        )

    return month


FACTS: Final = [_month(*fact) for fact in _FACTS]

months = dg.define_asset_job(
    "months",
    selection=dg.AssetSelection.assets(*FACTS),
    partitions_def=MONTHS,
    description="The big facts of one month, or of many as a backfill.",
    tags={"dagster/max_retries": "2"},
)

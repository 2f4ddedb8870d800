"""Dagster on the small warehouse: a bad batch stops at its check, the alert names its rows, a mended one flows."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiokafka import AIOKafkaConsumer

from contracts import topics
from contracts.envelope import decode, registry
from contracts.events import AlertRaised
from kit.settings import Settings
from tests.integration.dbt.conftest import Dbt
from tests.integration.dbt.poison import MENDED, POISON

AT_ONCE = {"ops": {"dbt": {"config": {"variables": {"grace": "0 seconds"}}}}}
"""An item waits for no order: these tests do not either."""


@pytest.fixture(scope="module")
def orchestrated(warehouse: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Settings that lead Dagster to the small warehouse, and its folder into a temporary one."""
    from orchestration import home
    from orchestration.settings import OrchestrationSettings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SURGE_HOME", str(tmp_path_factory.mktemp("home")))
        for name in ("DAGSTER_HOME", "DBT_TARGET_PATH", "DBT_LOG_PATH"):
            patch.setenv(name, "")
        home.prepare(OrchestrationSettings())
        yield


class Fast:
    """The job ``fast`` in this process, and the sensor that looks at runs that failed."""

    def __init__(self) -> None:
        from orchestration.definitions import defs

        self.job = defs.resolve_job_def("fast")
        self.instance = dg.DagsterInstance.ephemeral()

    async def run(self) -> dg.ExecuteInProcessResult:
        """Builds orders and their lines."""
        return await asyncio.to_thread(
            self.job.execute_in_process, instance=self.instance, run_config=AT_ONCE, raise_on_error=False
        )

    async def look(self, failed: dg.ExecuteInProcessResult) -> None:
        """What the daemon does when a run has failed."""
        from orchestration.defs.alerts.sensors import failed_runs
        from orchestration.lib.alerts import Alerts
        from orchestration.lib.warehouse import Warehouse

        context = dg.build_run_status_sensor_context(
            sensor_name="failed_runs",
            dagster_instance=self.instance,
            dagster_run=failed.dagster_run,
            dagster_event=failed.get_run_failure_event(),
        ).for_run_failure()
        await asyncio.to_thread(failed_runs, context, warehouse=Warehouse(), alerts=Alerts())


async def sums(warehouse: Any) -> list[Any]:
    """What the marts say of orders."""
    return [
        tuple(await warehouse.fetchrow("SELECT count(*), sum(total_amount) FROM sales.fct_orders")),
        tuple(await warehouse.fetchrow("SELECT count(*), sum(amount) FROM sales.fct_order_items")),
        tuple(await warehouse.fetchrow("SELECT sum(orders), sum(revenue) FROM sales.agg_orders_daily")),
    ]


@pytest.mark.timeout(300)
async def test_a_bad_batch_stops_is_told_by_row_and_flows_once_it_is_mended(
    warehouse: Any, settings: Settings, orchestrated: None
) -> None:
    fast = await asyncio.to_thread(Fast)
    if not await warehouse.fetchval("SELECT to_regclass('sales.fct_orders')"):
        assert (await fast.run()).success
    before = await sums(warehouse)
    await warehouse.execute(POISON)
    item, lost, twice, orphan = await warehouse.fetchrow("SELECT item, lost, twice, orphan FROM poisoned")

    poisoned = await fast.run()

    assert not poisoned.success
    failed = {check.check_name for check in poisoned.get_asset_check_evaluations() if not check.passed}
    assert failed == {"boundary_orders", "boundary_order_items", "boundary_order_items_have_orders"}
    assert await sums(warehouse) == before

    async with AIOKafkaConsumer(
        topics.PLATFORM_EVENTS, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest"
    ) as consumer:
        await fast.look(poisoned)
        async with asyncio.timeout(20):
            record = await consumer.getone()
    alert = registry.decode(decode(record.value))
    assert isinstance(alert, AlertRaised)
    assert alert.link.endswith(f"/runs/{poisoned.run_id}")
    told = "\n".join(alert.details)
    for row, rule in ((item, "price_not_negative"), (lost, "known_status"), (twice, "unique_key"), (orphan, "orphan")):
        assert any(str(row) in line and rule in line for line in alert.details), f"{row} {rule} is missing in:\n{told}"

    await warehouse.execute(MENDED)
    mended = await fast.run()

    assert mended.success
    assert await warehouse.fetchval("SELECT status FROM sales.fct_orders WHERE order_id = $1", lost) == "cancelled"
    assert await warehouse.fetchval("SELECT unit_price FROM sales.fct_order_items WHERE order_item_id = $1", item) > 0


@pytest.mark.timeout(300)
async def test_the_suites_hold_and_name_what_breaks_them(warehouse: Any, orchestrated: None, tmp_path: Path) -> None:
    from orchestration.defs.quality.checks import warehouse_url
    from orchestration.defs.quality.expectations import Boundary, Verdict
    from orchestration.defs.quality.suites import SUITES, Suite
    from orchestration.settings import OrchestrationSettings

    def run(suites: Sequence[Suite]) -> tuple[dict[str, Verdict], Path]:
        boundary = Boundary(warehouse_url(OrchestrationSettings()))
        verdicts = {suite.table: boundary.run(suite) for suite in suites}
        boundary.publish(tmp_path / "data", verdicts.values())
        return verdicts, tmp_path / "data" / "index.html"

    sound, _ = await asyncio.to_thread(run, SUITES)
    assert {table: verdict.broken for table, verdict in sound.items() if verdict.broken} == {}

    await warehouse.execute("""
        CREATE TEMP TABLE odd AS SELECT id FROM raw.orders_order_items WHERE __op <> 'd' LIMIT 1;
        UPDATE raw.orders_order_items SET quantity = 5000000, product_id = gen_random_uuid(),
            __emitted_at = now() - interval '1 hour' WHERE id = (SELECT id FROM odd);
    """)
    odd = str(await warehouse.fetchval("SELECT id FROM odd"))
    items = next(suite for suite in SUITES if suite.table == "orders_order_items")
    other = replace(items, types={**items.types, "quantity": "BIGINT"})
    verdict, page = await asyncio.to_thread(run, [other])

    assert len(verdict[items.table].broken) == 3
    assert {row["id"] for row in verdict[items.table].rows} == {odd}
    assert odd in page.read_text()
    assert list((tmp_path / "data" / "details" / "validations").rglob("*.html"))


@pytest.mark.timeout(300)
async def test_the_warehouse_is_kept_in_shape_and_reported_on(warehouse: Any, dbt: Dbt, orchestrated: None) -> None:
    from orchestration.defs.maintenance import assets, report
    from orchestration.lib.warehouse import Warehouse
    from orchestration.settings import OrchestrationSettings

    if not await warehouse.fetchval("SELECT to_regclass('sales.agg_sales_daily')"):
        assert (await dbt("build", grace="0 seconds")).success
    chosen = [assets.statistics, assets.vacuum, report.weekly]

    kept = await asyncio.to_thread(dg.materialize, chosen, resources={"warehouse": Warehouse()})

    assert kept.success
    orders, revenue = await warehouse.fetchrow(
        "SELECT sum(orders), sum(revenue) FROM sales.agg_sales_daily"
        " WHERE order_date >= current_date - 7 AND order_date < current_date"
    )
    [told] = kept.asset_materializations_for_node("reports__weekly")
    assert told.metadata["orders"].value == (orders or 0)
    assert told.metadata["revenue"].value == pytest.approx(float(revenue or 0))
    assert "<h1>The week to" in (OrchestrationSettings().home / "docs" / "week" / "index.html").read_text()

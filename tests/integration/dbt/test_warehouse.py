"""dbt's models on a small warehouse: right at the first build, right after changes, and untouched by a bad batch.

The tests follow each other on one warehouse: what the first one builds, the next ones change.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from cdc import catalogue, state
from seed import imports
from seed.importing import read_lines, read_mapping, understand
from seed.settings import SeedSettings
from tests import order_lines
from tests.integration.dbt.conftest import Dbt, take
from tests.integration.dbt.poison import MENDED, POISON
from tests.integration.importing.test_imports import MAPPING, REAL

SPECIFIED = {
    "admin_order_stats": """
        SELECT status, count(*) AS count, sum(total_amount) AS total_revenue,
               (created_at AT TIME ZONE 'UTC')::date AS order_date
        FROM raw.orders_orders GROUP BY 1, 4""",
    "analytics_product_performance": """
        SELECT p.id, p.name, c.name AS category, count(oi.id) AS units_sold,
               sum(oi.quantity * oi.price_at_purchase) AS revenue, count(DISTINCT o.user_id) AS unique_customers
        FROM raw.catalog_products p
        JOIN raw.catalog_categories c ON c.id = p.category_id
        LEFT JOIN raw.orders_order_items oi ON oi.product_id = p.id
        LEFT JOIN raw.orders_orders o ON o.id = oi.order_id
        WHERE o.status IN ('confirmed', 'shipped', 'delivered') AND o.created_at > now() - interval '90 days'
        GROUP BY 1, 2, 3""",
    "analytics_customer_segments": """
        SELECT user_id, count(*) AS total_orders, sum(total_amount) AS lifetime_value,
               max(created_at) AS last_order_date, min(created_at) AS first_order_date,
               round(avg(total_amount), 6) AS avg_order_value
        FROM raw.orders_orders WHERE status IN ('confirmed', 'shipped', 'delivered') GROUP BY 1""",
}
"""The specification's own words for its views, on the raw tables."""

WITHOUT_UNIT_TESTS = ("--exclude-resource-type", "unit_test")
"""They say the same each time: once is enough."""

CHANGES = """
    -- as the sink writes them: new values, a later moment
    WITH moved AS (SELECT id FROM raw.orders_orders WHERE status = 'processing' ORDER BY id LIMIT 8)
    UPDATE raw.orders_orders SET status = 'shipped', updated_at = now(), __op = 'u', __emitted_at = now()
    WHERE id IN (SELECT id FROM moved);
    WITH moved AS (SELECT id FROM raw.orders_orders WHERE status = 'delivered' ORDER BY created_at LIMIT 3)
    UPDATE raw.orders_orders SET status = 'cancelled', cancel_reason = 'admin_request', __op = 'u', __emitted_at = now()
    WHERE id IN (SELECT id FROM moved);

    -- a new order of today, one that is two months late, and one whose lines come before it (below)
    CREATE TEMP TABLE template AS SELECT * FROM raw.orders_orders WHERE status = 'delivered' ORDER BY id LIMIT 1;
    CREATE TEMP TABLE arriving AS
    SELECT gen_random_uuid() AS id, age FROM unnest(ARRAY[0, 60, 3]) AS age;
    INSERT INTO raw.orders_order_items
        (id, order_id, product_id, sku, product_name, category, quantity, price_at_purchase, __op, __emitted_at)
    SELECT gen_random_uuid(), arriving.id, product_id, sku, product_name, category, 2, 10, 'c', now()
    FROM arriving, (SELECT * FROM raw.orders_order_items ORDER BY id LIMIT 2) AS lines;
    INSERT INTO raw.orders_orders
        (id, user_id, status, total_amount, currency, payment_method, shipping_address, queue_position, sequence,
         client_ip, created_at, updated_at, __op, __emitted_at)
    SELECT arriving.id, user_id, 'confirmed', 40, currency, payment_method, shipping_address, 0, 3,
           '203.0.113.9', now() - make_interval(days => age), now(), 'c', now()
    FROM arriving, template WHERE age <> 3;

    -- an order that is deleted with its lines; of the order the log knows the key alone
    CREATE TEMP TABLE gone AS SELECT id FROM raw.orders_orders WHERE status = 'delivered' ORDER BY id DESC LIMIT 2;
    UPDATE raw.orders_order_items SET __op = 'd', __emitted_at = now() WHERE order_id IN (SELECT id FROM gone);
    UPDATE raw.orders_orders SET user_id = NULL, status = NULL, total_amount = NULL, currency = NULL,
        payment_method = NULL, shipping_address = NULL, created_at = NULL, updated_at = NULL, __op = 'd',
        __emitted_at = now()
    WHERE id IN (SELECT id FROM gone);

    UPDATE raw.payments_payments SET status = 'refunded', __op = 'u', __emitted_at = now()
    WHERE order_id IN (SELECT order_id FROM raw.payments_payments WHERE status = 'succeeded' ORDER BY 1 LIMIT 5);
    UPDATE raw.shipping_shipments SET status = 'delivered', dispatched_at = coalesce(dispatched_at, created_at),
        delivered_at = estimated_delivery + interval '1 day', __op = 'u', __emitted_at = now()
    WHERE id IN (SELECT id FROM raw.shipping_shipments WHERE status = 'in_transit' ORDER BY 1 LIMIT 5);
    UPDATE raw.catalog_products SET name = 'Renamed', __op = 'u', __emitted_at = now()
    WHERE id = (SELECT id FROM raw.catalog_products ORDER BY id LIMIT 1);
    UPDATE raw.catalog_products SET __op = 'u', __emitted_at = now(),
        category_id = (SELECT id FROM raw.catalog_categories AS other WHERE id <> category_id ORDER BY id LIMIT 1)
    WHERE id = (SELECT product_id FROM raw.orders_order_items GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1);
    INSERT INTO raw.catalog_product_costs (product_id, unit_cost, currency, valid_from, __op, __emitted_at)
    SELECT id, 1.23, 'USD', now() - interval '45 days', 'c', now() FROM raw.catalog_products ORDER BY id LIMIT 20;
    INSERT INTO raw.storefront_events (event_id, kind, session_id, device, occurred_at, __emitted_at)
    SELECT gen_random_uuid(), kind, session, 'mobile', now(), now()
    FROM gen_random_uuid() AS session, unnest(ARRAY['product_view', 'cart_add']) AS kind;
"""

LATE_ORDER = """
    INSERT INTO raw.orders_orders
        (id, user_id, status, total_amount, currency, payment_method, shipping_address, queue_position, sequence,
         client_ip, created_at, updated_at, __op, __emitted_at)
    SELECT orphans.order_id, user_id, 'confirmed', 40, currency, payment_method, shipping_address, 0, 3, '',
           now() - interval '3 days', now(), 'c', now()
    FROM (SELECT * FROM raw.orders_orders WHERE status = 'delivered' ORDER BY id LIMIT 1) AS template,
         (SELECT DISTINCT order_id FROM raw.orders_order_items AS i
          WHERE NOT EXISTS (SELECT FROM raw.orders_orders AS o WHERE o.id = i.order_id)) AS orphans;

    -- what the customer had bought last, two months and three days after the same products before
    UPDATE raw.orders_orders SET status = 'cancelled', cancel_reason = 'admin_request', updated_at = now(), __op = 'u',
        __emitted_at = now()
    WHERE id = (SELECT id FROM arriving WHERE age = 0);
"""


async def sums(warehouse: Any) -> dict[str, Any]:
    """What the marts say, by table."""
    tables = await warehouse.fetch(
        """SELECT schemaname || '.' || relname AS name FROM pg_stat_user_tables
        WHERE schemaname IN ('sales', 'customers', 'demand', 'fulfilment') ORDER BY 1"""
    )
    return {
        row["name"]: await warehouse.fetchval(
            f"SELECT sum(hash_record_extended(t, 0)::numeric) FROM {row['name']} AS t"
        )
        for row in tables
    }


def failures(result: Any) -> set[str]:
    """The names of what failed."""
    return {node.node.name for node in result.result if node.status in ("error", "fail")}


async def test_the_first_build_succeeds(warehouse: Any, dbt: Dbt) -> None:
    result = await dbt("build")

    assert result.success, failures(result)
    orders = await warehouse.fetchval("SELECT count(*) FROM raw.orders_orders")
    assert orders > 100
    assert await warehouse.fetchval("SELECT sum(orders) FROM sales.agg_sales_daily") == orders
    assert await warehouse.fetchval("SELECT count(*) FROM customers.dim_customers_history WHERE is_current") > 0


async def differences(warehouse: Any, view: str) -> list[Any]:
    """The rows of a view that the specification's own words do not give, and those that it lacks."""
    columns = {
        "admin_order_stats": "status, count, total_revenue, order_date",
        "analytics_product_performance": "id, name, category, units_sold, revenue, unique_customers",
        "analytics_customer_segments": """user_id, total_orders, lifetime_value, last_order_date, first_order_date,
            round(avg_order_value, 6)""",
    }[view]
    different = f"(SELECT {columns} FROM marts.{view} EXCEPT ALL {SPECIFIED[view]})"
    missing = f"({SPECIFIED[view]} EXCEPT ALL SELECT {columns} FROM marts.{view})"
    found: list[Any] = await warehouse.fetch(f"{different} UNION ALL {missing}")
    return found


@pytest.mark.parametrize("view", SPECIFIED)
async def test_the_specified_views_hold_what_the_specification_asks(warehouse: Any, view: str) -> None:
    assert await warehouse.fetchval(f"SELECT count(*) FROM marts.{view}") > 0
    assert await differences(warehouse, view) == []


async def test_daily_revenue_holds_a_year_of_days(warehouse: Any) -> None:
    found = await warehouse.fetch("SELECT date, status, order_count, revenue FROM marts.analytics_daily_revenue")
    wanted = await warehouse.fetch(
        """SELECT (created_at AT TIME ZONE 'UTC')::date, status, count(*), sum(total_amount) FROM raw.orders_orders
        WHERE (created_at AT TIME ZONE 'UTC')::date > current_date - interval '1 year' GROUP BY 1, 2"""
    )

    assert {tuple(row) for row in found} == {tuple(row) for row in wanted}


async def test_analysts_read_marts_and_nothing_else(
    as_analyst: Callable[[str], Coroutine[Any, Any, Any]],
) -> None:
    assert await as_analyst("SELECT revenue FROM sales.agg_sales_daily")
    assert await as_analyst("SELECT revenue FROM marts.analytics_daily_revenue")
    for private in ("raw.orders_orders", "staging.stg_accounts__users", "intermediate.int_customers_located"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await as_analyst(f"SELECT * FROM {private}")


async def test_an_incremental_build_takes_changes_late_rows_and_deletes_as_a_full_one_would(
    warehouse: Any, dbt: Dbt
) -> None:
    before = await warehouse.fetchval("SELECT max(_built_at) FROM sales.fct_orders")
    deleted = await warehouse.fetchval("SELECT id FROM raw.orders_orders WHERE status = 'delivered' ORDER BY id DESC")
    await warehouse.execute(CHANGES)

    changed = await dbt("run")
    assert changed.success, failures(changed)
    assert await warehouse.fetchval("SELECT count(*) FROM sales.fct_orders WHERE _built_at > $1", before) == 15
    assert await warehouse.fetchval("SELECT is_deleted FROM sales.fct_orders WHERE order_id = $1", deleted)
    assert await warehouse.fetchval("SELECT count(*) FROM sales.fct_order_items WHERE order_date IS NULL") == 2
    assert await differences(warehouse, "analytics_product_performance") == []
    assert await differences(warehouse, "analytics_customer_segments") == []

    await warehouse.execute(LATE_ORDER)
    late = await dbt("run", "--select", "+config.materialized:incremental")
    assert late.success, failures(late)
    assert await warehouse.fetchval("SELECT count(*) FROM sales.fct_order_items WHERE order_date IS NULL") == 0

    twins = await dbt("run", "--full-refresh", "--select", "+config.materialized:incremental", suffix="__full")
    assert twins.success, failures(twins)
    equal = await dbt("run-operation", "compare_with_full", "--args", "{suffix: __full}")
    assert equal.success, equal.exception

    await warehouse.execute(
        """UPDATE demand__full.agg_product_daily SET units = units + 1
        WHERE (product_id, order_date) IN (SELECT product_id, order_date FROM demand__full.agg_product_daily LIMIT 1)"""
    )
    unequal = await dbt("run-operation", "compare_with_full", "--args", "{suffix: __full}")
    assert not unequal.success
    await dbt("run-operation", "drop_full", "--args", "{suffix: __full}")
    assert await warehouse.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%\\_\\_full'") == 0


async def test_what_was_copied_anew_is_built_anew(warehouse: Any, dbt: Dbt) -> None:
    lost, changed = await warehouse.fetchrow(
        """SELECT min(id::text)::uuid, max(id::text)::uuid FROM raw.shipping_shipments WHERE status = 'delivered'"""
    )
    copied_at = await warehouse.fetchval("SELECT min(__emitted_at) FROM raw.shipping_shipments")
    await warehouse.execute("DELETE FROM raw.shipping_shipments WHERE id = $1", lost)
    await warehouse.execute("UPDATE raw.shipping_shipments SET carrier = 'Another' WHERE id = $1", changed)
    copies = await state.copies(warehouse)
    copy = dataclasses.replace(copies["shipping_shipments"], snapshot_at=copied_at, snapshot_lsn=2)
    await state.keep(warehouse, copy)

    built = await dbt("run", "--select", "config.materialized:incremental")

    assert built.success, failures(built)
    assert await warehouse.fetchval("SELECT count(*) FROM fulfilment.fct_shipments WHERE shipment_id = $1", lost) == 0
    carrier = "SELECT carrier FROM fulfilment.fct_shipments WHERE shipment_id = $1"
    assert await warehouse.fetchval(carrier, changed) == "Another"
    assert await warehouse.fetchval("SELECT sum(parcels) FROM fulfilment.agg_shipments_daily") == (
        await warehouse.fetchval("SELECT count(*) FROM fulfilment.fct_shipments WHERE NOT is_deleted")
    )

    moment = "SELECT min(_built_at) FROM fulfilment.fct_shipments"
    before = await warehouse.fetchval(moment)
    again = await dbt("run", "--select", "fct_shipments")
    assert again.success, failures(again)
    assert await warehouse.fetchval(moment) == before


async def test_a_bad_batch_stops_at_the_boundary_and_flows_once_it_is_mended(warehouse: Any, dbt: Dbt) -> None:
    before = await sums(warehouse)
    await warehouse.execute(POISON)

    poisoned = await dbt("build", *WITHOUT_UNIT_TESTS, grace="0 seconds")

    assert failures(poisoned) == {"boundary_orders", "boundary_order_items", "boundary_order_items_have_orders"}
    assert await sums(warehouse) == before
    named = {
        (row["key"], row["broken_rules"])
        for row in await warehouse.fetch(
            """SELECT order_id AS key, broken_rules FROM test_failures.boundary_orders
            UNION ALL SELECT order_item_id, broken_rules FROM test_failures.boundary_order_items
            UNION ALL SELECT order_item_id, broken_rules FROM test_failures.boundary_order_items_have_orders"""
        )
    }
    item, lost, twice, orphan = await warehouse.fetchrow("SELECT item, lost, twice, orphan FROM poisoned")
    assert named == {
        (item, "price_not_negative"),
        (lost, "known_status"),
        (twice, "unique_key"),
        (orphan, "orphan"),
    }

    await warehouse.execute(MENDED)
    mended = await dbt("build", *WITHOUT_UNIT_TESTS, grace="0 seconds")

    assert mended.success, failures(mended)
    assert await warehouse.fetchval("SELECT status FROM sales.fct_orders WHERE order_id = $1", lost) == "cancelled"
    assert await warehouse.fetchval("SELECT unit_price FROM sales.fct_order_items WHERE order_item_id = $1", item) > 0


@pytest.mark.skipif(not REAL.exists(), reason="the real shop's lines are not beside the project")
async def test_a_real_shop_that_is_imported_comes_to_what_its_file_comes_to(
    shop: Any, warehouse: Any, dbt: Dbt, seed_settings: SeedSettings
) -> None:
    mapping = read_mapping(MAPPING)
    await imports.write(seed_settings, understand(read_lines(REAL, mapping), mapping))
    tables = {table.name: table for table in await catalogue.read(shop)}
    theirs = "user_id IN (SELECT id FROM accounts.users WHERE email LIKE '%@online-retail.example')"
    now = dt.datetime.now(dt.UTC)
    await take(shop, warehouse, [tables["orders.orders"]], theirs, "c", now)
    lines = f"order_id IN (SELECT id FROM orders.orders WHERE {theirs})"
    await take(shop, warehouse, [tables["orders.order_items"]], lines, "c", now)

    built = await dbt(
        "build", *WITHOUT_UNIT_TESTS, "--select", "+agg_orders_monthly", "+agg_orders_daily", "fct_order_items"
    )

    assert built.success, failures(built)
    wanted = order_lines.add_up(REAL, mapping.countries)
    found = await warehouse.fetch(
        """SELECT to_char(order_month, 'YYYY-MM') AS month, country, orders, sales, revenue, cancelled_orders
        FROM sales.agg_orders_monthly WHERE order_month < '2012-01-01'"""
    )
    assert sum(row["orders"] for row in found) == wanted.orders
    assert sum(row["cancelled_orders"] for row in found) == wanted.cancelled
    assert sum(row["revenue"] for row in found) == wanted.revenue
    for by, totals in (("month", wanted.by_month), ("country", wanted.by_country)):
        groups = {row[by] for row in found if row["sales"]}
        assert {
            group: (
                sum(row["sales"] for row in found if row[by] == group),
                sum(row["revenue"] for row in found if row[by] == group),
            )
            for group in groups
        } == totals
    customers = """SELECT count(DISTINCT user_id) FROM intermediate.int_customer_months
        WHERE order_month < '2012-01-01'"""
    assert await warehouse.fetchval(customers) == wanted.customers
    assert (
        await warehouse.fetchval(
            "SELECT sum(amount) FROM sales.fct_order_items WHERE is_sale AND order_date < '2012-1-1'"
        )
        == wanted.revenue
    )

"""What the dashboards ask of the marts: how long each answer takes, and what the planner thinks it costs.

The queries are those of the specification's pages (tier 4), asked as an analyst, one at a time. Dates are of today and
the bounds of every list are those of a page.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import asyncpg
import orjson
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stack.bench.figures import percentile

GOAL_MS: Final = 300.0
"""What the 95th percentile of each query must stay under."""


class Query(NamedTuple):
    """One question of a page. ``$1`` is the id of the product that sells best, where it is asked for."""

    page: str
    what: str
    sql: str

    @property
    def needs_product(self) -> bool:
        return "$1" in self.sql


QUERIES: Final = (
    Query(
        "executive",
        "today and the week before",
        "SELECT * FROM sales.agg_sales_daily WHERE order_date >= current_date - 7 ORDER BY order_date",
    ),
    Query(
        "executive",
        "stock alerts",
        """SELECT count(*) FILTER (WHERE is_out_of_stock), count(*) FILTER (WHERE is_low),
        count(*) FILTER (WHERE is_overstock) FROM inventory.agg_stock_levels""",
    ),
    Query(
        "sales",
        "revenue, orders, order value by day, a year",
        """SELECT order_date, orders, revenue, average_order_value, cancellation_rate FROM sales.agg_sales_daily
        WHERE order_date >= current_date - 365 ORDER BY 1""",
    ),
    Query(
        "sales",
        "this week against the last",
        """SELECT order_date >= current_date - 6 AS this_week, sum(revenue), sum(orders), sum(sales)
        FROM sales.agg_sales_daily WHERE order_date >= current_date - 13 GROUP BY 1""",
    ),
    Query(
        "sales",
        "revenue by month and country",
        "SELECT order_month, country, revenue, sales, customers FROM sales.agg_orders_monthly ORDER BY 1, 2",
    ),
    Query(
        "sales",
        "revenue and margin by category, a year",
        """SELECT category, sum(revenue), sum(units), sum(margin) FROM sales.agg_category_daily
        WHERE order_date >= current_date - 365 GROUP BY 1 ORDER BY 2 DESC""",
    ),
    Query(
        "sales",
        "one category by day, 90 days",
        """SELECT order_date, revenue, units FROM sales.agg_category_daily
        WHERE order_date >= current_date - 90
          AND category = (SELECT category FROM products.dim_products ORDER BY product_id LIMIT 1) ORDER BY 1""",
    ),
    Query(
        "sales",
        "revenue by weekday and hour, 90 days",
        """SELECT extract(isodow FROM ordered_hour), extract(hour FROM ordered_hour), sum(revenue), sum(orders)
        FROM sales.agg_orders_hourly WHERE order_date >= current_date - 90 GROUP BY 1, 2""",
    ),
    Query(
        "sales",
        "orders by status, a year",
        """SELECT status, sum(orders), sum(ordered_amount) FROM sales.agg_orders_daily
        WHERE order_date >= current_date - 365 GROUP BY 1""",
    ),
    Query(
        "sales",
        "cancellations by reason and day, 90 days",
        """SELECT order_date, cancel_reason, sum(cancelled_orders) FROM sales.agg_orders_daily
        WHERE order_date >= current_date - 90 AND cancel_reason <> '' GROUP BY 1, 2 ORDER BY 1""",
    ),
    Query(
        "sales",
        "revenue by region and payment method, a year",
        """SELECT country, region, payment_method, sum(revenue), sum(orders) FROM sales.agg_orders_daily
        WHERE order_date >= current_date - 365 GROUP BY 1, 2, 3""",
    ),
    Query(
        "products",
        "best sellers, 30 days",
        """SELECT product_id, name, category, units_30d, revenue_30d, previous_revenue_30d
        FROM products.agg_product_performance ORDER BY revenue_30d DESC LIMIT 50""",
    ),
    Query(
        "products",
        "best sellers of a category",
        """SELECT product_id, name, units_30d, revenue_30d FROM products.agg_product_performance
        WHERE category = (SELECT category FROM products.dim_products ORDER BY product_id LIMIT 1)
        ORDER BY revenue_30d DESC LIMIT 50""",
    ),
    Query(
        "products",
        "best sellers of two weeks of one's choice",
        """SELECT product_id, name, units, revenue FROM (
            SELECT product_id, sum(units) AS units, sum(revenue) AS revenue FROM demand.agg_product_daily
            WHERE order_date BETWEEN current_date - 60 AND current_date - 47 GROUP BY 1 ORDER BY 3 DESC LIMIT 50
        ) AS best JOIN products.dim_products USING (product_id) ORDER BY revenue DESC""",
    ),
    Query(
        "products",
        "worst sellers that lie in stock",
        """SELECT product_id, name, units_90d, on_hand, sell_through_90d, last_sold_on
        FROM products.agg_product_performance WHERE is_active AND on_hand > 0
        ORDER BY sell_through_90d NULLS FIRST, on_hand DESC LIMIT 50""",
    ),
    Query(
        "products",
        "search by name",
        """SELECT product_id, sku, name, revenue_90d, margin_rate_90d, stock_outs_90d
        FROM products.agg_product_performance WHERE name ILIKE '%or%' ORDER BY revenue_90d DESC LIMIT 50""",
    ),
    Query(
        "products",
        "margins",
        """SELECT product_id, name, revenue_90d, margin_90d, margin_rate_90d FROM products.agg_product_performance
        WHERE revenue_90d > 0 ORDER BY margin_90d DESC NULLS LAST LIMIT 50""",
    ),
    Query(
        "products",
        "one product by day, a year",
        """SELECT order_date, units, revenue, margin FROM demand.agg_product_daily
        WHERE product_id = $1 AND order_date >= current_date - 365 ORDER BY 1""",
    ),
    Query(
        "products",
        "one product's prices",
        "SELECT price, valid_from, valid_to FROM products.dim_product_prices WHERE product_id = $1 ORDER BY 2",
    ),
    Query(
        "customers",
        "segments",
        "SELECT segment, sum(customers), sum(lifetime_value) FROM customers.agg_segments GROUP BY 1",
    ),
    Query("customers", "lifetime value, distribution", "SELECT * FROM customers.agg_lifetime_value ORDER BY bucket"),
    Query(
        "customers",
        "cohorts",
        """SELECT signup_month, months_since_signup, retention_rate, revenue FROM customers.agg_cohorts_monthly
        ORDER BY 1, 2""",
    ),
    Query(
        "customers",
        "new against returning, 90 days",
        """SELECT order_date, new_customers, returning_orders FROM sales.agg_sales_daily
        WHERE order_date >= current_date - 90 ORDER BY 1""",
    ),
    Query(
        "customers",
        "funnel and abandoned carts, 30 days",
        """SELECT device, sum(sessions), sum(sessions_with_view), sum(sessions_with_cart), sum(sessions_with_checkout),
        sum(sessions_with_order) FROM customers.agg_funnel_daily
        WHERE session_date >= current_date - 30 GROUP BY 1""",
    ),
    Query(
        "customers",
        "who is worth most",
        """SELECT user_id, name, lifetime_value, orders, last_ordered_at, segment FROM customers.dim_customers
        ORDER BY lifetime_value DESC LIMIT 100""",
    ),
    Query(
        "customers",
        "high value at risk",
        """SELECT user_id, name, lifetime_value, last_ordered_at FROM customers.dim_customers
        WHERE segment = 'high value at risk' ORDER BY lifetime_value DESC LIMIT 100""",
    ),
    Query(
        "inventory",
        "stock, a page",
        """SELECT product_id, sku, name, on_hand, reserved, available, days_of_cover FROM inventory.agg_stock_levels
        ORDER BY available, product_id LIMIT 100""",
    ),
    Query(
        "inventory",
        "search in stock",
        """SELECT product_id, sku, name, available FROM inventory.agg_stock_levels
        WHERE name ILIKE '%or%' OR sku ILIKE '%or%' ORDER BY available LIMIT 100""",
    ),
    Query(
        "inventory",
        "overstock",
        """SELECT product_id, name, on_hand, stock_value, last_sold_on FROM inventory.agg_stock_levels
        WHERE is_overstock ORDER BY stock_value DESC NULLS LAST LIMIT 100""",
    ),
    Query(
        "inventory",
        "what runs out next",
        """SELECT product_id, name, available, units_per_day, days_of_cover FROM inventory.agg_stock_levels
        WHERE days_of_cover < 7 AND available > 0 ORDER BY days_of_cover LIMIT 100""",
    ),
    Query(
        "inventory",
        "stock-outs by day and category, 90 days",
        """SELECT stock_out_date, category, stock_outs, hours FROM inventory.agg_stock_outs_daily
        WHERE stock_out_date >= current_date - 90 ORDER BY 1""",
    ),
    Query(
        "fulfilment",
        "on time, by carrier, 30 days",
        """SELECT carrier, sum(parcels), sum(on_time)::float / nullif(sum(delivered), 0),
        sum(seconds_to_ship) / nullif(sum(dispatched), 0), sum(delayed) FROM fulfilment.agg_shipments_daily
        WHERE booked_date >= current_date - 30 GROUP BY 1""",
    ),
    Query(
        "fulfilment",
        "delays by region, a year",
        """SELECT country, region, sum(parcels), sum(late), sum(delay_seconds) / nullif(sum(delayed), 0)
        FROM fulfilment.agg_shipments_daily WHERE booked_date >= current_date - 365 GROUP BY 1, 2""",
    ),
    Query(
        "fulfilment",
        "time to ship and to deliver by day, 90 days",
        """SELECT booked_date, sum(seconds_to_ship) / nullif(sum(dispatched), 0),
        sum(seconds_to_deliver) / nullif(sum(delivered), 0) FROM fulfilment.agg_shipments_daily
        WHERE booked_date >= current_date - 90 GROUP BY 1 ORDER BY 1""",
    ),
    Query(
        "payments",
        "methods, outcomes, duration, 90 days",
        """SELECT method, outcome, sum(payments), sum(amount), sum(duration_ms) / nullif(sum(payments), 0)
        FROM payments.agg_payments_daily WHERE payment_date >= current_date - 90 GROUP BY 1, 2""",
    ),
    Query(
        "payments",
        "why payments fail, a year",
        """SELECT reason, sum(payments) FROM payments.agg_payments_daily
        WHERE payment_date >= current_date - 365 AND outcome = 'failed' GROUP BY 1 ORDER BY 2 DESC""",
    ),
    Query(
        "risk",
        "orders with signals, a page",
        "SELECT * FROM fraud.fct_risk_signals ORDER BY signals DESC, ordered_at DESC LIMIT 100",
    ),
    Query(
        "risk",
        "chargebacks and declines, a year",
        "SELECT * FROM fraud.agg_risk_daily WHERE risk_date >= current_date - 365 ORDER BY risk_date",
    ),
    Query("experiments", "variants against their control", "SELECT * FROM experiments.agg_experiment_results"),
    Query(
        "views",
        "admin_order_stats, 30 days",
        "SELECT * FROM marts.admin_order_stats WHERE order_date >= current_date - 30 ORDER BY order_date",
    ),
    Query("views", "analytics_daily_revenue", "SELECT * FROM marts.analytics_daily_revenue ORDER BY date"),
    Query(
        "views",
        "analytics_product_performance, best",
        "SELECT * FROM marts.analytics_product_performance ORDER BY revenue DESC LIMIT 100",
    ),
    Query(
        "views",
        "analytics_customer_segments, top tenth",
        """SELECT * FROM marts.analytics_customer_segments
        ORDER BY lifetime_value DESC LIMIT (SELECT count(*) / 10 FROM marts.analytics_customer_segments)""",
    ),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """How one query answered: ``first_ms`` when it was asked first, the percentiles of the times after that."""

    page: str
    what: str
    rows: int
    cost: float
    first_ms: float
    p50_ms: float
    p95_ms: float

    @property
    def kept(self) -> bool:
        return self.p95_ms < GOAL_MS


@dataclass(frozen=True, slots=True)
class Marts:
    """All answers, and how much lies beneath them."""

    orders: int
    items: int
    repeats: int
    answers: tuple[Answer, ...]

    @property
    def kept(self) -> bool:
        return all(answer.kept for answer in self.answers)

    def document(self) -> dict[str, Any]:
        """The figures as JSON types."""
        return {**asdict(self), "goal_ms": GOAL_MS, "kept": self.kept}

    def render(self) -> RenderableType:
        """A table for people."""
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        for name in ("page", "what"):
            table.add_column(name, no_wrap=True)
        for name in ("rows", "plan's cost", "first ms", "p50 ms", "p95 ms"):
            table.add_column(name, justify="right")
        for a in self.answers:
            times = (f"{a.first_ms:.1f}", f"{a.p50_ms:.1f}", Text(f"{a.p95_ms:.1f}", "" if a.kept else "red"))
            table.add_row(a.page, a.what, str(a.rows), f"{a.cost:,.0f}", *times)
        slow = [answer.what for answer in self.answers if not answer.kept]
        verdict = f"slower than {GOAL_MS:.0f} ms: {', '.join(slow)}" if slow else f"all below {GOAL_MS:.0f} ms (p95)"
        return Group(
            table, Text(f"\n{self.orders:,} orders, {self.items:,} lines, {self.repeats} times each: {verdict}")
        )


async def measure(connection: asyncpg.Connection, repeats: int, note: Callable[[str], None]) -> Marts:
    """Asks every query ``repeats`` times and once before."""
    orders = await connection.fetchval("SELECT sum(orders) FROM sales.agg_orders_monthly")
    items = await connection.fetchval(
        "SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass('sales.fct_order_items')"
    )
    product = await connection.fetchval(
        "SELECT product_id FROM products.agg_product_performance ORDER BY revenue_30d DESC LIMIT 1"
    )
    answers = []
    for number, query in enumerate(QUERIES, 1):
        note(f"{number} of {len(QUERIES)}: {query.page}, {query.what}")
        arguments = (product,) if query.needs_product else ()
        rows, first = await _timed(connection, query.sql, arguments)
        times = [(await _timed(connection, query.sql, arguments))[1] for _ in range(repeats)]
        plan = orjson.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {query.sql}", *arguments))
        cost = float(plan[0]["Plan"]["Total Cost"])
        p50, p95 = percentile(times, 0.5), percentile(times, 0.95)
        assert p50 is not None
        assert p95 is not None
        answers.append(Answer(query.page, query.what, rows, cost, first, p50, p95))
    return Marts(int(orders or 0), int(items), repeats, tuple(answers))


async def _timed(connection: asyncpg.Connection, sql: str, arguments: tuple[Any, ...]) -> tuple[int, float]:
    began = time.perf_counter()
    rows = await connection.fetch(sql, *arguments)
    return len(rows), (time.perf_counter() - began) * 1000

"""The weekly report: what the shop did, as a page of the documentation's site and as metadata."""

import datetime as dt
from collections.abc import Sequence
from html import escape
from typing import Any

import dagster as dg

from orchestration.defs.maintenance.plots import lines, markdown
from orchestration.lib.warehouse import Row, Warehouse
from orchestration.settings import OrchestrationSettings

_DAYS = """
    SELECT order_date, orders, revenue, cancelled_orders, payment_failures, new_customers
    FROM sales.agg_sales_daily
    WHERE order_date >= current_date - 91 AND order_date < current_date
    ORDER BY order_date
"""
_SELLERS = """
    SELECT products.name, sum(daily.units) AS units, sum(daily.revenue) AS revenue
    FROM demand.agg_product_daily AS daily JOIN products.dim_products AS products USING (product_id)
    WHERE daily.order_date >= current_date - 7 AND daily.order_date < current_date
    GROUP BY 1 HAVING sum(daily.units) > 0
    ORDER BY 3 DESC LIMIT 10
"""

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Surge: the week to {until}</title>
<style>body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 46rem }}
table {{ border-collapse: collapse }} td, th {{ padding: .2rem 1rem .2rem 0; text-align: right }}
td:first-child, th:first-child {{ text-align: left }} img {{ max-width: 100% }}</style>
<h1>The week to {until}</h1>{tables}<h2>Ninety days</h2>
<img alt="orders and revenue by day" src="data:image/png;base64,{plot}"></html>"""


@dg.asset(
    key=["reports", "weekly"],
    group_name="reports",
    deps=[["sales", "agg_sales_daily"], ["demand", "agg_product_daily"], ["products", "dim_products"]],
    kinds={"html"},
)
def weekly(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult[Any]:
    """The last seven whole days against the seven before, the best sellers, and ninety days as a plot."""
    days = warehouse.ask(_DAYS, seconds=300)
    sellers = warehouse.ask(_SELLERS, seconds=300)
    today = dt.datetime.now(dt.UTC).date()
    now = _sums(days, today - dt.timedelta(days=7), today)
    before = _sums(days, today - dt.timedelta(days=14), today - dt.timedelta(days=7))
    plot = lines(
        [day["order_date"] for day in days],
        [(name, [float(day[name]) for day in days]) for name in ("orders", "revenue")],
    )
    comparison = [(name, f"{now[name]:,.0f}", f"{before[name]:,.0f}", _change(now[name], before[name])) for name in now]
    best = [(row["name"], f"{row['units']:,}", f"{row['revenue']:,.2f}") for row in sellers]
    folder = OrchestrationSettings().home / "docs" / "week"
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / "index.new"
    fresh.write_text(
        _PAGE.format(
            until=today - dt.timedelta(days=1),
            tables=_table(("", "this week", "the week before", ""), comparison)
            + "<h2>Best sellers</h2>"
            + _table(("product", "units", "revenue"), best),
            plot=markdown(plot).rpartition(",")[2][:-1],
        )
    )
    fresh.replace(folder / "index.html")
    context.log.info("written: %s", folder / "index.html")
    return dg.MaterializeResult(
        metadata={
            "orders": int(now["orders"]),
            "revenue": float(now["revenue"]),
            "plot": dg.MarkdownMetadataValue(markdown(plot)),
        }
    )


def _sums(days: list[Row], since: dt.date, until: dt.date) -> dict[str, float]:
    names = ("orders", "revenue", "cancelled_orders", "payment_failures", "new_customers")
    chosen = [day for day in days if since <= day["order_date"] < until]
    return {name: float(sum(day[name] for day in chosen)) for name in names}


def _change(now: float, before: float) -> str:
    return f"{100 * (now - before) / before:+.1f} %" if before else ""


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}' for cell in row)}" for row in rows)
    return f"<table><tr>{''.join(f'<th>{escape(name)}' for name in head)}{cells}</table>"

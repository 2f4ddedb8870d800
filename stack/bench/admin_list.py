"""The admins' order list: each filter and each sort through the API, on the shop as large as it is."""

import asyncio
import datetime as dt
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import httpx
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from kit.ids import new_id
from stack.bench.figures import percentile
from stack.bench.run import running_instance
from stack.demo import RushSettings
from stack.errors import StackError

P95_MS: Final = 200.0

_PAGES: Final = 6
"""Pages that are read one after another, before it begins anew at the first."""

_SORTS: Final = ("newest", "oldest", "highest", "lowest")
_SAMPLE: Final = """
    SELECT i.product_id::text AS product, o.user_id::text AS customer, i.order_id::text AS order
    FROM orders.order_items i TABLESAMPLE SYSTEM (1) JOIN orders.orders o ON o.id = i.order_id LIMIT 20000
"""

_NEWEST: Final = "SELECT max(created_at) FROM orders.orders WHERE status IN ('delivered', 'shipped', 'pending')"
_ESTIMATE: Final = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'orders.orders'::regclass"


@dataclass(slots=True)
class Line:
    """One filter in one order. ``orders`` is how many the pages had altogether."""

    name: str
    sort: str
    times_ms: list[float] = field(default_factory=list)
    orders: int = 0

    @property
    def p95(self) -> float:
        return percentile(self.times_ms, 0.95) or 0.0


@dataclass(slots=True)
class Measured:
    """One run."""

    orders_in_shop: int
    lines: list[Line] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether each list answers soon enough."""
        return all(line.p95 < P95_MS for line in self.lines)

    def document(self) -> dict[str, Any]:
        """The figures as flat JSON."""
        document: dict[str, Any] = {"orders_in_shop": self.orders_in_shop, "goal_ms_p95": P95_MS, "kept": self.kept}
        for line in self.lines:
            prefix = f"{line.name}.{line.sort}"
            document[f"{prefix}.ms_p50"] = round(percentile(line.times_ms, 0.5) or 0.0, 1)
            document[f"{prefix}.ms_p95"] = round(line.p95, 1)
            document[f"{prefix}.ms_max"] = round(max(line.times_ms), 1)
        return document

    def render(self) -> RenderableType:
        """The figures as a table."""
        title = f"about {self.orders_in_shop:,} orders; each p95 is to stay below {P95_MS:.0f} ms"
        table = Table(box=None, pad_edge=False, header_style="bold dim", title=title, title_justify="left")
        for name in ("filter", "sort"):
            table.add_column(name, no_wrap=True)
        for name in ("requests", "orders", "p50 ms", "p95 ms", "max ms"):
            table.add_column(name, justify="right")
        for line in self.lines:
            table.add_row(
                line.name,
                line.sort,
                f"{len(line.times_ms):,}",
                f"{line.orders:,}",
                f"{percentile(line.times_ms, 0.5) or 0:.1f}",
                Text(f"{line.p95:.1f}", "" if line.p95 < P95_MS else "red"),
                f"{max(line.times_ms):.1f}",
            )
        return table


async def measure(requests: int, note: Callable[[str], None]) -> Measured:
    """Asks for each list ``requests`` times, page after page.

    Raises:
        StackError: if the shop does not run, has no orders, or refuses.
    """
    await asyncio.to_thread(running_instance)
    settings = RushSettings()
    connection = await asyncpg.connect(settings.database_url.get_secret_value().replace("+asyncpg", "", 1))
    try:
        cases, orders = await _cases(connection)
    finally:
        await connection.close()
    long_lived = settings.model_copy(update={"access_token_seconds": 3600})
    token = issue_access_token(long_lived, Principal(new_id(), Role.ADMIN), SystemClock().now())
    measured = Measured(orders)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=settings.url("gateway"), headers=headers, timeout=30) as http:
        for name, query in cases.items():
            for sort in _SORTS:
                if "product_id" in query and sort in ("highest", "lowest"):
                    continue
                note(f"{name}, {sort}")
                measured.lines.append(await _line(http, name, sort, query, requests))
            note(f"{name}, count")
            measured.lines.append(await _counts(http, name, query, requests))
    return measured


async def _cases(connection: asyncpg.Connection) -> tuple[dict[str, dict[str, Any]], int]:
    rows = await connection.fetch(_SAMPLE)
    if not rows:
        rows = await connection.fetch(_SAMPLE.replace("TABLESAMPLE SYSTEM (1)", ""))
    if not rows:
        raise StackError("the shop has no orders", "Fill it with `surge seed`.")

    def most(name: str) -> str:
        values: list[str] = [row[name] for row in rows]
        return max(set(values), key=values.count)

    newest: dt.datetime = await connection.fetchval(_NEWEST)
    orders = int(await connection.fetchval(_ESTIMATE))

    def back(days: float) -> str:
        return (newest - dt.timedelta(days=days)).isoformat()

    return {
        "none": {},
        "status": {"status": "cancelled"},
        "under way": {"status": ["pending", "awaiting_payment", "confirmed", "processing"]},
        "a day": {"date_from": back(31), "date_to": back(30)},
        "a month": {"date_from": back(60), "date_to": back(30)},
        "a year ago": {"date_to": back(330)},
        "price": {"price_min": 10_000, "price_max": 20_000},
        "high price": {"price_min": 40_000},
        "price, status, quarter": {
            "price_min": 5_000,
            "price_max": 6_000,
            "status": "delivered",
            "date_from": back(120),
            "date_to": back(30),
        },
        "customer": {"user_id": most("customer")},
        "product": {"product_id": most("product")},
        "product, status": {"product_id": most("product"), "status": "cancelled"},
        "beginning of an id": {"id_prefix": rows[len(rows) // 2]["order"][:11]},
    }, orders


async def _line(http: httpx.AsyncClient, name: str, sort: str, query: dict[str, Any], requests: int) -> Line:
    line, cursor, page = Line(name, sort), None, 0
    for _ in range(requests):
        parameters = {**query, "sort": sort, **({"cursor": cursor} if cursor else {})}
        document = await _ask(http, "/api/admin/orders", parameters, line)
        line.orders += len(document["items"])
        cursor, page = document["next_cursor"], page + 1
        if page == _PAGES:
            cursor, page = None, 0
    return line


async def _counts(http: httpx.AsyncClient, name: str, query: dict[str, Any], requests: int) -> Line:
    line = Line(name, "count")
    for _ in range(requests):
        line.orders = (await _ask(http, "/api/admin/orders/count", query, line))["count"]
    return line


async def _ask(http: httpx.AsyncClient, path: str, parameters: dict[str, Any], line: Line) -> dict[str, Any]:
    began = time.perf_counter()
    answer = await http.get(path, params=parameters)
    line.times_ms.append((time.perf_counter() - began) * 1000)
    if answer.status_code != 200:
        raise StackError(f"{path} answered {answer.status_code}: {answer.text[:300]}")
    document: dict[str, Any] = answer.json()
    return document

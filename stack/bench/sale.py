"""A flash sale: thousands of customers at once for a hundred units, and other products' checkouts beside them."""

import asyncio
import datetime as dt
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import httpx

from kit.auth import issue_access_token
from kit.clock import SystemClock
from oltp.accounts.service import principal_of
from stack.bench import vegeta
from stack.bench.figures import Figures, Goal, percentile
from stack.bench.prepare import TOKEN_SECONDS, database_url
from stack.bench.run import SPARE_TARGETS, Bench, Load
from stack.bench.scenarios import safe
from stack.bench.vegeta import Shot
from stack.errors import StackError

CUSTOMERS: Final = 10_000
UNITS: Final = 100
RATE: Final = 2_000.0
RUSH_CONNECTIONS: Final = 48
"""As many as the proxy before a shop keeps open. Without a bound thousands are opened once the gateway is behind, and
opening them is work for it too: other products' checkouts had a p99 of 4.8 s during the rush, with 48 of 0.3 s."""
ANSWER_P99_MS: Final = 1_000.0
MOST_SLOWER: Final = 2.0
"""How many times slower the checkouts of other products may get."""

_OTHERS_RATE: Final = 50.0
_IDLE_SECONDS: Final = 20.0
_TAIL_SECONDS: Final = 5.0
_PRICE_PART: Final = 2
_WINDOW: Final = dt.timedelta(minutes=10)
_LEAD: Final = dt.timedelta(seconds=2)
_RUNNING_SECONDS: Final = 15.0
_SETTLE_SECONDS: Final = 60.0
_ANSWERS: Final = frozenset({"accepted", "sold-out", "already-bought"})

_CANDIDATE: Final = """
    SELECT id::text, (price * 100)::bigint AS price FROM catalog.products
    WHERE active AND currency = $1 AND price >= 10 ORDER BY random() LIMIT 1
"""
_SOLD: Final = """
    SELECT o.user_id::text AS customer, sum(i.quantity)::int AS units
    FROM orders.orders o JOIN orders.order_items i ON i.order_id = o.id
    WHERE o.idempotency_key LIKE $1 AND o.id >= $2 AND i.product_id = $3::uuid
      AND o.status NOT IN ('pending', 'awaiting_payment', 'cancelling', 'cancelled')
    GROUP BY o.user_id
"""


class SaleDesk:
    """The shop's sales as its administrator has them, over the API."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def open(self, product: str, price: int, units: int) -> dict[str, Any]:
        """Opens a sale of a product at a part of its price, and waits until it runs everywhere.

        Raises:
            StackError: if the shop refuses, or it does not begin.
        """
        now = SystemClock().now()
        body = {
            "product_id": product,
            "units": units,
            "unit_price": price // _PRICE_PART,
            "starts_at": (now + _LEAD).isoformat(),
            "ends_at": (now + _WINDOW).isoformat(),
        }
        sale = await self._ask("POST", "", json=body)
        deadline = time.monotonic() + _RUNNING_SECONDS
        while sale["state"] != "running":
            if time.monotonic() > deadline:
                raise StackError(f"the sale did not begin within {_RUNNING_SECONDS:.0f} s: {sale['state']}")
            await asyncio.sleep(0.2)
            sale = await self.show(sale["id"])
        await asyncio.sleep(1)  # every gateway looks for sales twice a second
        return sale

    async def show(self, sale_id: str) -> dict[str, Any]:
        """The sale as it stands."""
        return await self._ask("GET", f"/{sale_id}")

    async def settled(self, sale_id: str) -> dict[str, Any]:
        """The sale once nothing of it is held or waited for, or after a minute."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        sale = await self.show(sale_id)
        while (sale["held"] or sale["waiting"]) and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            sale = await self.show(sale_id)
        return sale

    async def end(self, sale_id: str) -> None:
        """Ends it now."""
        await self._ask("POST", f"/{sale_id}/end")

    async def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            answer = await self._http.request(method, f"/api/admin/sales{path}", **options)
        except httpx.HTTPError as error:
            raise StackError(f"the shop can't be used: {error!r}") from error
        if not answer.is_success:
            raise StackError(f"{method} /api/admin/sales{path}: {answer.status_code} {answer.text[:300]}")
        document: dict[str, Any] = answer.json()
        return document


async def flash_sale(
    bench: Bench, rate: float, customers: int, units: int, *, audited: bool = True
) -> tuple[Figures, Load]:
    """One sale: a quiet time with other products' checkouts, then the rush beside them."""
    product, price = await _product(bench)
    await bench.preparation.restock({product: units})
    seconds = customers / rate
    rush = await bench.preparation.sale(customers + SPARE_TARGETS, product)
    others = await bench.preparation.checkouts(
        int(_OTHERS_RATE * (_IDLE_SECONDS + seconds + _TAIL_SECONDS)) + SPARE_TARGETS, without=product
    )
    attacks: list[vegeta.Attack] = []
    async with httpx.AsyncClient(
        base_url=bench.settings.url("gateway"), headers=await _admin(bench), timeout=30
    ) as http:
        desk = SaleDesk(http)
        sale = await desk.open(product, price, units)

        async def run_in() -> None:
            await asyncio.sleep(_IDLE_SECONDS)
            attacks.append(
                await vegeta.attack(bench.program, rush.file, rate=rate, seconds=seconds, connections=RUSH_CONNECTIONS)
            )

        try:
            load = await bench.send(others, _OTHERS_RATE, _IDLE_SECONDS + seconds + _TAIL_SECONDS, meanwhile=run_in)
            await bench.drain(load)
            bench.note("waiting until the sale has settled")
            sale = await desk.settled(sale["id"])
        finally:
            rush.file.unlink(missing_ok=True)
            await desk.end(sale["id"])
    figures = await bench.figures("flash-sale", load, audited=audited)
    figures.units_offered = units
    await _sold(bench, figures, rush.prefix, product, sale["units_per_customer"], load.began)
    account(figures, attacks[0].shots, load.attack.shots)
    figures.generator_cpu_share = (figures.generator_cpu_share or 0.0) + attacks[0].cpu_seconds / load.seconds
    sent = len(attacks[0].shots) + len(load.attack.shots)
    figures.generator_cpu_ms_per_request = (attacks[0].cpu_seconds + load.attack.cpu_seconds) / max(1, sent) * 1000
    figures.judge([*goals(figures, sale), *safe(figures, audited=audited)])
    return figures, load


async def _product(bench: Bench) -> tuple[str, int]:
    connection = await asyncpg.connect(database_url(bench.settings), timeout=10)
    try:
        row = await connection.fetchrow(_CANDIDATE, bench.settings.currency)
    finally:
        await connection.close()
    if row is None:
        raise StackError("the shop has no product that could be in a sale: is it seeded?")
    return row["id"], row["price"]


async def _admin(bench: Bench) -> dict[str, str]:
    async with bench.resources.database.read() as session:
        principal = await principal_of(session, bench.settings.admin_email)
    if principal is None:
        raise StackError(f"the shop has no administrator {bench.settings.admin_email}")
    signing = bench.settings.model_copy(update={"access_token_seconds": TOKEN_SECONDS})
    return {"Authorization": f"Bearer {issue_access_token(signing, principal, SystemClock().now())}"}


async def _sold(
    bench: Bench, figures: Figures, prefix: str, product: str, units_per_customer: int, began: float
) -> None:
    connection = await asyncpg.connect(database_url(bench.settings), timeout=10)
    try:
        rows = await connection.fetch(_SOLD, f"{prefix}%", bench.floor(began), product)
    finally:
        await connection.close()
    figures.units_sold = sum(row["units"] for row in rows)
    figures.served_twice = sum(row["units"] > units_per_customer for row in rows)


def account(figures: Figures, rush: Sequence[Shot], others: Sequence[Shot]) -> None:
    """What the rush was answered, and what it did to the others."""
    kinds = Counter("accepted" if shot.code == 202 else shot.problem for shot in rush)
    figures.answers = dict(kinds.most_common())
    latencies = [shot.latency * 1000 for shot in rush]
    figures.answer_p50_ms, figures.answer_p99_ms = percentile(latencies, 0.50), percentile(latencies, 0.99)
    figures.answer_max_ms = max(latencies, default=None)
    if not rush:
        return
    began, ended = min(shot.due for shot in rush), max(shot.due + shot.latency for shot in rush)
    figures.answers_per_second = len(rush) / (ended - began)
    idle = [shot.latency * 1000 for shot in others if shot.due < began - 1]
    meanwhile = [shot.latency * 1000 for shot in others if began <= shot.due <= ended]
    figures.others_idle_p99_ms, figures.others_rush_p99_ms = percentile(idle, 0.99), percentile(meanwhile, 0.99)


def goals(figures: Figures, sale: dict[str, Any]) -> list[Goal]:
    """Exactly what there is gets sold, everybody is answered soon, and nobody else notices."""
    strange = {kind: count for kind, count in figures.answers.items() if kind not in _ANSWERS}
    idle, rush = figures.others_idle_p99_ms or 0.0, figures.others_rush_p99_ms
    return [
        Goal(
            key="sold",
            promise=f"exactly {figures.units_offered} units sold",
            measured=f"{figures.units_sold} in the books, {sale['sold']} as the sale counts",
            kept=figures.units_sold == figures.units_offered == sale["sold"],
        ),
        Goal(
            key="once",
            promise="nobody is served twice",
            measured=f"{figures.served_twice} were",
            kept=figures.served_twice == 0,
        ),
        Goal(
            key="answered",
            promise="everybody is told: accepted, sold out, or already bought",
            measured=", ".join(f"{count:,} × {kind}" for kind, count in strange.items()) or "all were",
            kept=not strange,
        ),
        Goal(
            key="answer",
            promise=f"p99 of all answers < {ANSWER_P99_MS:.0f} ms",
            measured=f"{figures.answer_p99_ms or 0:.0f} ms",
            kept=figures.answer_p99_ms is not None and figures.answer_p99_ms < ANSWER_P99_MS,
        ),
        Goal(
            key="others",
            promise=f"other products' checkouts at most {MOST_SLOWER:.0f} times their idle p99",
            measured="none meanwhile" if rush is None else f"{idle:.0f} ms before, {rush:.0f} ms meanwhile",
            kept=rush is not None and rush <= MOST_SLOWER * idle,
        ),
    ]

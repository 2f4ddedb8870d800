"""What the machine can do at each of the things that an order needs, one at a time, with nothing else running."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final

import asyncpg
import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from redis.asyncio import Redis
from rich.console import RenderableType
from rich.table import Table

from kit.ids import new_id
from oltp.inventory.gate import Claim
from oltp.inventory.redis_gate import RedisGate
from stack import kafka
from stack.bench import vegeta
from stack.bench.figures import meaning
from stack.bench.prepare import database_url
from stack.bench.run import Bench
from stack.errors import StackError

SECONDS: Final = 5.0
"""How long each is measured."""

_MESSAGE: Final = b"x" * 1_000
_PARTITIONS: Final = 6
_IN_FLIGHT: Final = 2_000
_CONNECTIONS: Final = 32
_BATCH: Final = 500
_SCHEMA: Final = "bench_limits"
_PRODUCTS: Final = 2_000
_REDIS_DATABASE: Final = 15

TABLES: Final = (
    "orders.orders",
    "orders.order_items",
    "orders.order_transitions",
    "inventory.reservations",
    "inventory.reservation_lines",
    "payments.payments",
    "payments.payment_attempts",
    "shipping.fulfilments",
    "shipping.shipments",
    "notifications.orders",
    "notifications.notifications",
)
"""Where an order leaves rows."""


_UNIQUE: Final[dict[str, Callable[[], Any]]] = {
    "id": lambda: uuid.UUID(new_id()),
    "payment_id": lambda: uuid.UUID(new_id()),
    "idempotency_key": new_id,
    "cause_id": new_id,
}
"""Columns that no two rows may share, beside the order's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Rates a second."""

    http_requests_per_second: float = field(
        metadata=meaning("GET /healthz of the gateway, as fast as 32 connections can ask.")
    )
    produce_per_second: float = field(
        metadata=meaning("Messages of 1 KB that one aiokafka producer gets acknowledged (acks=all, idempotent).")
    )
    batch_insert_orders_per_second: float = field(
        metadata=meaning("Orders whose rows one connection can write (COPY, 500 orders a transaction, all indexes).")
    )
    batch_insert_rows_per_order: float = field(metadata=meaning("Rows of such an order, over all services' tables."))
    redis_reservations_per_second: float = field(
        metadata=meaning("Reservations of one line by the stock gate's script, pipelined by 500.")
    )

    def document(self) -> dict[str, Any]:
        """The limits as flat JSON."""
        return {entry.name: round(getattr(self, entry.name), 1) for entry in fields(self)}

    def render(self, orders_per_second: float | None = None) -> RenderableType:
        """The limits as a table; with a rate of orders, each as a multiple of it."""
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        table.add_column("alone on this machine")
        table.add_column("a second", justify="right")
        if orders_per_second:
            table.add_column("× the orders", justify="right")
        for entry in fields(self):
            value = getattr(self, entry.name)
            row = [entry.metadata["description"], f"{value:,.0f}" if value >= 100 else f"{value:.1f}"]
            rate = entry.name.endswith("per_second")
            table.add_row(*row, *([f"{value / orders_per_second:,.1f}" if rate else ""] if orders_per_second else []))
        return table


async def limits(bench: Bench) -> Limits:
    """Measures each for some seconds on the otherwise idle shop.

    Raises:
        StackError: if a server can't be used, or the books hold no order to take rows from.
    """
    await bench.rest()
    http = await _http(bench)
    produced = await _produce(bench)
    inserted, rows = await _insert(bench)
    reserved = await _reserve(bench)
    return Limits(
        http_requests_per_second=http,
        produce_per_second=produced,
        batch_insert_orders_per_second=inserted,
        batch_insert_rows_per_order=rows,
        redis_reservations_per_second=reserved,
    )


async def _http(bench: Bench) -> float:
    bench.note("bare HTTP requests")
    folder = bench.instance.run / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    targets = folder / f"healthz-{uuid.uuid4().hex[:8]}"
    target = {"method": "GET", "url": f"{bench.settings.url('gateway')}/healthz"}
    targets.write_bytes(orjson.dumps(target, option=orjson.OPT_APPEND_NEWLINE))
    try:
        attack = await vegeta.flood(bench.program, targets, connections=_CONNECTIONS, seconds=SECONDS)
    finally:
        targets.unlink()
    served = [shot for shot in attack.shots if shot.code == 200]
    if len(served) < len(attack.shots) * 0.99:
        raise StackError(f"only {len(served):,} of {len(attack.shots):,} bare requests were answered")
    return len(served) / SECONDS


async def _produce(bench: Bench) -> float:
    bench.note("acknowledged messages")
    topic = f"bench-{uuid.uuid4().hex[:8]}"
    async with kafka.admin(bench.settings.kafka_bootstrap) as admin:
        await admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
        producer = AIOKafkaProducer(
            bootstrap_servers=bench.settings.kafka_bootstrap,
            client_id="surge.bench",
            acks="all",
            enable_idempotence=True,
            linger_ms=1,
            max_batch_size=262_144,
        )
        await producer.start()
        try:
            began, sent = time.perf_counter(), 0
            while time.perf_counter() - began < SECONDS:
                pending = [await producer.send(topic, _MESSAGE, key=b"%d" % n) for n in range(_IN_FLIGHT)]
                await asyncio.gather(*pending)
                sent += len(pending)
            return sent / (time.perf_counter() - began)
        finally:
            await producer.stop()
            await admin.delete_topics([topic])


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of some orders in one table.

    ``order_at`` is the column of the order's id; ``fresh`` are those that are unique otherwise, and how each is made.
    """

    table: str
    columns: list[str]
    rows: list[tuple[Any, ...]]
    order_at: int
    fresh: dict[int, Callable[[], Any]]

    def copies(self, names: dict[Any, uuid.UUID]) -> list[tuple[Any, ...]]:
        """The rows as those of other orders, with ids of their own."""
        copied = []
        for row in self.rows:
            values = list(row)
            values[self.order_at] = names[row[self.order_at]]
            for at, make in self.fresh.items():
                values[at] = make()
            copied.append(tuple(values))
        return copied


async def _insert(bench: Bench) -> tuple[float, float]:
    """Orders a second, and rows an order, of copies in tables like the real ones."""
    bench.note("rows of orders in batches")
    connection = await asyncpg.connect(database_url(bench.settings), timeout=10)
    try:
        samples, orders = await _sample(connection)
        written, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            names = {order: uuid.UUID(new_id()) for order in orders}
            async with connection.transaction():
                for sample in samples:
                    await connection.copy_records_to_table(
                        sample.table, schema_name=_SCHEMA, columns=sample.columns, records=sample.copies(names)
                    )
            written += len(orders)
        seconds = time.perf_counter() - began
    finally:
        await connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
        await connection.close()
    return written / seconds, sum(len(sample.rows) for sample in samples) / len(orders)


async def _sample(connection: asyncpg.Connection) -> tuple[list[_Rows], list[Any]]:
    found = await connection.fetch(
        "SELECT id FROM orders.orders WHERE status IN ('processing', 'shipped', 'delivered') ORDER BY id DESC LIMIT $1",
        _BATCH,
    )
    orders = [row["id"] for row in found]
    if not orders:
        raise StackError("the books hold no order: run `surge bench sustained` before")
    await connection.execute(f"DROP SCHEMA IF EXISTS {_SCHEMA} CASCADE")
    await connection.execute(f"CREATE SCHEMA {_SCHEMA}")
    samples = []
    for table in TABLES:
        schema, name = table.split(".")
        copy = f"{schema}_{name}"
        await connection.execute(f"CREATE TABLE {_SCHEMA}.{copy} (LIKE {table} INCLUDING ALL)")
        columns = await _columns(connection, schema, name)
        key = "id" if table == "orders.orders" else "order_id"
        rows = await connection.fetch(
            f"SELECT {', '.join(columns)} FROM {table} WHERE {key} = ANY($1::uuid[])",  # noqa: S608
            orders,
        )
        fresh = {at: _UNIQUE[column] for at, column in enumerate(columns) if column in _UNIQUE and column != key}
        samples.append(_Rows(copy, columns, [tuple(row) for row in rows], columns.index(key), fresh))
    return samples, orders


async def _columns(connection: asyncpg.Connection, schema: str, name: str) -> list[str]:
    rows = await connection.fetch(
        """
        SELECT column_name FROM information_schema.columns
        WHERE table_schema = $1 AND table_name = $2 AND is_identity = 'NO' AND is_generated = 'NEVER'
        ORDER BY ordinal_position
        """,
        schema,
        name,
    )
    return [row["column_name"] for row in rows]


class _Plenty:
    """Books with enough of everything."""

    def __init__(self, products: Sequence[str]) -> None:
        self._products = sorted(products)

    async def available(self, product_ids: Any) -> dict[str, int]:
        return dict.fromkeys(product_ids, 10**9)

    async def available_after(self, product_id: str, limit: int) -> list[tuple[str, int]]:
        return [(product, 10**9) for product in self._products if product > product_id][:limit]


async def _reserve(bench: Bench) -> float:
    """By the gate's own script, in a database of Redis that nobody else uses."""
    bench.note("reservations in Redis")
    server = bench.settings.redis_url.get_secret_value().rsplit("/", 1)[0]
    products = [new_id() for _ in range(_PRODUCTS)]
    async with Redis.from_url(f"{server}/{_REDIS_DATABASE}", decode_responses=True) as redis:
        try:
            gate = RedisGate(redis, _Plenty(products))
            await gate.fill()
            began, made = time.perf_counter(), 0
            while time.perf_counter() - began < SECONDS:
                claims = [Claim(new_id(), {products[(made + n) % _PRODUCTS]: 1}) for n in range(_BATCH)]
                if any(verdict is not None for verdict in await gate.admit(claims)):
                    raise StackError("the stock gate refused what there is plenty of")
                made += len(claims)
            return made / (time.perf_counter() - began)
        finally:
            await redis.flushdb()

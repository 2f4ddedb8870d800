"""What one order costs, in counts: messages, bytes, rows, write-ahead log. They don't depend on the machine's speed."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import httpx
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.topics import DEAD_LETTERS, TOPICS
from stack import kafka
from stack.definitions import PROCESSES, Part
from stack.demo import RushSettings, customers
from stack.errors import StackError
from stack.shoppers import Refused, ShopAway, Shopper, choose_cart, choose_payment, offers
from stack.token import issue_many

_CONCURRENCY: Final = 16
_IDLE_SECONDS: Final = 10.0
_STATISTICS_SECONDS: Final = 2.0
"""Postgres' backends report what they wrote within a second."""

_END_SECONDS: Final = 600.0
_GROUPS: Final = frozenset(
    group for process in PROCESSES.values() if process.part is Part.SHOP for group in process.groups
)
_ENDED: Final = ("delivered", "cancelled")
_RECORD_OVERHEAD: Final = 30
"""Bytes of Kafka's record format beside key and value, in a batch of several."""

_ROWS: Final = """
    SELECT schemaname AS schema, sum(n_tup_ins)::bigint AS inserted, sum(n_tup_upd)::bigint AS updated,
           sum(n_tup_del)::bigint AS deleted
    FROM pg_stat_user_tables GROUP BY 1
"""
_OPEN: Final = "SELECT count(*) FROM orders.orders WHERE status IN ('pending', 'awaiting_payment', 'cancelling')"
_SIZES: Final = """
    SELECT schemaname AS schema, sum(pg_total_relation_size(relid))::bigint AS bytes
    FROM pg_stat_user_tables GROUP BY 1
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counters that only grow, at a moment."""

    at: float
    ends: dict[TopicPartition, int]
    wal: int
    transactions: int
    rows: dict[str, Counter[str]]
    redis_commands: int
    redis_bytes: int


@dataclass(slots=True)
class Costs:
    """Of ``orders`` orders with ``lines`` lines together, from checkout to delivery or cancellation."""

    orders: int = 0
    lines: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    message_bytes: Counter[str] = field(default_factory=Counter)
    rows: dict[str, Counter[str]] = field(default_factory=dict)
    table_bytes: dict[str, int] = field(default_factory=dict)
    wal_bytes: float = 0.0
    transactions: float = 0.0
    redis_commands: float = 0.0
    redis_bytes: float = 0.0

    def document(self) -> dict[str, Any]:
        """The costs of one order as flat JSON."""

        def each(value: float) -> float:
            return round(value / self.orders, 2)

        document: dict[str, Any] = {
            "orders": self.orders,
            "lines_per_order": each(self.lines),
            **{f"orders_{status}": count for status, count in sorted(self.ended.items())},
            "messages_per_order": each(self.messages.total()),
            "message_bytes_per_order": each(self.message_bytes.total()),
            "wal_bytes_per_order": each(self.wal_bytes),
            "transactions_per_order": each(self.transactions),
            "rows_inserted_per_order": each(sum(rows["inserted"] for rows in self.rows.values())),
            "rows_updated_per_order": each(sum(rows["updated"] for rows in self.rows.values())),
            "rows_deleted_per_order": each(sum(rows["deleted"] for rows in self.rows.values())),
            "table_bytes_per_order": each(sum(self.table_bytes.values())),
            "redis_commands_per_order": each(self.redis_commands),
            "redis_bytes_per_order": each(self.redis_bytes),
        }
        for topic in sorted(self.messages):
            document[f"messages_per_order.{topic}"] = each(self.messages[topic])
            document[f"message_bytes_per_order.{topic}"] = each(self.message_bytes[topic])
        for schema in sorted(self.rows):
            for kind in ("inserted", "updated", "deleted"):
                document[f"rows_{kind}_per_order.{schema}"] = each(self.rows[schema][kind])
        return document

    def render(self) -> RenderableType:
        """The costs as tables."""
        document = self.document()
        topics = Table(box=None, pad_edge=False, header_style="bold dim")
        topics.add_column("topic")
        topics.add_column("messages an order", justify="right")
        topics.add_column("bytes an order", justify="right")
        for topic, _ in self.messages.most_common():
            topics.add_row(
                topic,
                f"{document[f'messages_per_order.{topic}']:.2f}",
                f"{document[f'message_bytes_per_order.{topic}']:,.0f}",
            )
        topics.add_row(
            "[bold]all",
            f"[bold]{document['messages_per_order']:.2f}",
            f"[bold]{document['message_bytes_per_order']:,.0f}",
        )
        rows = Table(box=None, pad_edge=False, header_style="bold dim")
        rows.add_column("schema")
        for kind in ("inserted", "updated", "deleted"):
            rows.add_column(f"rows {kind}", justify="right")
        for schema in sorted(self.rows, key=lambda name: -self.rows[name]["inserted"]):
            if self.rows[schema].total():
                rows.add_row(
                    schema,
                    *(
                        f"{document[f'rows_{kind}_per_order.{schema}']:.2f}"
                        for kind in ("inserted", "updated", "deleted")
                    ),
                )
        rest = Table.grid(padding=(0, 2))
        rest.add_column(style="dim")
        rest.add_column(justify="right", style="bold")
        rest.add_row("write-ahead log", f"{document['wal_bytes_per_order']:,.0f} B")
        rest.add_row("tables and indexes", f"{document['table_bytes_per_order']:,.0f} B")
        rest.add_row("transactions", f"{document['transactions_per_order']:.2f}")
        rest.add_row("Redis commands", f"{document['redis_commands_per_order']:.1f}")
        rest.add_row("Redis memory", f"{document['redis_bytes_per_order']:,.0f} B")
        ended = ", ".join(f"{count} {status}" for status, count in sorted(self.ended.items()))
        title = f"one order of {document['lines_per_order']} lines; mean of {self.orders} ({ended})"
        return Group(Text(title, "bold"), Text(), topics, Text(), rows, Text(), rest)


class Meter:
    """Reads the counters of a running shop."""

    def __init__(self, settings: RushSettings, database: asyncpg.Connection, redis: Redis) -> None:
        self._settings = settings
        self._database = database
        self._redis = redis

    async def read(self) -> Snapshot:
        """All counters now."""
        await asyncio.sleep(_STATISTICS_SECONDS)
        rows = await self._database.fetch(_ROWS)
        counts = {row["schema"]: Counter({k: row[k] for k in ("inserted", "updated", "deleted")}) for row in rows}
        info = await self._redis.info()
        return Snapshot(
            at=time.monotonic(),
            ends=await self._ends(),
            wal=await self._database.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint"),
            transactions=await self._database.fetchval(
                "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
            ),
            rows=counts,
            redis_commands=info["total_commands_processed"],
            redis_bytes=info["used_memory"],
        )

    async def sizes(self) -> dict[str, int]:
        """Bytes of tables with their indexes by schema."""
        return {row["schema"]: row["bytes"] for row in await self._database.fetch(_SIZES)}

    async def _ends(self) -> dict[TopicPartition, int]:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(topic.name, n) for topic in TOPICS for n in range(topic.partitions)]
            return dict(await consumer.end_offsets(partitions))
        finally:
            await consumer.stop()

    async def sent(self, before: Snapshot, after: Snapshot) -> tuple[Counter[str], Counter[str]]:
        """Messages and their bytes by topic between two moments."""
        messages, sizes = Counter[str](), Counter[str]()
        grown = {tp: end for tp, end in after.ends.items() if end > before.ends.get(tp, 0)}
        if not grown:
            return messages, sizes
        consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.kafka_bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            consumer.assign(list(grown))
            for tp in grown:
                consumer.seek(tp, before.ends.get(tp, 0))
            while any([await consumer.position(tp) < end for tp, end in grown.items()]):
                for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                    for record in records:
                        if record.offset < grown[tp]:
                            messages[tp.topic] += 1
                            sizes[tp.topic] += len(record.key or b"") + len(record.value or b"") + _RECORD_OVERHEAD
        finally:
            await consumer.stop()
        return messages, sizes


async def measure(orders: int, note: Callable[[str], None]) -> Costs:
    """Places orders through the API, follows them to their ends, and shares out what that took.

    What the idle shop does anyhow is measured first and taken off.

    Raises:
        StackError: if the shop can't be used, or the orders do not end.
    """
    settings = RushSettings()
    try:
        database = await asyncpg.connect(
            settings.database_url.get_secret_value().replace("+asyncpg", "", 1), timeout=10
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise StackError(f"the shop can't be used: {error}") from error
    redis = Redis.from_url(settings.redis_url.get_secret_value(), decode_responses=True)
    try:
        return await _measure(settings, Meter(settings, database, redis), database, orders, note)
    except (httpx.HTTPError, Refused, ShopAway, KafkaError) as error:
        raise StackError(f"the shop can't be used: {error}") from error
    finally:
        await redis.aclose()
        await database.close()


async def _measure(
    settings: RushSettings, meter: Meter, database: asyncpg.Connection, orders: int, note: Callable[[str], None]
) -> Costs:
    costs = Costs(orders=orders)
    async with httpx.AsyncClient(base_url=settings.url("gateway"), timeout=30) as http:
        note("emptying carts")
        shoppers = await _shoppers(settings, http, orders)
        await _rest(settings, database, note)
        note("what the idle shop does")
        start = await meter.read()
        await asyncio.sleep(_IDLE_SECONDS)
        before = await meter.read()
        sizes = await meter.sizes()
        placed = await _place(http, shoppers, costs, note)
    await _end(database, placed, costs, note)
    await _rest(settings, database, note)
    after = await meter.read()
    note("reading what was sent")
    costs.messages, costs.message_bytes = await meter.sent(before, after)
    costs.messages.pop(DEAD_LETTERS, None)
    share = (after.at - before.at) / (before.at - start.at)

    def net(of: Callable[[Snapshot], int]) -> float:
        return max(0.0, of(after) - of(before) - share * (of(before) - of(start)))

    costs.wal_bytes = net(lambda snapshot: snapshot.wal)
    costs.transactions = net(lambda snapshot: snapshot.transactions)
    costs.redis_commands = net(lambda snapshot: snapshot.redis_commands)
    costs.redis_bytes = after.redis_bytes - before.redis_bytes
    costs.rows = {schema: rows - before.rows.get(schema, Counter()) for schema, rows in after.rows.items()}
    costs.table_bytes = _grown(sizes, await meter.sizes())
    return costs


def _grown(before: Mapping[str, int], after: Mapping[str, int]) -> dict[str, int]:
    return {schema: size - before.get(schema, 0) for schema, size in after.items()}


async def _shoppers(settings: RushSettings, http: httpx.AsyncClient, count: int) -> list[Shopper]:
    """A customer for each order, with nothing in the cart."""
    addresses = [customer.address for customer in customers(settings)]
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def shopper(number: int, token: str) -> Shopper:
        made = Shopper(http, addresses[number % len(addresses)])
        made.token = token
        async with slots:
            await made.empty_cart()
        return made

    return list(await asyncio.gather(*(shopper(n, token) for n, token in enumerate(await issue_many(count)))))


async def _place(
    http: httpx.AsyncClient, shoppers: list[Shopper], costs: Costs, note: Callable[[str], None]
) -> list[str]:
    chance = random.Random(len(shoppers))
    shelf = [offer for offer in await offers(http) if offer.stock > 20]
    if not shelf:
        raise StackError("no product has more than 20 units: restock, or `surge reset` and `surge up`")
    slots, placed = asyncio.Semaphore(_CONCURRENCY), list[str]()

    async def buy(shopper: Shopper) -> None:
        cart = choose_cart(chance, shelf)
        async with slots:
            await shopper.fill_cart(cart)
            placed.append((await shopper.check_out(*choose_payment(chance, declines=0.05))).order_id)
        costs.lines += len(cart)
        note(f"{len(placed)} of {len(shoppers)} orders placed")

    await asyncio.gather(*map(buy, shoppers))
    return placed


async def _end(database: asyncpg.Connection, placed: list[str], costs: Costs, note: Callable[[str], None]) -> None:
    deadline = time.monotonic() + _END_SECONDS
    while True:
        rows = await database.fetch(
            "SELECT status, count(*) AS count FROM orders.orders WHERE id = ANY($1::uuid[]) GROUP BY 1", placed
        )
        costs.ended = Counter({row["status"]: row["count"] for row in rows})
        done = sum(costs.ended[status] for status in _ENDED)
        note(f"{done} of {len(placed)} orders delivered or cancelled")
        if done == len(placed):
            return
        if time.monotonic() > deadline:
            raise StackError(f"the orders do not end: {dict(costs.ended)}")
        await asyncio.sleep(1)


async def _rest(settings: RushSettings, database: asyncpg.Connection, note: Callable[[str], None]) -> None:
    """Returns once no order is on its way to a parcel and the shop is at the log's end, three times in a row.

    The data platform's groups are not asked: the sink commits where it is only once a minute.

    Raises:
        StackError: if that does not come.
    """
    quiet, deadline = 0, time.monotonic() + _END_SECONDS
    while quiet < 3:
        lags = [lag for lag in await kafka.group_lags(settings.kafka_bootstrap) if lag.group in _GROUPS]
        open_ = await database.fetchval(_OPEN)
        behind = {lag.group: lag.lag for lag in lags if lag.lag}
        quiet = quiet + 1 if lags and not open_ and not behind else 0
        note(f"waiting for the shop to rest: {open_} orders open, {sum(behind.values())} messages behind")
        if time.monotonic() > deadline:
            raise StackError(f"the shop does not rest: {open_} orders open, behind: {behind}")
        await asyncio.sleep(0.5)

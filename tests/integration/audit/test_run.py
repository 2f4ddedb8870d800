"""The audit as a whole, on real stores: what it reads, what it waits for, how it ends."""

from collections.abc import AsyncIterator, Sequence

import asyncpg
import orjson
import pytest
import redis
from pymongo import AsyncMongoClient
from redis.asyncio import Redis

from audit import books, gate, history, log
from audit.log import Broker
from audit.report import Finding, Verdict
from audit.run import run
from audit.settings import AuditSettings
from contracts import redis_keys
from contracts.envelope import seal
from contracts.events import OrderCreated
from contracts.orders import Address, OrderLine, PaymentMethod, PaymentMethodType
from kit.clock import SystemClock
from kit.ids import new_id
from kit.resources import Resources


@pytest.fixture(autouse=True)
def no_other_saga(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests' consumers did with the broker is none of the small shop's business."""
    group = f"audit-{new_id()}"
    monkeypatch.setattr(log, "SAGA_GROUP", group)
    monkeypatch.setattr(log, "GROUPS", (group,))


@pytest.fixture
async def outside(audit_settings: AuditSettings) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose changes everybody sees."""
    opened = await asyncpg.connect(audit_settings.database_url.get_secret_value().replace("+asyncpg", "", 1))
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def counters(audit_settings: AuditSettings) -> AsyncIterator[Redis]:
    """The small shop's Redis."""
    client = Redis.from_url(audit_settings.redis_url.get_secret_value(), decode_responses=True)
    try:
        yield client
    finally:
        await client.aclose()


async def test_a_seeded_shop_is_clean_in_all_stores(audit_settings: AuditSettings) -> None:
    report = await run(audit_settings, wait=0)
    assert report.clean, report.document()
    assert report.finding(gate.KEY).figures == {"products": 100, "not in Redis": 0}
    assert report.finding(history.KEY).verdict is Verdict.HOLDS
    document = report.document()
    assert document["stock.ledger"] == "holds"
    assert document["stock.ledger.on_hand"] > 0
    assert orjson.loads(orjson.dumps(document)) == document


async def test_a_break_makes_it_fail(audit_settings: AuditSettings, outside: asyncpg.Connection) -> None:
    order_id = await outside.fetchval("SELECT id::text FROM orders.orders WHERE status = 'delivered' LIMIT 1")
    change = "UPDATE orders.orders SET total_amount = total_amount {} 1 WHERE id = $1::uuid"
    await outside.execute(change.format("+"), order_id)
    try:
        report = await run(audit_settings, wait=0)
    finally:
        await outside.execute(change.format("-"), order_id)
    assert not report.clean
    assert order_id in report.document()["orders.totals.offenders"][0]
    assert "orders.totals" in report.verdict


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences need not stand for long: nobody here mends any."""
    monkeypatch.setattr("audit.run.STANDING", 1.0)


@pytest.mark.usefixtures("impatient")
async def test_a_wrong_counter_is_found(audit_settings: AuditSettings, counters: Redis) -> None:
    key = next(iter(await counters.keys(redis_keys.stock("*"))))
    await counters.incr(key)
    try:
        told: list[str] = []
        report = await run(audit_settings, wait=10, note=told.append)
    finally:
        await counters.decr(key)
    finding = report.finding(gate.KEY)
    assert finding.verdict is Verdict.BROKEN
    assert finding.offenders[0].id == key.partition(":")[2]
    assert told


async def test_what_differed_is_looked_at_again_and_the_rest_is_left(
    audit_settings: AuditSettings, counters: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    judged = books.judge

    async def judge(connection: asyncpg.Connection, checks: Sequence[books.Check]) -> list[Finding]:
        looked.extend(check.key for check in checks)
        return await judged(connection, checks)

    monkeypatch.setattr("audit.snapshot.judge", judge)
    key = next(iter(await counters.keys(redis_keys.stock("*"))))
    await counters.incr(key)
    beside = redis.Redis.from_url(audit_settings.redis_url.get_secret_value())
    mended: list[str] = []

    def mend(_: str) -> None:
        beside.decr(key)
        mended.append(key)

    try:
        report = await run(audit_settings, wait=10, rest=False, note=mend)
    finally:
        beside.close()
    assert mended == [key]
    assert report.clean
    assert report.finding(gate.KEY).verdict is Verdict.HOLDS
    assert report.finding("stock.ledger").figures["on hand"]
    assert looked.count("stock.ledger") == 1


async def test_a_forgotten_counter_is_no_break(audit_settings: AuditSettings, counters: Redis) -> None:
    key = next(iter(await counters.keys(redis_keys.stock("*"))))
    value = await counters.getdel(key)
    try:
        report = await run(audit_settings, wait=0)
    finally:
        await counters.set(key, value)
    assert report.finding(gate.KEY).figures["not in Redis"] == 1
    assert report.clean


async def test_a_difference_that_just_came_up_is_not_judged_while_the_shop_is_busy(
    audit_settings: AuditSettings, outside: asyncpg.Connection, counters: Redis
) -> None:
    order_id = await outside.fetchval("SELECT id::text FROM orders.orders WHERE status = 'processing' LIMIT 1")
    waiting = '[{"command": "shipping.cancel", "attempt": 1, "tries": 1}]'
    change = "UPDATE orders.orders SET outstanding = $2::jsonb WHERE id = $1::uuid"
    await outside.execute(change, order_id, waiting)
    key = next(iter(await counters.keys(redis_keys.stock("*"))))
    await counters.incr(key)
    try:
        report = await run(audit_settings, wait=0)
    finally:
        await counters.decr(key)
        await outside.execute(change, order_id, "[]")
    assert not report.quiet
    assert "shipping.cancel" in report.unrest
    assert report.finding(gate.KEY).verdict is Verdict.NOT_JUDGED
    assert report.clean
    assert "not judged" in report.verdict


@pytest.mark.usefixtures("impatient")
async def test_the_history_is_read_from_the_store(audit_settings: AuditSettings, outside: asyncpg.Connection) -> None:
    row = await outside.fetchrow(
        "SELECT id::text, user_id::text AS user, to_char(created_at, 'YYYY-MM') AS month FROM orders.orders LIMIT 1"
    )
    client: AsyncMongoClient[dict[str, object]] = AsyncMongoClient(audit_settings.mongo_url.get_secret_value())
    collection = client.get_default_database("surge")["order_history"]
    story = {"timeline": {"1": {"status": "pending"}, "10": {"status": "nowhere"}}}
    try:
        await collection.insert_one({"_id": f"{row['user']}:{row['month']}", "orders": {row["id"]: story}})
        report = await run(audit_settings, wait=10)
    finally:
        await collection.delete_many({})
        await client.close()
    assert [o.id for o in report.finding(history.KEY).offenders] == [row["id"]]
    assert "history nowhere" in report.finding(history.KEY).offenders[0].what


async def test_every_accepted_order_is_read_from_the_log_once(
    resources: Resources, audit_settings: AuditSettings
) -> None:
    broker = Broker(audit_settings)
    before = set((await broker.accepted_orders()).places)
    created = [_created() for _ in range(3)]
    placements = await resources.producer.send(
        seal(order, id=new_id(), source="test", subject=order.order_id, time=SystemClock().now()) for order in created
    )
    accepted = await broker.accepted_orders()
    assert set(accepted.places) - before == {order.order_id for order in created}
    assert accepted.places[created[0].order_id] == [tuple(placements[0])]
    assert accepted.keys[created[1].user_id, created[1].idempotency_key] == {created[1].order_id}
    assert await broker.accepted_orders() is accepted
    progress = await broker.progress()
    assert progress.dead_letters >= 0
    await broker.close()


def _created() -> OrderCreated:
    return OrderCreated(
        order_id=new_id(),
        user_id=new_id(),
        idempotency_key=new_id(),
        request_hash="",
        currency="USD",
        total_amount=100,
        lines=[OrderLine(product_id=new_id(), sku="S", name="n", category="c", quantity=1, unit_price=100)],
        shipping_address=Address(name="n", line1="l", city="c", postal_code="p", country="US"),
        payment_method=PaymentMethod(type=PaymentMethodType.CARD, token="t"),
        queue_position=0,
        created_at=SystemClock().now(),
    )

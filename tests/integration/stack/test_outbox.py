"""What a transaction writes to the outbox reaches Kafka whole, on its topic, under its key; what rolled back never."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord
from prometheus_client import REGISTRY
from sqlalchemy import text

from cdc.connect import ConnectClient
from cdc.source import CONNECTOR, SLOT
from contracts import topics
from contracts.envelope import Envelope, encode
from contracts.events import AccountRegistered
from kit import outbox
from kit.db import Database
from kit.ids import new_id
from kit.settings import Settings
from stack import instance as instances
from stack.database import Server, wait_streaming
from stack.definitions import CONNECT, PROCESSES
from stack.supervision import Supervisor
from stack.watchdog import measure


@pytest.fixture
async def arrivals(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        topics.ACCOUNT_EVENTS, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="latest"
    )
    await consumer.start()
    await consumer.seek_to_end()
    yield consumer
    await consumer.stop()


@pytest.fixture
async def connect() -> AsyncIterator[ConnectClient]:
    port = instances.current().port(PROCESSES[CONNECT].port)
    async with ConnectClient(f"http://127.0.0.1:{port}") as client:
        yield client


def _envelope(subject: str) -> Envelope:
    payload = AccountRegistered(user_id=subject, email=f"{subject}@example.com", name="Ada Lovelace", phone="")
    return outbox.announce(payload, source="accounts", subject=subject, time=dt.datetime.now(dt.UTC))


async def _of(consumer: AIOKafkaConsumer, key: str, *, seconds: float = 20) -> ConsumerRecord:
    async with asyncio.timeout(seconds):
        async for record in consumer:
            if record.key == key.encode():
                return record
    raise AssertionError("the consumer ended")


async def test_a_committed_row_arrives_as_the_whole_envelope(database: Database, arrivals: AIOKafkaConsumer) -> None:
    envelope = _envelope(new_id())
    async with database.write() as session:
        await outbox.publish(session, [envelope])

    record = await _of(arrivals, envelope.subject)

    assert record.topic == topics.ACCOUNT_EVENTS
    assert orjson.loads(record.value) == orjson.loads(encode(envelope))


async def test_a_row_that_rolled_back_never_arrives(database: Database, arrivals: AIOKafkaConsumer) -> None:
    lost, kept = _envelope(new_id()), _envelope(new_id())

    async def fail() -> None:
        async with database.write() as session:
            await outbox.publish(session, [lost])
            raise RuntimeError("roll back")

    with pytest.raises(RuntimeError, match="roll back"):
        await fail()
    async with database.write() as session:
        await outbox.publish(session, [kept])

    seen: list[bytes] = []
    async with asyncio.timeout(20):
        async for record in arrivals:
            seen.append(record.key)
            if record.key == kept.subject.encode():
                break

    assert lost.subject.encode() not in seen


async def test_rows_of_one_key_arrive_in_order(database: Database, arrivals: AIOKafkaConsumer) -> None:
    subject = new_id()
    envelopes = [_envelope(subject) for _ in range(20)]
    for envelope in envelopes:
        async with database.write() as session:
            await outbox.publish(session, [envelope])

    arrived = [orjson.loads((await _of(arrivals, subject)).value)["id"] for _ in envelopes]

    assert arrived == [envelope.id for envelope in envelopes]


async def test_the_outbox_stays_empty(database: Database) -> None:
    async with database.write() as session:
        await outbox.publish(session, [_envelope(new_id())])

    async with database.read() as session:
        assert await session.scalar(text("SELECT count(*) FROM outbox.outbox")) == 0


async def test_a_quiet_shop_keeps_no_log_back(database: Database) -> None:
    behind = text(
        "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn) FROM pg_replication_slots"
        " WHERE slot_name = :slot AND active"
    )
    async with asyncio.timeout(40):
        while True:
            async with database.read() as session:
                lag = await session.scalar(behind, {"slot": SLOT})
            if lag is not None and lag < 1024 * 1024:
                return
            await asyncio.sleep(0.5)


async def test_the_log_that_the_slot_keeps_back_is_a_metric(database: Database) -> None:
    await measure(database, alert_mb=3)

    retained = REGISTRY.get_sample_value("surge_slot_retained_bytes", {"slot": SLOT})
    assert retained is not None
    assert 0 <= retained < 64 * 2**20
    assert REGISTRY.get_sample_value("surge_slot_alert_bytes", {"slot": SLOT}) == 3 * 2**20


async def test_a_connection_that_broke_heals_by_itself(
    database: Database, connect: ConnectClient, arrivals: AIOKafkaConsumer
) -> None:
    async with database.read() as session:
        server = Server.of(instances.current())
        reader = await session.scalar(
            text("SELECT active_pid FROM pg_replication_slots WHERE slot_name = :slot"), {"slot": SLOT}
        )
    async with server.superuser() as connection:
        assert await connection.fetchval("SELECT pg_terminate_backend($1)", reader)
    envelope = _envelope(new_id())
    async with database.write() as session:
        await outbox.publish(session, [envelope])

    record = await _of(arrivals, envelope.subject, seconds=45)

    assert orjson.loads(record.value)["id"] == envelope.id
    await connect.wait_healthy(CONNECTOR)


async def test_a_slot_that_moved_on_while_connect_was_away_is_no_end(
    database: Database, connect: ConnectClient, arrivals: AIOKafkaConsumer
) -> None:
    instance = instances.current()
    supervisor, server = Supervisor(instance), Server.of(instance)
    supervisor.stop([CONNECT])
    try:
        async with server.superuser("surge") as connection:
            await connection.execute("SELECT pg_switch_wal()")
            await connection.execute("SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())", SLOT)
        envelope = _envelope(new_id())
        async with database.write() as session:
            await outbox.publish(session, [envelope])
    finally:
        supervisor.start(CONNECT)

    record = await _of(arrivals, envelope.subject, seconds=60)

    assert orjson.loads(record.value)["id"] == envelope.id
    await wait_streaming(server)
    await connect.wait_healthy(CONNECTOR)

"""What the shop commits is in the warehouse's raw tables, whole and exact, whatever kind of change it was."""

import asyncio
import json
import re
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from cdc import backfill, run, status, topics
from cdc import capture as publishing
from cdc.catalogue import Table
from cdc.connect import ConnectClient
from cdc.settings import CdcSettings
from cdc.sink import EVENTS_TOPIC, TABLES
from cdc.source import CONNECTOR, OUTBOX_TABLE, connector
from cdc.tables import BY_NAME
from stack.kafka import admin as kafka_admin
from tests.platform.conftest import arrives, equal
from tests.rig import Rig

LONG = " ".join(uuid.uuid5(uuid.NAMESPACE_DNS, str(n)).hex for n in range(400))
"""13 KB that compress badly: Postgres keeps it apart from its row."""


async def test_an_order_reaches_every_table_and_nothing_differs(
    rig: Rig, capture: CdcSettings, tables: list[Table], warehouse: Any
) -> None:
    bought = await rig.load(rate=10, seconds=2)

    report = await equal(capture, tables)

    order = uuid.UUID(bought[0].order.order_id)
    for query in (
        "SELECT total_amount FROM raw.orders_orders WHERE id = $1 AND __op IN ('c', 'u') AND NOT __deleted",
        "SELECT quantity FROM raw.orders_order_items WHERE order_id = $1",
        "SELECT status FROM raw.payments_payments WHERE order_id = $1 AND status = 'succeeded'",
        "SELECT carrier FROM raw.shipping_shipments WHERE order_id = $1",
    ):
        assert await arrives(warehouse, query, order)
    assert report.rows > 1000


async def test_no_secret_leaves_the_shop(warehouse: Any) -> None:
    columns = await warehouse.fetch(
        "SELECT table_name || '.' || column_name FROM information_schema.columns WHERE table_schema = 'raw'"
    )

    assert len(columns) > 100
    secret = re.compile(r"password|token|hash|idempotency|secret")
    assert not [row[0] for row in columns if secret.search(row[0].split(".")[1])]


async def test_a_deleted_row_stays_with_its_last_values(books: Any, warehouse: Any) -> None:
    user = await books.fetchval("SELECT user_id FROM accounts.addresses LIMIT 1")
    address = await books.fetchval(
        """
        INSERT INTO accounts.addresses
            (id, user_id, name, line1, city, postal_code, country, is_default, created_at, updated_at)
        VALUES (gen_random_uuid(), $1, 'Ada', 'Somewhere 1', 'Oslo', '0150', 'NO', false, now(), now()) RETURNING id
        """,
        user,
    )
    await books.execute("DELETE FROM accounts.addresses WHERE id = $1", address)

    row = await arrives(warehouse, "SELECT * FROM raw.accounts_addresses WHERE id = $1 AND __deleted", address)

    assert (row["city"], row["line1"], row["__op"]) == ("Oslo", "Somewhere 1", "d")


async def test_a_large_value_outlives_an_update_of_another_column(rig: Rig, books: Any, warehouse: Any) -> None:
    declined = await rig.buy(lambda _: ("wallet", "tok_card_declined"))
    await rig.settled([declined.order.order_id], within=30)
    order = uuid.UUID(declined.order.order_id)
    before = await books.fetchval("SELECT shipping_address::text FROM orders.orders WHERE id = $1", order)
    product, text = await books.fetchrow("SELECT id, description FROM catalog.products ORDER BY id DESC LIMIT 1")
    try:
        await books.execute(
            "UPDATE orders.orders SET shipping_address = shipping_address || $2::jsonb WHERE id = $1",
            order,
            json.dumps({"note": LONG}),
        )
        await books.execute("UPDATE orders.orders SET updated_at = updated_at + interval '1 ms' WHERE id = $1", order)
        await books.execute("UPDATE catalog.products SET description = $2 WHERE id = $1", product, LONG)
        await books.execute("UPDATE catalog.products SET image_url = image_url || '?' WHERE id = $1", product)
        moment = await books.fetchval("SELECT updated_at FROM orders.orders WHERE id = $1", order)

        hot = await arrives(
            warehouse,
            "SELECT shipping_address ->> 'note' FROM raw.orders_orders WHERE id = $1 AND updated_at = $2",
            order,
            moment,
        )
        whole = await arrives(
            warehouse,
            "SELECT description FROM raw.catalog_products WHERE id = $1 AND image_url LIKE '%?'",
            product,
        )
    finally:
        await books.execute("UPDATE orders.orders SET shipping_address = $2::jsonb WHERE id = $1", order, before)
        await books.execute(
            "UPDATE catalog.products SET description = $2, image_url = rtrim(image_url, '?') WHERE id = $1",
            product,
            text,
        )

    assert hot[0] == LONG
    assert whole[0] == LONG


async def test_a_row_has_the_time_of_its_kafka_record_which_never_runs_back(
    rig: Rig, capture: CdcSettings, warehouse: Any
) -> None:
    [bought] = await rig.load(rate=1, seconds=1)
    order = uuid.UUID(bought.order.order_id)
    partition = TopicPartition(BY_NAME["orders.order_items"].topic, 0)
    row = await arrives(warehouse, "SELECT id, __emitted_at FROM raw.orders_order_items WHERE order_id = $1", order)

    times: dict[str, int] = {}
    async with topics.reader(capture.kafka_bootstrap) as consumer:
        consumer.assign([partition])
        await consumer.seek_to_beginning(partition)
        end = (await consumer.end_offsets([partition]))[partition]
        while await consumer.position(partition) < end:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    times.setdefault(json.loads(record.value)["id"], record.timestamp)

    assert list(times.values()) == sorted(times.values())
    assert row["__emitted_at"].timestamp() * 1000 == pytest.approx(times[str(row["id"])], abs=0.01)


async def test_what_visitors_do_lands_once(capture: CdcSettings, warehouse: Any) -> None:
    event = {
        "event_id": str(uuid.uuid4()),
        "kind": "product_view",
        "session_id": str(uuid.uuid4()),
        "occurred_at": "2026-11-27T12:00:00.123456Z",
        "product_id": str(uuid.uuid4()),
        "price": 19.99,
        "device": "mobile",
        "referrer": "",
        "query": None,
        "of_no_interest": True,
    }
    async with kafka_admin(capture.kafka_bootstrap) as client:
        assert EVENTS_TOPIC in await client.list_topics()
    producer = AIOKafkaProducer(bootstrap_servers=capture.kafka_bootstrap)
    await producer.start()
    try:
        for _ in range(3):
            await producer.send_and_wait(EVENTS_TOPIC, json.dumps(event).encode(), event["session_id"].encode())
    finally:
        await producer.stop()

    row = await arrives(
        warehouse, "SELECT * FROM raw.storefront_events WHERE event_id = $1", uuid.UUID(event["event_id"])
    )

    assert (row["kind"], str(row["price"]), row["query"], row["user_id"]) == ("product_view", "19.99", None, None)
    assert row["occurred_at"].isoformat() == "2026-11-27T12:00:00.123456+00:00"
    assert row["__emitted_at"] is not None


async def test_a_row_that_was_tampered_with_is_found_and_a_copy_mends_it(
    capture: CdcSettings, tables: list[Table], warehouse: Any
) -> None:
    from cdc.verify import verify

    inventory = [table for table in tables if table.name == "catalog.products"]
    ids = [row[0] for row in await warehouse.fetch("SELECT id FROM raw.catalog_products ORDER BY id LIMIT 2")]
    await warehouse.execute("UPDATE raw.catalog_products SET price = price + 0.01 WHERE id = $1", ids[0])
    await warehouse.execute("DELETE FROM raw.catalog_products WHERE id = $1", ids[1])

    found = (await verify(capture, inventory)).findings[0]
    await backfill.copy(capture, inventory, tables)

    assert {(row.key, row.kind) for row in found.shown} == {(str(ids[0]), "changed"), (str(ids[1]), "missing")}
    await equal(capture, inventory)


async def test_everything_is_copied_anew_while_orders_come(rig: Rig, capture: CdcSettings, tables: list[Table]) -> None:
    load = asyncio.create_task(rig.load(rate=15, seconds=8))
    await asyncio.sleep(2)

    result = await backfill.copy(capture, tables, tables)
    bought = await load

    assert {copy.raw for copy in result.copies} == {table.raw for table in tables}
    assert len(bought) == 120
    await equal(capture, tables)


async def test_a_shop_that_published_its_outbox_alone_is_taken_up_from_its_slot(
    rig: Rig, capture: CdcSettings, tables: list[Table], books: Any
) -> None:
    before = {
        **connector(capture.source),
        "table.include.list": OUTBOX_TABLE.replace(".", r"\."),
        "skipped.operations": "u,d,t",
    }
    async with ConnectClient(capture.connect_url) as worker:
        await publishing.withdraw(books)
        await worker.put(CONNECTOR, before)
        await worker.wait_healthy(CONNECTOR)
    slot = await books.fetchval("SELECT slot_name FROM pg_replication_slots")
    await rig.load(rate=5, seconds=1)

    await run.prepare(capture)  # broken off before anything is copied
    said = await run.ensure(capture)

    assert "rows copied" in said
    assert slot == await books.fetchval("SELECT slot_name FROM pg_replication_slots")
    await rig.load(rate=5, seconds=1)
    await equal(capture, tables)


async def test_status_tells_what_is_behind_and_what_is_wrong(rig: Rig, capture: CdcSettings) -> None:
    async with ConnectClient(capture.sink_url) as worker:
        await worker.pause(TABLES)
        try:
            await rig.load(rate=5, seconds=1)
            await asyncio.sleep(3)
            paused = await status.gather(capture)
        finally:
            await worker.resume(TABLES)
        await worker.wait_healthy(TABLES)
    tight = await status.gather(capture.model_copy(update={"cdc_wal_alert_mb": 0}))

    assert paused.lag_rows > 10
    assert paused.lag_ms > 1000
    assert any("paused" in problem for problem in paused.problems)
    assert paused.as_json()["slot"]["active"]
    assert any("keeps back" in problem for problem in tight.problems)

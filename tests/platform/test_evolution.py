"""A migration adds, widens and drops a column under load: nothing is lost, and nobody stops anything by hand."""

import asyncio
from typing import Any

from cdc import catalogue
from cdc.migration import migrate
from cdc.settings import CdcSettings
from stack.environment import WAREHOUSE_DATABASE
from stack.warehouse import Warehouse
from tests.platform.conftest import equal
from tests.rig import Rig

WIDEN = """
    ALTER TABLE payments.payment_attempts ALTER COLUMN duration_ms TYPE bigint;
    ALTER TABLE payments.payment_attempts ADD COLUMN channel text NOT NULL DEFAULT 'web';
    ALTER TABLE payments.payment_attempts ADD COLUMN note text
"""
NARROW = """
    ALTER TABLE payments.payment_attempts DROP COLUMN channel, DROP COLUMN note;
    ALTER TABLE payments.payment_attempts ALTER COLUMN duration_ms TYPE integer
"""
VIEWS = """
    SET ROLE transformer;
    CREATE SCHEMA evolution;
    CREATE VIEW evolution.attempts AS SELECT order_id, duration_ms FROM raw.payments_payment_attempts;
    CREATE VIEW evolution.slow AS SELECT * FROM evolution.attempts WHERE duration_ms > 100;
    GRANT USAGE ON SCHEMA evolution TO analyst;
    GRANT SELECT ON evolution.slow TO analyst;
    COMMENT ON VIEW evolution.slow IS 'kept';
"""


async def test_columns_come_widen_and_go_under_load(rig: Rig, capture: CdcSettings, server: Warehouse) -> None:
    async def alter(statements: str) -> str:
        async with capture.shop() as shop:
            await shop.execute(statements)
            return "altered"

    async with server.superuser(WAREHOUSE_DATABASE) as superuser:
        await superuser.execute(VIEWS)
    load = asyncio.create_task(rig.load(rate=15, seconds=12))
    await asyncio.sleep(1)
    try:
        widened = await migrate(capture, lambda: alter(WIDEN))
        await equal(capture, await _attempts(capture))
        columns, kept = await _shape(server)
    finally:
        narrowed = await migrate(capture, lambda: alter(NARROW))
        async with server.superuser(WAREHOUSE_DATABASE) as superuser:
            await superuser.execute("DROP SCHEMA evolution CASCADE")
    await load
    async with capture.shop() as shop:
        await equal(capture, await catalogue.read(shop))
    after, _ = await _shape(server)

    assert "channel added" in widened
    assert "integer became bigint" in widened
    assert "rows copied" not in widened
    assert (columns["duration_ms"], columns["channel"]) == ("bigint", "text")
    assert kept == ("kept", True)
    # narrower values can't be trusted to be what is on its way: the table was copied
    assert "rows copied" in narrowed
    assert (after["duration_ms"], after["channel"]) == ("integer", "text"), "what was known is not forgotten"


async def _attempts(capture: CdcSettings) -> list[catalogue.Table]:
    async with capture.shop() as shop:
        return [table for table in await catalogue.read(shop) if table.name == "payments.payment_attempts"]


async def _shape(server: Warehouse) -> tuple[dict[str, str], tuple[str | None, bool]]:
    async with server.superuser(WAREHOUSE_DATABASE) as connection:
        rows = await connection.fetch(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'raw.payments_payment_attempts'::regclass AND attnum > 0"
        )
        view: Any = await connection.fetchrow(
            "SELECT obj_description(to_regclass('evolution.slow')),"
            " coalesce(has_table_privilege('analyst', to_regclass('evolution.slow'), 'SELECT'), false)"
        )
    return dict(tuple(row) for row in rows), tuple(view)

"""The seeded shop in its tables."""

import asyncpg
import pytest
from redis.asyncio import Redis

from contracts import redis_keys
from oltp.accounts.passwords import verify_password
from seed import loading
from seed.people import people
from seed.settings import SeedSettings


async def test_it_is_seeded_once(seed_settings: SeedSettings, seeded: loading.Seeded) -> None:
    assert seeded.fresh
    assert (seeded.plan.customers, seeded.plan.products, seeded.plan.orders) == (60, 100, 600)
    again = await loading.ensure(seed_settings)
    assert not again.fresh
    assert str(again) == "60 customers, 100 products, 600 orders, as before"


async def test_all_schemas_agree_on_how_much_there_is(seeded: loading.Seeded, connection: asyncpg.Connection) -> None:
    counted = {
        "accounts.users WHERE role = 'customer'": 60,
        "accounts.users WHERE role = 'admin'": 1,
        "accounts.addresses WHERE is_default": 60,
        "notifications.contacts": 60,
        "catalog.categories": 50,
        "catalog.products WHERE active": 100,
        "inventory.warehouses": 5,
        "shipping.warehouse_locations": 5,
        "orders.orders": 600,
    }
    for source, expected in counted.items():
        assert await connection.fetchval(f"SELECT count(*) FROM {source}") == expected, source


async def test_logins_work(seed_settings: SeedSettings, seeded: loading.Seeded, connection: asyncpg.Connection) -> None:
    rows = await connection.fetch("SELECT email, role, password_hash FROM accounts.users")
    stored = {row["email"]: row for row in rows}
    assert verify_password(stored[seed_settings.admin_email]["password_hash"], "administrator's secret")
    for customer in people(seeded.plan, first_email=seed_settings.demo_email).customers:
        assert stored[customer.email]["role"] == "customer"
    assert verify_password(stored[seed_settings.demo_email]["password_hash"], "customer's secret")


async def test_price_history_leads_to_todays_price(seeded: loading.Seeded, connection: asyncpg.Connection) -> None:
    wrong = await connection.fetch(
        """
        SELECT p.sku FROM catalog.products p
        LEFT JOIN catalog.price_history h ON h.product_id = p.id AND h.version = p.version
        WHERE h.new_price IS DISTINCT FROM CASE WHEN p.version > 1 THEN p.price END
        UNION ALL
        SELECT p.sku FROM catalog.price_history h JOIN catalog.price_history n ON n.product_id = h.product_id
            AND n.version = h.version + 1 JOIN catalog.products p ON p.id = h.product_id
        WHERE n.old_price <> h.new_price OR n.changed_at < h.changed_at
        """
    )
    assert wrong == []


async def test_indexes_and_foreign_keys_are_back(seeded: loading.Seeded, connection: asyncpg.Connection) -> None:
    keys = await connection.fetchval("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND NOT convalidated")
    indexes = {row[0] for row in await connection.fetch("SELECT indexname FROM pg_indexes WHERE schemaname = 'orders'")}
    assert keys == 0
    assert {"ix_orders_user_date", "ix_orders_status_date", "ix_order_items_product"} <= indexes
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await connection.execute(
            "INSERT INTO orders.order_transitions VALUES (gen_random_uuid(), 1, 'm', 't', 'pending', 'pending', '', "
            "'[]', now())"
        )


async def test_redis_is_filled(seed_settings: SeedSettings, seeded: loading.Seeded) -> None:
    client = Redis.from_url(seed_settings.redis_url.get_secret_value())
    try:
        assert len(await client.keys(redis_keys.product("*"))) >= 100
        assert len(await client.keys(redis_keys.stock("*"))) >= 100
    finally:
        await client.aclose()

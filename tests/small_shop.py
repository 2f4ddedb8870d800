"""A small shop in a database, a Redis database and a document database of its own."""

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from sqlalchemy.engine import make_url

from audit.settings import AuditSettings
from kit.migrations import upgrade_all
from kit.settings import Settings
from seed import loading
from seed.settings import SeedSettings

REDIS_DATABASE = 9


@asynccontextmanager
async def empty_database(settings: Settings) -> AsyncIterator[str]:
    """The URL of an empty, migrated database, dropped afterwards."""
    url = make_url(settings.database_url.get_secret_value())
    name = f"audit_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(
        host=url.host,
        port=url.port,
        user="postgres",
        password=os.environ["SURGE_POSTGRES_PASSWORD"],
        database="postgres",
    )
    await admin.execute(f'CREATE DATABASE {name} OWNER "{url.username}"')
    try:
        scratch = url.set(database=name).render_as_string(hide_password=False)
        await upgrade_all(scratch)
        yield scratch
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await admin.close()


@pytest.fixture(scope="package")
async def scratch_url(settings: Settings) -> AsyncIterator[str]:
    """An empty database of the package's own."""
    async with empty_database(settings) as url:
        yield url


@pytest.fixture(scope="package")
async def scratch(settings: Settings, scratch_url: str) -> AsyncIterator[dict[str, SecretStr]]:
    """The settings that lead to the scratch stores, which are emptied afterwards."""
    redis_url = settings.redis_url.get_secret_value().rpartition("/")[0]
    mongo_url = settings.mongo_url.get_secret_value().rstrip("/")
    urls = {
        "database_url": scratch_url,
        "redis_url": f"{redis_url}/{REDIS_DATABASE}",
        "mongo_url": f"{mongo_url}/{make_url(scratch_url).database}",
    }
    yield {name: SecretStr(url) for name, url in urls.items()}
    redis = Redis.from_url(urls["redis_url"])
    await redis.flushdb()
    await redis.aclose()
    mongo: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(urls["mongo_url"])
    await mongo.drop_database(mongo.get_default_database())
    await mongo.close()


@pytest.fixture(scope="package")
def seed_settings(scratch: dict[str, SecretStr], tmp_path_factory: pytest.TempPathFactory) -> SeedSettings:
    """A small shop, of whose history one half is compact."""
    return SeedSettings(
        **scratch,
        home=tmp_path_factory.mktemp("home"),
        admin_password=SecretStr("administrator's secret"),
        demo_password=SecretStr("customer's secret"),
        demo_customers=60,
        demo_products=100,
        demo_orders=600,
        demo_recorded_days=200,
    )


@pytest.fixture(scope="package")
async def seeded(seed_settings: SeedSettings) -> loading.Seeded:
    """The small shop, seeded."""
    return await loading.ensure(seed_settings)


@pytest.fixture(scope="package")
def audit_settings(scratch: dict[str, SecretStr], seeded: loading.Seeded) -> AuditSettings:
    """Where the small shop's books are. It has no payment providers."""
    return AuditSettings(**scratch, stripe_api_base="http://127.0.0.1:1")


@pytest.fixture
async def connection(audit_settings: AuditSettings) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose changes are taken back."""
    opened = await asyncpg.connect(audit_settings.database_url.get_secret_value().replace("+asyncpg", "", 1))
    transaction = opened.transaction()
    await transaction.start()
    try:
        yield opened
    finally:
        await transaction.rollback()
        await opened.close()

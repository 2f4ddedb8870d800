"""Fixtures of all tests. Servers are real: their addresses come from the environment that ``surge test`` sets."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pydantic import SecretStr
from redis.asyncio import Redis

from kit import redis as kit_redis
from kit.db import Database, ReadSession, WriteSession
from kit.resources import Resources, open_resources
from kit.settings import Settings

_KINDS = {"unit", "integration", "e2e", "faults", "platform", "chaos"}

# rich's tracebacks take seconds each, more under coverage
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test with the folder that it lies in."""
    root = Path(__file__).parent
    for item in items:
        kind = item.path.relative_to(root).parts[0]
        if kind in _KINDS:
            item.add_marker(getattr(pytest.mark, kind))


# tests that get what time others leave take as long as they take
hypothesis_settings.register_profile("surge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("surge")


@pytest.fixture(scope="session")
def settings() -> Settings:
    """The stack's settings."""
    return Settings()


@pytest.fixture(scope="session")
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    """Connections to the running stack."""
    async with open_resources(settings) as opened:
        yield opened


@pytest.fixture
def database(resources: Resources) -> Database:
    """The shop's database."""
    return resources.database


@pytest.fixture
def redis(resources: Resources) -> Redis:
    """The shop's Redis."""
    return resources.redis


@pytest.fixture
async def redis_away(settings: Settings) -> AsyncIterator[Redis]:
    """The client that a process has, of a Redis that is away."""
    client = kit_redis.connect(settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    yield client
    await client.aclose()


@pytest.fixture
async def read_session(database: Database) -> AsyncIterator[ReadSession]:
    """A read-only transaction."""
    async with database.read() as session:
        yield session


@pytest.fixture
async def write_session(database: Database) -> AsyncIterator[WriteSession]:
    """A transaction that is committed when the test ends."""
    async with database.write() as session:
        yield session

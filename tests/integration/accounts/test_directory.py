"""Stored addresses as the checkout looks them up: from Redis, and never older than the last change."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from contracts.orders import Address
from kit.db import Database
from kit.errors import Unavailable
from kit.ids import new_id
from oltp.accounts.directory import Directory

from .conftest import Desk, Someone, register
from .test_profile import HOME, MINE


@pytest.fixture
async def away() -> AsyncIterator[Database]:
    """A database that nobody answers for."""
    database = Database("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    yield database
    await database.close()


async def added(api: httpx.AsyncClient, someone: Someone, **changes: Any) -> str:
    answer = await api.post(MINE, json=HOME | changes, headers=someone.headers)
    assert answer.status_code == 201, answer.text
    address_id: str = answer.json()["id"]
    return address_id


async def test_what_was_looked_up_or_listed_is_known_without_postgres(
    desk: Desk, api: httpx.AsyncClient, away: Database
):
    redis, here = desk.resources.redis, desk.state.directory
    ada, bob = await register(api), await register(api)
    looked_up, listed = await added(api, ada), await added(api, bob, city="Leeds")
    expected = Address(**{name: HOME[name] for name in Address.__struct_fields__})
    alone = Directory(redis, away)

    with pytest.raises(Unavailable):
        await alone.get(ada.id, looked_up)
    assert await here.get(ada.id, looked_up) == expected
    await api.get(MINE, headers=bob.headers)

    assert await alone.get(ada.id, looked_up) == expected
    found = await alone.get(bob.id, listed)
    assert found is not None
    assert found.city == "Leeds"


async def test_somebody_elses_and_nobodys_are_unknown(desk: Desk, api: httpx.AsyncClient):
    ada, eve = await register(api), await register(api)
    address_id = await added(api, ada)
    await desk.state.directory.get(ada.id, address_id)

    assert await desk.state.directory.get(eve.id, address_id) is None
    for strange in (new_id(), "no id", ""):
        assert await desk.state.directory.get(ada.id, strange) is None


async def test_a_change_counts_at_once(desk: Desk, api: httpx.AsyncClient):
    ada = await register(api)
    address_id = await added(api, ada)
    for city in ("Paris", "Oslo"):
        await desk.state.directory.get(ada.id, address_id)
        await api.put(f"{MINE}/{address_id}", json=HOME | {"city": city}, headers=ada.headers)
        found = await desk.state.directory.get(ada.id, address_id)
        assert found is not None
        assert found.city == city
    await api.delete(f"{MINE}/{address_id}", headers=ada.headers)
    assert await desk.state.directory.get(ada.id, address_id) is None


async def test_what_was_read_before_a_change_is_not_kept_after_it(desk: Desk, api: httpx.AsyncClient):
    ada, here = await register(api), desk.state.directory
    address_id = await added(api, ada)
    generation = await here.generation(ada.id)
    async with desk.resources.database.read() as session:
        from oltp.accounts.repository import Addresses

        read_before = await Addresses(session, ada.id).all()
    await api.put(f"{MINE}/{address_id}", json=HOME | {"city": "Paris"}, headers=ada.headers)

    await here.keep(ada.id, generation, read_before)

    found = await here.get(ada.id, address_id)
    assert found is not None
    assert found.city == "Paris"


async def test_a_writer_that_dies_leaves_no_copy_behind(desk: Desk, api: httpx.AsyncClient):
    ada, here = await register(api), desk.state.directory
    address_id = await added(api, ada)
    await here.get(ada.id, address_id)
    begun, forever = asyncio.Event(), asyncio.Event()

    async def change() -> None:
        async with here.changing(ada.id):
            begun.set()
            await forever.wait()

    dying = asyncio.create_task(change())
    await begun.wait()
    await here.get(ada.id, address_id)  # reads Postgres, and keeps nothing
    copies = await desk.resources.redis.hgetall(f"addresses:{ada.id}")
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)

    assert copies == {}

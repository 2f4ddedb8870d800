"""The product directory: what it answers, from where, and how fresh, whatever fails."""

import asyncio
import time

import msgspec
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from contracts import redis_keys
from contracts.products import ProductCard
from kit.db import Database
from kit.errors import Unavailable
from kit.ids import new_id
from kit.shared_redis import SharedRedis
from kit.transient import is_transient
from oltp.catalog.directory import Directory, warm
from oltp.catalog.repository import Cards, ProductWriter, VersionedCard
from oltp.catalog.state import lifespan

from .conftest import Catalog

NOBODY = Database("postgresql+asyncpg://nobody@127.0.0.1:1/nothing")
MARK = "catalog:refreshed_xid"
CHEAPER = "UPDATE catalog.products SET price = 9.99 WHERE id = CAST(:id AS uuid)"


async def test_a_card_comes_from_postgres_and_is_left_in_redis_for_good(catalog: Catalog):
    product_id = await catalog.add(name="Kettle", unit_price=1999, image_url="/k.jpg")
    found = await catalog.directory().get_many([product_id, product_id])
    card = found[product_id]
    assert type(card) is ProductCard
    assert (card.product_id, card.name, card.unit_price, card.currency) == (product_id, "Kettle", 1999, "USD")
    assert (card.category, card.active, card.image_url) == (catalog.category.title(), True, "/k.jpg")
    stored = await catalog.redis.get(redis_keys.product(product_id))
    assert msgspec.json.decode(stored, type=ProductCard) == card
    assert await catalog.redis.ttl(redis_keys.product(product_id)) == -1


async def test_what_does_not_exist_is_left_out(catalog: Catalog):
    product_id = await catalog.add()
    found = await catalog.directory().get_many([product_id, new_id(), "no-id", "", "\x00"])
    assert set(found) == {product_id}
    assert await catalog.directory().get_many([]) == {}


async def test_inactive_products_have_cards_too(catalog: Catalog):
    product_id = await catalog.add(active=False)
    assert not (await catalog.directory().get_many([product_id]))[product_id].active


async def test_with_postgres_away_known_products_can_be_bought(catalog: Catalog):
    known = await catalog.add()
    await warm(catalog.resources.shared_redis, catalog.resources.database)
    directory = Directory(catalog.resources.shared_redis, NOBODY, catalog.state.settings)
    assert set(await directory.get_many([known])) == {known}
    with pytest.raises(ConnectionRefusedError) as away:
        await directory.get_many([known, new_id()])
    assert is_transient(away.value)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await directory.get_many([new_id()])
    assert time.monotonic() - started < 0.05
    assert set(await directory.get_many([known])) == {known}


async def test_with_redis_away_postgres_answers(catalog: Catalog):
    product_id = await catalog.add()
    away = catalog.resources.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")})
    directory = Directory(SharedRedis(away), catalog.resources.database, catalog.state.settings)
    assert set(await directory.get_many([product_id])) == {product_id}
    await directory.publish([])


async def test_an_older_version_never_replaces_a_newer_one(catalog: Catalog):
    product_id = await catalog.add()
    async with catalog.resources.database.read() as session:
        [old] = await Cards(session).get([product_id])
    await catalog.sql(CHEAPER, id=product_id)
    async with catalog.resources.database.read() as session:
        [new] = await Cards(session).get([product_id])
    assert (old.version, new.version) == (1, 2)
    directory = catalog.directory(catalog_cache_seconds=0)
    await asyncio.gather(directory.publish([new]), directory.publish([old]))
    await directory.publish([old])
    assert (await directory.get_many([product_id]))[product_id].unit_price == 999


@pytest.mark.parametrize("stored", ["{}", "not json", '{"version": "x"}', "[1]", "7"])
async def test_what_is_no_card_is_replaced(catalog: Catalog, stored: str):
    product_id = await catalog.add()
    await catalog.redis.set(redis_keys.product(product_id), stored)
    directory = catalog.directory(catalog_cache_seconds=0)
    assert set(await directory.get_many([product_id])) == {product_id}
    stored_now = await catalog.redis.get(redis_keys.product(product_id))
    assert msgspec.json.decode(stored_now, type=ProductCard).product_id == product_id


async def test_a_refill_that_comes_late_does_not_undo_a_change(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    product_id = await catalog.add()
    reader, read, go = catalog.directory(), asyncio.Event(), asyncio.Event()
    write = reader._write

    async def late(cards):
        read.set()
        await go.wait()
        await write(cards)

    monkeypatch.setattr(reader, "_write", late)
    reading = asyncio.create_task(reader.get_many([product_id]))
    await read.wait()
    await catalog.sql(CHEAPER, id=product_id)
    async with catalog.resources.database.read() as session:
        await catalog.directory().publish(await Cards(session).get([product_id]))
    go.set()
    await reading
    assert (await catalog.directory().get_many([product_id]))[product_id].unit_price == 999


async def test_a_process_trusts_a_card_for_a_moment_only(catalog: Catalog):
    product_id = await catalog.add()
    now = 100.0
    directory = Directory(
        catalog.resources.shared_redis, catalog.resources.database, catalog.state.settings, monotonic=lambda: now
    )
    card = (await directory.get_many([product_id]))[product_id]
    cheaper = VersionedCard(msgspec.structs.replace(card, unit_price=1), 2)
    await catalog.directory().publish([cheaper])
    now += catalog.state.settings.catalog_cache_seconds - 0.01
    assert (await directory.get_many([product_id]))[product_id].unit_price == 1999
    now += 0.01
    assert (await directory.get_many([product_id]))[product_id].unit_price == 1


async def test_who_publishes_sees_it_at_once(catalog: Catalog):
    product_id = await catalog.add()
    directory = catalog.directory()
    card = (await directory.get_many([product_id]))[product_id]
    await directory.publish([VersionedCard(msgspec.structs.replace(card, unit_price=1), 2)])
    assert (await directory.get_many([product_id]))[product_id].unit_price == 1


async def test_a_process_keeps_so_many_cards(catalog: Catalog):
    directory = catalog.directory(catalog_cache_products=3)
    await directory.get_many([new_id() for _ in range(10)])
    assert len(directory._entries) == 3


async def test_many_who_miss_at_once_ask_postgres_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    product_id = await catalog.add()
    asked: list[list[str]] = []
    get = Cards.get

    async def counted(self, ids):
        asked.append(list(ids))
        return await get(self, ids)

    monkeypatch.setattr(Cards, "get", counted)
    directory = catalog.directory()
    answers = await asyncio.gather(*(directory.get_many([product_id]) for _ in range(20)))
    assert all(set(answer) == {product_id} for answer in answers)
    assert asked == [[product_id]]


class TestRefresh:
    async def test_finds_what_a_writer_that_died_left_unsaid(self, catalog: Catalog):
        product_id = await catalog.add()
        here, elsewhere = catalog.directory(catalog_cache_seconds=0), catalog.directory()
        await elsewhere.refresh()
        await catalog.sql(CHEAPER, id=product_id)
        assert (await here.get_many([product_id]))[product_id].unit_price == 1999
        await elsewhere.refresh()
        assert (await here.get_many([product_id]))[product_id].unit_price == 999

    async def test_finds_new_products(self, catalog: Catalog):
        directory = catalog.directory()
        await directory.refresh()
        product_id = await catalog.add()
        await directory.refresh()
        assert await catalog.redis.exists(redis_keys.product(product_id))

    async def test_misses_no_transaction_that_began_early_and_commits_late(self, catalog: Catalog):
        slow, quick = await catalog.add(), await catalog.add()
        directory = catalog.directory(catalog_cache_seconds=0)
        await directory.refresh()
        async with catalog.resources.database.write() as session:
            await session.execute(text(CHEAPER), {"id": slow})
            await catalog.sql(CHEAPER, id=quick)
            for _ in range(3):
                await directory.refresh()
            prices = {i: c.unit_price for i, c in (await directory.get_many([slow, quick])).items()}
            assert prices == {slow: 1999, quick: 999}
        await directory.refresh()
        assert (await directory.get_many([slow]))[slow].unit_price == 999

    async def test_any_process_may_do_it_and_none_undoes_anothers(self, catalog: Catalog):
        products = [await catalog.add() for _ in range(5)]
        directories = [catalog.directory(catalog_cache_seconds=0) for _ in range(3)]

        async def change(product_id: str) -> None:
            for _ in range(5):
                await catalog.sql(
                    "UPDATE catalog.products SET price = price + 1 WHERE id = CAST(:id AS uuid)", id=product_id
                )

        async def look(directory: Directory) -> None:
            for _ in range(10):
                await directory.refresh()

        await directories[0].refresh()
        await asyncio.gather(*map(change, products), *map(look, directories))
        await directories[0].refresh()
        cards = await directories[1].get_many(products)
        assert {card.unit_price for card in cards.values()} == {1999 + 500}

    async def test_writes_a_change_once_only_while_a_long_transaction_runs(
        self, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
    ):
        product_id, other = await catalog.add(), await catalog.add()
        directory = catalog.directory()
        await directory.refresh()
        written: list[str] = []
        write = directory._write

        async def noted(cards):
            written.extend(card.card.product_id for card in cards)
            await write(cards)

        monkeypatch.setattr(directory, "_write", noted)
        async with catalog.resources.database.write() as session:
            await session.execute(text(CHEAPER), {"id": other})
            await catalog.sql(CHEAPER, id=product_id)
            for _ in range(4):
                await directory.refresh()
        assert [i for i in written if i == product_id] == [product_id]

    @pytest.mark.parametrize("mark", [None, str(2**62), "nonsense"])
    async def test_fills_a_redis_whose_mark_means_nothing(self, catalog: Catalog, mark: str | None):
        product_id = await catalog.add()
        if mark is not None:
            await catalog.redis.set(MARK, mark)
        await catalog.directory().refresh()
        assert await catalog.redis.exists(redis_keys.product(product_id))
        async with catalog.resources.database.read() as session:
            snapshot = await Cards(session).snapshot()
        assert int(await catalog.redis.get(MARK)) <= snapshot.xmax

    async def test_runs_while_the_process_serves(self, catalog: Catalog):
        product_id = await catalog.add()
        async with lifespan(catalog.resources) as state:
            directory = state["products"]
            assert (await directory.get_many([product_id]))[product_id].unit_price == 1999
            await catalog.sql(CHEAPER, id=product_id)
            changed = time.monotonic()
            while (await directory.get_many([product_id]))[product_id].unit_price != 999:
                assert time.monotonic() - changed < 5
                await asyncio.sleep(0.01)
            took = time.monotonic() - changed
            await catalog.redis.flushdb()
            deadline = time.monotonic() + 5
            while not await catalog.redis.exists(redis_keys.product(product_id)):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
        assert took < 1.0


async def test_warm_writes_every_card_and_says_how_far_it_is(catalog: Catalog, monkeypatch: pytest.MonkeyPatch):
    from oltp.catalog import directory

    monkeypatch.setattr(directory, "_BATCH", 2)
    products = [await catalog.add() for _ in range(5)]
    told: list[int] = []
    done = await warm(catalog.resources.shared_redis, catalog.resources.database, progress=told.append)
    assert told[-1] == done >= 5
    assert await catalog.redis.exists(*map(redis_keys.product, products)) == 5
    assert await catalog.redis.get(MARK)


async def test_a_change_by_hand_counts_the_version_up(catalog: Catalog):
    product_id = await catalog.add()
    for _ in range(2):
        await catalog.sql(
            "UPDATE catalog.products SET version = 70, name = name || '!' WHERE id = CAST(:id AS uuid)", id=product_id
        )
    await catalog.sql("UPDATE catalog.products SET name = name WHERE id = CAST(:id AS uuid)", id=product_id)
    async with catalog.resources.database.write() as session:
        product = await ProductWriter(session).lock(product_id)
    assert product is not None
    assert (product.version, product.name) == (3, "Kettle!!")

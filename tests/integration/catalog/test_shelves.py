"""What customers see of the catalog over HTTP."""

import datetime as dt
from dataclasses import replace
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from contracts import redis_keys
from contracts.sales import SaleStanding
from kit.ids import new_id

from .conftest import Catalog


async def listed(api: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    answer = await api.get("/api/products", params=query)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def names(document: dict[str, Any]) -> list[str]:
    return [item["name"] for item in document["items"]]


@pytest.fixture
async def kettles(catalog: Catalog) -> dict[str, str]:
    """Five products, one of them off sale."""
    return {
        name: await catalog.add(name=name, unit_price=price, active=name != "retired")
        for name, price in [("Bravo", 3000), ("alpha", 1000), ("Charlie", 2000), ("delta", 2000), ("retired", 1500)]
    }


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (None, ["delta", "Charlie", "alpha", "Bravo"]),
        ("newest", ["delta", "Charlie", "alpha", "Bravo"]),
        ("price_asc", ["alpha", "Charlie", "delta", "Bravo"]),
        ("price_desc", ["Bravo", "delta", "Charlie", "alpha"]),
        ("name", ["alpha", "Bravo", "Charlie", "delta"]),
    ],
)
async def test_lists_what_is_for_sale_in_order(
    catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str], sort: str | None, expected: list[str]
):
    query = {"category": catalog.category} | ({"sort": sort} if sort else {})
    page = await listed(api, **query)
    assert names(page) == expected
    assert (page["total"], page["total_is_exact"], page["has_more"]) == (4, True, False)
    paged = [await listed(api, **query, page=n, page_size=3) for n in (1, 2, 3)]
    assert [name for document in paged for name in names(document)] == expected
    assert [document["has_more"] for document in paged] == [True, False, False]


@pytest.mark.parametrize(
    ("narrowed", "expected"),
    [
        ({"price_min": 2000}, ["Charlie", "delta", "Bravo"]),
        ({"price_max": 2000}, ["alpha", "Charlie", "delta"]),
        ({"price_min": 1001, "price_max": 2999}, ["Charlie", "delta"]),
        ({"price_min": 2000, "price_max": 2000}, ["Charlie", "delta"]),
        ({"price_min": 5000}, []),
    ],
)
async def test_narrows_by_price(
    catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str], narrowed: dict[str, int], expected: list[str]
):
    page = await listed(api, category=catalog.category, sort="price_asc", **narrowed)
    assert names(page) == expected
    assert page["total"] == len(expected)


async def test_an_unknown_category_is_empty(api: httpx.AsyncClient):
    page = await listed(api, category="no-such-category")
    assert (page["items"], page["total"], page["has_more"]) == ([], 0, False)


async def test_shows_the_stock_that_redis_knows(catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str]):
    await catalog.redis.mset(
        {
            redis_keys.stock(kettles["alpha"]): 50,
            redis_keys.stock(kettles["Bravo"]): 3,
            redis_keys.stock(kettles["Charlie"]): 0,
        }
    )
    page = await listed(api, category=catalog.category)
    shown = {item["name"]: (item["stock"], item["availability"]) for item in page["items"]}
    assert shown == {
        "alpha": (50, "in_stock"),
        "Bravo": (3, "low_stock"),
        "Charlie": (0, "out_of_stock"),
        "delta": (None, "unknown"),
    }
    one = await api.get(f"/api/products/{kettles['Bravo']}")
    assert (one.json()["stock"], one.json()["availability"]) == (3, "low_stock")


async def test_without_redis_the_stock_is_unknown(
    catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str], redis_away: Redis
):
    catalog.resources = replace(catalog.resources, redis=redis_away)
    answer = await api.get(f"/api/products/{kettles['alpha']}")
    assert (answer.status_code, answer.json()["stock"]) == (200, None)


async def test_shows_one_product(catalog: Catalog, api: httpx.AsyncClient):
    product_id = await catalog.add(name="Kettle", description="Boils.", unit_price=4995)
    answer = await api.get(f"/api/products/{product_id}")
    assert answer.status_code == 200
    document = answer.json()
    assert (document["id"], document["description"], document["unit_price"]) == (product_id, "Boils.", 4995)
    assert document["category"] == {"slug": catalog.category, "name": catalog.category.title()}


async def test_what_is_not_for_sale_is_not_shown(catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str]):
    for product_id in (kettles["retired"], new_id()):
        answer = await api.get(f"/api/products/{product_id}")
        assert (answer.status_code, answer.json()["type"]) == (404, "product-not-found")
    assert (await api.get("/api/products/1")).status_code == 422


async def test_counting_stops_and_says_so(catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str]):
    catalog.state = replace(catalog.state, settings=catalog.state.settings.model_copy(update={"catalog_count_cap": 3}))
    page = await listed(api, category=catalog.category, page_size=2)
    assert (page["total"], page["total_is_exact"], page["has_more"]) == (3, False, True)


async def test_paging_ends_at_a_depth(catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str]):
    assert (await listed(api, page=100, page_size=100))["page"] == 100
    answer = await api.get("/api/products", params={"page": 101, "page_size": 100})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"field": "query.page", "message": "pages of 100 end at 100; narrow by category or price"}
    ]
    catalog.state = replace(catalog.state, settings=catalog.state.settings.model_copy(update={"catalog_page_depth": 2}))
    last = await listed(api, category=catalog.category, page=1, page_size=2)
    assert not last["has_more"]


@pytest.mark.parametrize(
    "query",
    [
        {"price_min": 2, "price_max": 1},
        {"price_min": -1},
        {"price_max": 10**12},
        {"price_min": "cheap"},
        {"sort": "random"},
        {"page": 0},
        {"page": 10**30},
        {"page_size": 0},
        {"page_size": 101},
        {"category": "Head Phones"},
        {"category": "a\x00b"},
        {"category": "x" * 65},
        {"colour": "red"},
    ],
)
async def test_refuses_bad_queries(api: httpx.AsyncClient, query: dict[str, Any]):
    answer = await api.get("/api/products", params=query)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


async def test_categories_count_what_is_for_sale(catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str]):
    answer = await api.get("/api/categories")
    assert answer.status_code == 200
    items = answer.json()["items"]
    assert {"slug": catalog.category, "name": catalog.category.title(), "product_count": 4} in items
    assert [item["name"] for item in items] == sorted(item["name"] for item in items)


async def test_a_flash_sale_is_shown_while_it_runs(catalog: Catalog, api: httpx.AsyncClient):
    product_id = await catalog.add(name="Rush", unit_price=3000)
    await catalog.redis.set(redis_keys.stock(product_id), 900)
    now = catalog.clock.now()
    sale = catalog.sales.put(
        product_id,
        unit_price=1000,
        units=100,
        starts_at=now + dt.timedelta(seconds=1),
        ends_at=now + dt.timedelta(hours=1),
    )

    async def shown() -> dict[str, Any]:
        document = (await api.get(f"/api/products/{product_id}")).json()
        [item] = [item for item in (await listed(api, category=catalog.category))["items"] if item["id"] == product_id]
        assert item == {name: document[name] for name in item}
        return document

    before = await shown()
    assert (before["sale"], before["stock"]) == (None, 900)
    catalog.clock.advance(dt.timedelta(seconds=1))
    for standing, availability in (
        (SaleStanding(left=40, admits=True), "in_stock"),
        (SaleStanding(left=0, admits=True), "out_of_stock"),
        (SaleStanding(left=0, admits=False), "out_of_stock"),
    ):
        catalog.sales.standings[sale.sale_id] = standing
        document = await shown()
        assert (document["unit_price"], document["sale"]["unit_price"]) == (3000, 1000)
        assert (document["stock"], document["sale"]["units_left"]) == (standing.left, standing.left)
        assert (document["availability"], document["sale"]["sold_out"]) == (availability, not standing.admits)
    catalog.clock.advance(dt.timedelta(hours=1))
    assert await shown() == before


async def test_looking_and_narrowing_are_noted(catalog: Catalog, api: httpx.AsyncClient, kettles: dict[str, str]):
    await api.get("/api/products")
    await listed(api, category=catalog.category, price_max=2000)
    await listed(api, category=catalog.category, page=2, page_size=1)
    await api.get(f"/api/products/{kettles['alpha']}")
    await api.get(f"/api/products/{kettles['retired']}")
    [(search, searched), (view, viewed)] = catalog.visits.take()
    assert (search, searched["results"]) == ("search", 3)
    assert searched["query"] == f"{catalog.category.replace('-', ' ')} up to 20.00"
    assert (view, viewed) == ("product_view", {"product_id": kettles["alpha"], "unit_price": 1000})

"""What admins do to the catalog over HTTP, and who hears of it."""

import asyncio
import uuid
from typing import Any

import httpx
import pytest

from contracts.envelope import registry
from contracts.events import ProductChanged
from kit.auth import Role
from kit.ids import new_id
from kit.pagination import encode_cursor

from .conftest import Catalog

PRODUCTS = "/api/admin/products"


def sku() -> str:
    return f"T-{uuid.uuid4().hex.upper()}"


@pytest.fixture
def kettle(catalog: Catalog) -> dict[str, Any]:
    """A product as an admin would add it."""
    return {
        "sku": sku(),
        "name": "Kettle",
        "description": "Boils\nwater.",
        "category": catalog.category,
        "unit_price": 4995,
        "image_url": "https://images.example.com/kettle.jpg",
    }


async def added(catalog: Catalog, api: httpx.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = await api.post(PRODUCTS, json=body, headers=catalog.admin)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


class TestCreate:
    async def test_adds_a_product_that_all_hear_of(
        self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]
    ):
        answer = await api.post(PRODUCTS, json=kettle | {"name": "  Kettle "}, headers=catalog.admin)
        assert answer.status_code == 201
        product = answer.json()
        assert answer.headers["location"] == f"{PRODUCTS}/{product['id']}"
        assert product["category"]["slug"] == catalog.category
        assert {name: product[name] for name in kettle} == kettle | {"category": product["category"]}
        assert (product["name"], product["version"], product["active"], product["currency"]) == (
            "Kettle",
            1,
            True,
            "USD",
        )
        assert (await api.get(f"/api/products/{product['id']}")).status_code == 200
        [envelope] = [e for e in catalog.announced if e.subject == product["id"]]
        assert registry.decode(envelope) == ProductChanged(
            product_id=product["id"],
            version=1,
            sku=kettle["sku"],
            name="Kettle",
            category=catalog.category.title(),
            unit_price=4995,
            currency="USD",
            active=True,
        )
        assert (await catalog.directory().get_many([product["id"]]))[product["id"]].unit_price == 4995

    async def test_a_sku_is_one_product(self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]):
        answers = await asyncio.gather(*(api.post(PRODUCTS, json=kettle, headers=catalog.admin) for _ in range(4)))
        assert sorted(a.status_code for a in answers) == [201, 409, 409, 409]
        assert {a.json()["type"] for a in answers if a.status_code == 409} == {"sku-taken"}

    async def test_needs_a_category_that_exists(self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]):
        answer = await api.post(PRODUCTS, json=kettle | {"category": "no-such-category"}, headers=catalog.admin)
        assert (answer.status_code, answer.json()["type"]) == (409, "category-unknown")

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"category": "No Slug"}, "body.category"),
            ({"sku": "lower"}, "body.sku"),
            ({"sku": ""}, "body.sku"),
            ({"name": " "}, "body.name"),
            ({"name": "a\x00b"}, "body.name"),
            ({"description": "a\x00b"}, "body.description"),
            ({"unit_price": 0}, "body.unit_price"),
            ({"unit_price": 100_000_001}, "body.unit_price"),
            ({"unit_price": 10.5}, "body.unit_price"),
            ({"image_url": "javascript:alert(1)"}, "body.image_url"),
            ({"version": 1}, "body.version"),
            ({"currency": "EUR"}, "body.currency"),
        ],
    )
    async def test_refuses_bad_input_by_field(
        self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any], change: dict[str, Any], field: str
    ):
        answer = await api.post(PRODUCTS, json=kettle | change, headers=catalog.admin)
        assert answer.status_code == 422
        assert [error["field"] for error in answer.json()["errors"]] == [field]


class TestUpdate:
    async def test_changes_what_is_given(self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]):
        product = await added(catalog, api, kettle)
        change = {"version": 1, "name": "Teapot", "description": ""}
        answer = await api.patch(f"{PRODUCTS}/{product['id']}", json=change, headers=catalog.admin)
        assert answer.status_code == 200
        changed = answer.json()
        assert (changed["name"], changed["description"], changed["sku"]) == ("Teapot", "", kettle["sku"])
        assert changed["version"] == 2
        assert catalog.said(product["id"]) == ["product.changed"] * 2
        assert (await catalog.directory().get_many([product["id"]]))[product["id"]].name == "Teapot"

    async def test_a_change_to_what_is_already_so_is_none(
        self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]
    ):
        product = await added(catalog, api, kettle)
        answer = await api.patch(f"{PRODUCTS}/{product['id']}", json=kettle | {"version": 1}, headers=catalog.admin)
        assert answer.status_code == 422, "prices have their own route"
        body = {"version": 1, "name": "Kettle", "category": catalog.category}
        answer = await api.patch(f"{PRODUCTS}/{product['id']}", json=body, headers=catalog.admin)
        assert (answer.status_code, answer.json()) == (200, product)
        assert catalog.said(product["id"]) == ["product.changed"]

    async def test_an_edit_based_on_an_older_version_is_refused(
        self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]
    ):
        product = await added(catalog, api, kettle)
        path = f"{PRODUCTS}/{product['id']}"
        answers = await asyncio.gather(
            *(api.patch(path, json={"version": 1, "name": f"Kettle {n}"}, headers=catalog.admin) for n in range(4))
        )
        assert sorted(a.status_code for a in answers) == [200, 409, 409, 409]
        refused = next(a.json() for a in answers if a.status_code == 409)
        assert (refused["type"], refused["current_version"]) == ("version-conflict", 2)
        price = {"version": 1, "unit_price": 1, "reason": "sale"}
        assert (await api.put(f"{path}/price", json=price, headers=catalog.admin)).status_code == 409

    async def test_moves_to_another_category(self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]):
        product = await added(catalog, api, kettle)
        other = f"{catalog.category}-pots"
        created = await api.post(
            "/api/admin/categories", json={"slug": other, "name": f"Pots {other}"}, headers=catalog.admin
        )
        assert (created.status_code, created.json()) == (201, {"slug": other, "name": f"Pots {other}"})
        path = f"{PRODUCTS}/{product['id']}"
        moved = await api.patch(path, json={"version": 1, "category": other}, headers=catalog.admin)
        assert moved.json()["category"]["slug"] == other
        lost = await api.patch(path, json={"version": 2, "category": "no-such-category"}, headers=catalog.admin)
        assert (lost.status_code, lost.json()["type"]) == (409, "category-unknown")
        back = await api.patch(path, json={"version": 2, "category": catalog.category}, headers=catalog.admin)
        assert back.status_code == 200

    async def test_a_taken_sku_is_refused(self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]):
        first = await added(catalog, api, kettle)
        second = await added(catalog, api, kettle | {"sku": sku()})
        answer = await api.patch(
            f"{PRODUCTS}/{second['id']}", json={"version": 1, "sku": first["sku"]}, headers=catalog.admin
        )
        assert (answer.status_code, answer.json()["type"]) == (409, "sku-taken")


class TestPrice:
    async def test_changes_and_keeps_its_history(
        self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]
    ):
        product = await added(catalog, api, kettle)
        path, actor = f"{PRODUCTS}/{product['id']}", new_id()
        headers = catalog.headers(Role.ADMIN, actor)
        for version, price in enumerate([3999, 3999, 2999], start=1):
            body = {"version": min(version, 2), "unit_price": price, "reason": f"sale {version}"}
            answer = await api.put(f"{path}/price", json=body, headers=headers)
            assert answer.status_code == 200
        assert (answer.json()["unit_price"], answer.json()["version"]) == (2999, 3)
        assert (await catalog.directory().get_many([product["id"]]))[product["id"]].unit_price == 2999
        history = await api.get(f"{path}/price-history", headers=headers)
        assert history.status_code == 200
        rows = history.json()["items"]
        assert [(r["version"], r["old_unit_price"], r["new_unit_price"], r["reason"]) for r in rows] == [
            (3, 3999, 2999, "sale 3"),
            (2, 4995, 3999, "sale 1"),
        ]
        assert {r["actor_id"] for r in rows} == {actor}
        first = (await api.get(f"{path}/price-history", params={"limit": 1}, headers=headers)).json()
        rest = (
            await api.get(f"{path}/price-history", params={"limit": 1, "cursor": first["next_cursor"]}, headers=headers)
        ).json()
        assert [r["version"] for r in first["items"] + rest["items"]] == [3, 2]
        assert rest["next_cursor"] is None

    @pytest.mark.parametrize(
        "change", [{"unit_price": 0}, {"unit_price": "9.99"}, {"reason": ""}, {"version": 0}, {"x": 1}]
    )
    async def test_refuses_bad_input(self, catalog: Catalog, api: httpx.AsyncClient, change: dict[str, Any]):
        product_id = await catalog.add()
        body = {"version": 1, "unit_price": 1, "reason": "sale"} | change
        answer = await api.put(f"{PRODUCTS}/{product_id}/price", json=body, headers=catalog.admin)
        assert answer.status_code == 422

    @pytest.mark.parametrize(
        "cursor",
        ["x", encode_cursor("a"), encode_cursor(1, 2), encode_cursor(0), encode_cursor(2**40), encode_cursor(True)],
    )
    async def test_refuses_a_cursor_that_is_none(self, catalog: Catalog, api: httpx.AsyncClient, cursor: str):
        product_id = await catalog.add()
        answer = await api.get(
            f"{PRODUCTS}/{product_id}/price-history", params={"cursor": cursor}, headers=catalog.admin
        )
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "query.cursor")


class TestActive:
    async def test_goes_off_sale_and_on_again(self, catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any]):
        product = await added(catalog, api, kettle)
        path, public = f"{PRODUCTS}/{product['id']}", f"/api/products/{product['id']}"
        for _ in range(2):
            answer = await api.post(f"{path}/deactivate", headers=catalog.admin)
            assert (answer.status_code, answer.json()["active"], answer.json()["version"]) == (200, False, 2)
        assert (await api.get(public)).status_code == 404
        assert not (await catalog.directory().get_many([product["id"]]))[product["id"]].active
        assert (await api.get(path, headers=catalog.admin)).json()["active"] is False
        answer = await api.post(f"{path}/activate", headers=catalog.admin)
        assert (answer.json()["active"], answer.json()["version"]) == (True, 3)
        assert (await api.get(public)).status_code == 200
        assert catalog.said(product["id"]) == ["product.changed"] * 3


class TestSearch:
    async def test_finds_all_products_newest_first_page_by_page(self, catalog: Catalog, api: httpx.AsyncClient):
        products = [await catalog.add(name=f"Kettle {n}", active=n % 2 == 0) for n in range(5)]
        found: list[str] = []
        query: dict[str, Any] = {"category": catalog.category, "limit": 2}
        while True:
            page = (await api.get(PRODUCTS, params=query, headers=catalog.admin)).json()
            found += [item["id"] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            query["cursor"] = page["next_cursor"]
        assert found == products[::-1]
        inactive = await api.get(
            PRODUCTS, params={"category": catalog.category, "active": False}, headers=catalog.admin
        )
        assert [item["id"] for item in inactive.json()["items"]] == [products[3], products[1]]

    @pytest.mark.parametrize(
        ("q", "expected"),
        [("KETTLE", 2), ("100%", 1), ("%", 1), ("_", 1), ("\\", 1), ("t-", 2), ("nothing like it", 0)],
    )
    async def test_finds_by_text_as_it_stands(self, catalog: Catalog, api: httpx.AsyncClient, q: str, expected: int):
        await catalog.add(name="Kettle 100% steel")
        await catalog.add(name="kettle_2 \\ black")
        answer = await api.get(PRODUCTS, params={"category": catalog.category, "q": q}, headers=catalog.admin)
        assert len(answer.json()["items"]) == expected

    @pytest.mark.parametrize(
        "query",
        [
            {"cursor": "x"},
            {"cursor": encode_cursor("2026-01-01", new_id())},
            {"cursor": encode_cursor("2026-01-01T00:00:00+00:00", "x")},
            {"cursor": encode_cursor(1, 2)},
            {"limit": 0},
            {"limit": 101},
            {"q": "\x00"},
            {"active": "perhaps"},
            {"page": 1},
        ],
    )
    async def test_refuses_bad_queries(self, catalog: Catalog, api: httpx.AsyncClient, query: dict[str, Any]):
        assert (await api.get(PRODUCTS, params=query, headers=catalog.admin)).status_code == 422


class TestCategories:
    async def test_are_one_of_a_name(self, catalog: Catalog, api: httpx.AsyncClient):
        for body in (
            {"slug": catalog.category, "name": "Something else"},
            {"slug": f"{catalog.category}-2", "name": catalog.category.title()},
        ):
            answer = await api.post("/api/admin/categories", json=body, headers=catalog.admin)
            assert (answer.status_code, answer.json()["type"]) == (409, "category-exists")

    @pytest.mark.parametrize("body", [{"slug": "A"}, {"slug": "-a", "name": "A"}, {"slug": "a", "name": ""}, {}])
    async def test_refuse_bad_input(self, catalog: Catalog, api: httpx.AsyncClient, body: dict[str, str]):
        assert (await api.post("/api/admin/categories", json=body, headers=catalog.admin)).status_code == 422


def admin_requests(product_id: str) -> list[tuple[str, str, dict[str, Any] | None]]:
    path = f"{PRODUCTS}/{product_id}"
    return [
        ("POST", "/api/admin/categories", {"slug": "a", "name": "A"}),
        ("GET", PRODUCTS, None),
        ("POST", PRODUCTS, {"sku": "A", "name": "A", "category": "a", "unit_price": 1}),
        ("GET", path, None),
        ("PATCH", path, {"version": 1}),
        ("PUT", f"{path}/price", {"version": 1, "unit_price": 1, "reason": "sale"}),
        ("GET", f"{path}/price-history", None),
        ("POST", f"{path}/activate", None),
        ("POST", f"{path}/deactivate", None),
    ]


async def test_only_admins_get_in(catalog: Catalog, api: httpx.AsyncClient):
    product_id = await catalog.add()
    for method, path, body in admin_requests(product_id):
        assert (await api.request(method, path, json=body)).status_code == 401, (method, path)
        refused = await api.request(method, path, json=body, headers=catalog.headers(Role.CUSTOMER))
        assert refused.status_code == 403, (method, path)
    assert (await api.get(f"{PRODUCTS}/{product_id}", headers=catalog.admin)).json()["version"] == 1


async def test_what_does_not_exist_is_404(catalog: Catalog, api: httpx.AsyncClient):
    for method, path, body in admin_requests(new_id())[3:]:
        answer = await api.request(method, path, json=body, headers=catalog.admin)
        assert (answer.status_code, answer.json()["type"]) == (404, "product-not-found"), (method, path)


async def test_a_failed_card_write_does_not_undo_a_change(
    catalog: Catalog, api: httpx.AsyncClient, kettle: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    product = await added(catalog, api, kettle)
    elsewhere = catalog.directory()
    await elsewhere.refresh()

    async def failing(cards: object) -> None:
        raise ConnectionError("Redis went away")

    with monkeypatch.context() as patched:
        patched.setattr(catalog.state.directory, "_write", failing)
        body = {"version": 1, "unit_price": 1, "reason": "sale"}
        answer = await api.put(f"{PRODUCTS}/{product['id']}/price", json=body, headers=catalog.admin)
    assert (answer.status_code, answer.json()["unit_price"]) == (200, 1)
    await elsewhere.refresh()
    assert (await catalog.directory().get_many([product["id"]]))[product["id"]].unit_price == 1

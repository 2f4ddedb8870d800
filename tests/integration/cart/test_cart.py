"""The cart over HTTP."""

import asyncio
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from contracts import redis_keys
from contracts.sales import SaleStanding
from kit.auth import Role
from kit.ids import new_id
from kit.shared_redis import SharedRedis
from oltp.cart.repository import Carts

from .conftest import Corner

ADD = "/api/cart/add"


def items(product_id: str) -> str:
    return f"/api/cart/items/{product_id}"


def held(document: dict[str, Any]) -> dict[str, int]:
    return {item["product_id"]: item["quantity"] for item in document["items"]}


async def test_starts_empty(corner: Corner, api: httpx.AsyncClient):
    answer = await api.get("/api/cart", headers=corner.customer())
    assert answer.status_code == 200
    assert answer.json() == {"items": [], "total_quantity": 0, "total": 0, "currency": "USD", "can_checkout": False}


async def test_adds_up(corner: Corner, api: httpx.AsyncClient):
    kettle, teapot, ada = corner.product("Kettle", price=1999), corner.product("Teapot", price=500), corner.customer()
    await api.post(ADD, json={"product_id": kettle, "quantity": 2}, headers=ada)
    await api.post(ADD, json={"product_id": teapot.upper()}, headers=ada)
    answer = await api.post(ADD, json={"product_id": kettle, "quantity": 1}, headers=ada)
    assert answer.status_code == 200
    document = answer.json()
    assert document["items"][0] == {
        "product_id": kettle,
        "sku": "K-1",
        "name": "Kettle",
        "category": "Kettles",
        "image_url": "/k.jpg",
        "quantity": 3,
        "unit_price": 1999,
        "currency": "USD",
        "line_total": 5997,
        "sale": None,
        "warning": None,
    }
    assert (document["total"], document["total_quantity"], document["can_checkout"]) == (6497, 4, True)
    assert (await api.get("/api/cart", headers=ada)).json() == document
    assert await corner.resources.redis.hgetall(redis_keys.cart(corner.users[0])) == {kettle: "3", teapot: "1"}


async def test_costs_what_things_cost_now(corner: Corner, api: httpx.AsyncClient):
    kettle, ada = corner.product(price=1999), corner.customer()
    await api.post(ADD, json={"product_id": kettle}, headers=ada)
    corner.change(kettle, unit_price=1499)
    assert (await api.get("/api/cart", headers=ada)).json()["total"] == 1499


@pytest.mark.parametrize(
    ("left", "code", "available", "can_checkout"),
    [
        (100, None, None, True),
        (5, "low_stock", 5, True),
        (2, "insufficient_stock", 2, False),
        (0, "out_of_stock", 0, False),
        ("garbage", None, None, True),
    ],
)
async def test_warns_of_short_stock(
    corner: Corner,
    api: httpx.AsyncClient,
    left: int | str,
    code: str | None,
    available: int | None,
    can_checkout: bool,
):
    kettle, ada = corner.product(), corner.customer()
    await corner.stock(kettle, left)
    document = (await api.post(ADD, json={"product_id": kettle, "quantity": 3}, headers=ada)).json()
    warning = document["items"][0]["warning"]
    assert (warning and warning["code"], warning and warning["available"]) == (code, available)
    assert document["can_checkout"] is can_checkout


async def test_what_is_taken_off_sale_stays_visible_and_can_only_go(corner: Corner, api: httpx.AsyncClient):
    kettle, teapot, ada = corner.product("Kettle"), corner.product("Teapot", price=500), corner.customer()
    for product_id in (kettle, teapot):
        await api.post(ADD, json={"product_id": product_id}, headers=ada)
    corner.change(kettle, active=False)
    document = (await api.get("/api/cart", headers=ada)).json()
    assert document["items"][0]["warning"] == {
        "code": "unavailable",
        "message": "No longer for sale.",
        "available": None,
    }
    assert (document["total"], document["can_checkout"]) == (500, False)
    for answer in (
        await api.post(ADD, json={"product_id": kettle}, headers=ada),
        await api.put(items(kettle), json={"quantity": 2}, headers=ada),
    ):
        assert (answer.status_code, answer.json()["type"]) == (409, "product-not-for-sale")
    removed = await api.delete(items(kettle), headers=ada)
    assert (held(removed.json()), removed.json()["can_checkout"]) == ({teapot: 1}, True)


async def test_an_unknown_product_is_404(corner: Corner, api: httpx.AsyncClient):
    answer = await api.post(ADD, json={"product_id": new_id()}, headers=corner.customer())
    assert (answer.status_code, answer.json()["type"]) == (404, "product-not-found")


async def test_a_product_that_vanished_is_taken_out(corner: Corner, api: httpx.AsyncClient):
    kettle, teapot, ada = corner.product("Kettle"), corner.product("Teapot"), corner.customer()
    for product_id in (kettle, teapot):
        await api.post(ADD, json={"product_id": product_id}, headers=ada)
    del corner.products.cards[kettle]
    assert held((await api.get("/api/cart", headers=ada)).json()) == {teapot: 1}
    assert await corner.resources.redis.hkeys(redis_keys.cart(corner.users[0])) == [teapot]


async def test_a_line_has_a_limit_that_parallel_additions_keep(corner: Corner, api: httpx.AsyncClient):
    kettle, ada = corner.product(), corner.customer()
    answers = await asyncio.gather(
        *(api.post(ADD, json={"product_id": kettle, "quantity": 10}, headers=ada) for _ in range(15))
    )
    assert sorted(a.status_code for a in answers) == [200] * 9 + [409] * 6
    refused = next(a.json() for a in answers if a.status_code == 409)
    assert (refused["type"], refused["limit"], refused["in_cart"]) == ("quantity-limit", 99, 90)
    assert held((await api.get("/api/cart", headers=ada)).json()) == {kettle: 90}
    assert (await api.put(items(kettle), json={"quantity": 100}, headers=ada)).json()["type"] == "quantity-limit"
    assert (await api.put(items(kettle), json={"quantity": 99}, headers=ada)).status_code == 200


async def test_a_cart_has_a_limit_that_parallel_additions_keep(corner: Corner, api: httpx.AsyncClient):
    corner.set(cart_max_lines=5)
    products, ada = [corner.product() for _ in range(12)], corner.customer()
    answers = await asyncio.gather(*(api.post(ADD, json={"product_id": p}, headers=ada) for p in products))
    assert sorted(a.status_code for a in answers) == [200] * 5 + [409] * 7
    refused = next(a.json() for a in answers if a.status_code == 409)
    assert (refused["type"], refused["limit"]) == ("cart-full", 5)
    [present, *_] = held((await api.get("/api/cart", headers=ada)).json())
    assert (await api.post(ADD, json={"product_id": present}, headers=ada)).status_code == 200


async def test_changes_a_quantity(corner: Corner, api: httpx.AsyncClient):
    kettle, other, ada = corner.product(), corner.product(), corner.customer()
    await api.post(ADD, json={"product_id": kettle, "quantity": 5}, headers=ada)
    answer = await api.put(items(kettle), json={"quantity": 2}, headers=ada)
    assert (answer.status_code, held(answer.json())) == (200, {kettle: 2})
    for product_id, type_ in ((other, "not-in-cart"), (new_id(), "product-not-found")):
        answer = await api.put(items(product_id), json={"quantity": 2}, headers=ada)
        assert (answer.status_code, answer.json()["type"]) == (404, type_)


async def test_removes_and_clears(corner: Corner, api: httpx.AsyncClient):
    kettle, teapot, ada = corner.product("Kettle"), corner.product("Teapot"), corner.customer()
    for product_id in (kettle, teapot):
        await api.post(ADD, json={"product_id": product_id}, headers=ada)
    for _ in range(2):
        answer = await api.delete(items(kettle), headers=ada)
        assert (answer.status_code, held(answer.json())) == (200, {teapot: 1})
    for _ in range(2):
        answer = await api.delete("/api/cart", headers=ada)
        assert (answer.status_code, answer.content) == (204, b"")
    assert (await api.get("/api/cart", headers=ada)).json()["items"] == []


async def test_carts_are_ones_own(corner: Corner, api: httpx.AsyncClient):
    kettle, ada, root = corner.product(), corner.customer(), corner.customer(Role.ADMIN)
    await api.post(ADD, json={"product_id": kettle}, headers=ada)
    assert (await api.get("/api/cart", headers=root)).json()["items"] == []
    await api.delete("/api/cart", headers=root)
    assert held((await api.get("/api/cart", headers=ada)).json()) == {kettle: 1}


async def test_nobody_without_a_token(corner: Corner, api: httpx.AsyncClient):
    kettle = corner.product()
    for method, path, body in [
        ("GET", "/api/cart", None),
        ("POST", ADD, {"product_id": kettle}),
        ("PUT", items(kettle), {"quantity": 1}),
        ("DELETE", items(kettle), None),
        ("DELETE", "/api/cart", None),
    ]:
        assert (await api.request(method, path, json=body)).status_code == 401, (method, path)


@pytest.mark.parametrize(
    "change",
    [
        {"quantity": 0},
        {"quantity": -1},
        {"quantity": 10_001},
        {"quantity": 10**30},
        {"quantity": 1.5},
        {"quantity": "many"},
        {"quantity": None},
        {"product_id": "1"},
        {"product_id": None},
        {"price": 1},
    ],
)
async def test_refuses_bad_input(corner: Corner, api: httpx.AsyncClient, change: dict[str, Any]):
    kettle, ada = corner.product(), corner.customer()
    body = {"product_id": kettle, "quantity": 1} | change
    assert (await api.post(ADD, json=body, headers=ada)).status_code == 422
    assert (await api.get("/api/cart", headers=ada)).json()["items"] == []


async def test_refuses_bad_paths(corner: Corner, api: httpx.AsyncClient):
    ada = corner.customer()
    assert (await api.put(items("1"), json={"quantity": 1}, headers=ada)).status_code == 422
    assert (await api.delete(items("1"), headers=ada)).status_code == 422


async def test_an_idle_cart_expires_and_a_look_keeps_it(corner: Corner, api: httpx.AsyncClient):
    corner.set(cart_idle_seconds=100)
    kettle, ada = corner.product(), corner.customer()
    redis, key = corner.resources.redis, redis_keys.cart(corner.users[0])
    for request in (
        ("POST", ADD, {"product_id": kettle}),
        ("GET", "/api/cart", None),
        ("PUT", items(kettle), {"quantity": 2}),
    ):
        await api.request(request[0], request[1], json=request[2], headers=ada)
        assert 95 <= await redis.ttl(key) <= 100
        await redis.expire(key, 10)


async def test_what_others_left_in_the_hash_does_no_harm(corner: Corner, api: httpx.AsyncClient):
    kettle, teapot, ada = corner.product("Kettle"), corner.product("Teapot"), corner.customer()
    await corner.resources.redis.hset(redis_keys.cart(corner.users[0]), mapping={kettle: "x", teapot: "-2"})
    assert (await api.get("/api/cart", headers=ada)).json()["items"] == []
    for product_id in (kettle, teapot):
        await api.post(ADD, json={"product_id": product_id, "quantity": 2}, headers=ada)
    assert held((await api.get("/api/cart", headers=ada)).json()) == {kettle: 2, teapot: 2}


async def test_answers_503_while_redis_or_the_catalog_is_away(corner: Corner, api: httpx.AsyncClient):
    kettle, ada = corner.product(), corner.customer()
    corner.products.away = True
    answer = await api.post(ADD, json={"product_id": kettle}, headers=ada)
    assert (answer.status_code, answer.json()["type"]) == (503, "unavailable")
    corner.products.away = False
    nobody = SharedRedis(corner.resources.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:1/0")}))
    corner.state["carts"] = Carts(nobody, corner.state["cart_settings"])
    answer = await api.get("/api/cart", headers=ada)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize(
    ("quantity", "standing", "code", "can_checkout"),
    [
        (1, SaleStanding(left=2, admits=True), None, True),
        (1, None, None, True),
        (2, SaleStanding(left=2, admits=True), "sale_limit", False),
        (1, SaleStanding(left=0, admits=True), "waiting_list", True),
        (1, SaleStanding(left=0, admits=False), "sold_out", False),
    ],
)
async def test_a_flash_sale_is_shown_at_its_price(
    corner: Corner,
    api: httpx.AsyncClient,
    quantity: int,
    standing: SaleStanding | None,
    code: str | None,
    can_checkout: bool,
):
    kettle, ada = corner.product(price=1999), corner.customer()
    sale = corner.sales.put(kettle, unit_price=500)
    if standing is not None:
        corner.sales.standings[sale.sale_id] = standing
    cart = (await api.post(ADD, json={"product_id": kettle, "quantity": quantity}, headers=ada)).json()
    [item] = cart["items"]
    assert item["unit_price"] == 500
    assert cart["total"] == 500 * quantity
    assert item["sale"] == {
        "sale_id": sale.sale_id,
        "unit_price": 500,
        "regular_unit_price": 1999,
        "ends_at": sale.ends_at.isoformat().replace("+00:00", "Z"),
        "units_per_customer": 1,
        "units_left": standing.left if standing is not None else None,
    }
    assert (item["warning"] and item["warning"]["code"]) == code
    assert cart["can_checkout"] is can_checkout


async def test_products_of_two_flash_sales_are_bought_one_by_one(corner: Corner, api: httpx.AsyncClient):
    ada = corner.customer()
    for name in ("Kettle", "Teapot"):
        product_id = corner.product(name)
        corner.sales.put(product_id)
        cart = (await api.post(ADD, json={"product_id": product_id}, headers=ada)).json()
    assert [item["warning"]["code"] for item in cart["items"]] == ["one_sale", "one_sale"]
    assert cart["can_checkout"] is False


async def test_what_becomes_of_a_cart_is_noted(corner: Corner, api: httpx.AsyncClient):
    kettle, teapot, ada = corner.product("Kettle", price=1999), corner.product("Teapot", price=500), corner.customer()
    await api.post(ADD, json={"product_id": kettle, "quantity": 2}, headers=ada)
    await api.put(items(kettle), json={"quantity": 5}, headers=ada)
    await api.put(items(kettle), json={"quantity": 5}, headers=ada)
    await api.put(items(kettle), json={"quantity": 1}, headers=ada)
    await api.post(ADD, json={"product_id": new_id()}, headers=ada)
    await api.post(ADD, json={"product_id": teapot, "quantity": 3}, headers=ada)
    await api.delete(items(kettle), headers=ada)
    await api.delete(items(kettle), headers=ada)
    await api.delete("/api/cart", headers=ada)
    noted = [(str(kind), what["product_id"], what["quantity"], what["results"]) for kind, what in corner.visits.take()]
    assert noted == [
        ("cart_add", kettle, 2, 1),
        ("cart_add", kettle, 3, 1),
        ("cart_remove", kettle, 4, 1),
        ("cart_add", teapot, 3, 2),
        ("cart_remove", kettle, 1, 1),
        ("cart_remove", teapot, 3, 0),
    ]


async def test_what_is_not_plainly_right_gets_the_same_answer_the_usual_way(corner: Corner, api: httpx.AsyncClient):
    kettle, ada = corner.product(), corner.customer()
    corner.sales.put(kettle)
    spelt = {"Authorization": ada["Authorization"].replace("Bearer", "bearer")}
    added = await api.post(ADD, json={"product_id": kettle}, headers=ada)
    shown, shown_too = await api.get("/api/cart", headers=ada), await api.get("/api/cart", headers=spelt)
    assert added.content == shown.content == shown_too.content
    assert shown.headers["content-type"] == shown_too.headers["content-type"]
    kinds = ("application/json", "application/json; charset=utf-8")
    for body in (b"", b"{", b"{}", b'{"product_id": "x"}', b'{"product_id": "%s", "more": 1}' % kettle.encode()):
        answers = [await api.post(ADD, content=body, headers={**ada, "Content-Type": kind}) for kind in kinds]
        first, second = ({**answer.json(), "trace_id": ""} for answer in answers)
        assert (answers[0].status_code, first) == (422, second)
    assert (await api.get("/api/cart")).status_code == 401
    assert (await api.get("/api/cart?page=1", headers=ada)).content == shown.content

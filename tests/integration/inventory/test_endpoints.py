import asyncio
import datetime as dt
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from starlette.types import Receive, Scope, Send

from contracts.products import ProductCard
from kit.app import create_app
from kit.auth import Principal, Role, issue_access_token
from kit.ids import new_id
from kit.resources import Resources
from kit.settings import Settings
from oltp.inventory.domain import Level
from oltp.inventory.endpoints import router
from tests.integration.inventory.conftest import BERLIN, DALLAS, Floor

ADMIN = new_id()


class Catalog:
    """Knows the products that it is told of."""

    def __init__(self) -> None:
        self.cards: dict[str, ProductCard] = {}

    def add(self, product_id: str) -> None:
        self.cards[product_id] = ProductCard(
            product_id=product_id,
            sku=f"SKU-{product_id[-4:]}",
            name="Kettle",
            category="Kitchen",
            unit_price=100,
            currency="USD",
            active=True,
        )

    async def get_many(self, product_ids: Iterable[str]) -> dict[str, ProductCard]:
        return {p: self.cards[p] for p in product_ids if p in self.cards}


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture
async def api(settings: Settings, catalog: Catalog) -> AsyncIterator[httpx.AsyncClient]:
    """The routes, signed in as an admin."""

    @asynccontextmanager
    async def lifespan(_: Resources) -> AsyncIterator[dict[str, Any]]:
        yield {"products": catalog}

    app = create_app(settings, title="Inventory", routers=[router], lifespan=lifespan)
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state)}, receive, send)

        token = issue_access_token(settings, Principal(ADMIN, Role.ADMIN), dt.datetime.now(dt.UTC))
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(with_state),
            base_url="http://inventory",
            headers={"Authorization": f"Bearer {token}"},
        ) as client:
            yield client


def key(value: str = "") -> dict[str, str]:
    return {"Idempotency-Key": value or new_id()}


async def test_restock_and_adjustment_are_in_the_ledger(api: httpx.AsyncClient, floor: Floor) -> None:
    product = await floor.product(berlin=5)
    path = f"/api/admin/inventory/{product}"
    body = {"warehouse_id": DALLAS, "quantity": 20, "reason": "Weekly delivery"}
    restocked = await api.post(f"{path}/restock", json=body, headers=key())
    assert restocked.status_code == 200, restocked.text
    assert (restocked.json()["delta"], restocked.json()["balance"]) == (20, 20)
    body = {"warehouse_id": BERLIN, "delta": -2, "reason": "Damaged"}
    assert (await api.post(f"{path}/adjust", json=body, headers=key())).json()["balance"] == 3
    shown = (await api.get(path)).json()
    assert (shown["quantity"], shown["reserved"], shown["available"], shown["low"]) == (23, 0, 23, False)
    assert [(entry["kind"], entry["delta"], entry["actor_id"]) for entry in shown["ledger"]][:2] == [
        ("adjustment", -2, ADMIN),
        ("restock", 20, ADMIN),
    ]
    await floor.audit()


async def test_a_json_integer_may_be_written_with_a_point(api: httpx.AsyncClient, floor: Floor) -> None:
    product = await floor.product(berlin=5)
    for delta, status in ((2.0, 200), (2.5, 422), (True, 422)):
        body = {"warehouse_id": BERLIN, "delta": delta, "reason": "R"}
        answer = await api.post(f"/api/admin/inventory/{product}/adjust", json=body, headers=key())
        assert answer.status_code == status, answer.text
    assert await floor.level(product) == Level(7)


async def test_a_double_click_changes_stock_once(api: httpx.AsyncClient, floor: Floor) -> None:
    product = await floor.product(berlin=5)
    path, body = f"/api/admin/inventory/{product}/restock", {"warehouse_id": BERLIN, "quantity": 3, "reason": "R"}
    same = key()
    answers = await asyncio.gather(*[api.post(path, json=body, headers=same) for _ in range(10)])
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert await floor.level(product) == Level(8)
    other = await api.post(path, json={**body, "quantity": 4}, headers=same)
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-key-reused")
    await floor.audit()


async def test_one_key_for_two_products_at_once_changes_one(api: httpx.AsyncClient, floor: Floor) -> None:
    products = [await floor.product(berlin=5) for _ in range(6)]
    body, same = {"warehouse_id": BERLIN, "quantity": 3, "reason": "R"}, key()
    answers = await asyncio.gather(
        *[api.post(f"/api/admin/inventory/{p}/restock", json=body, headers=same) for p in products]
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 5
    assert sorted([(await floor.level(p)).quantity for p in products]) == [5] * 5 + [8]
    await floor.audit()


async def test_what_orders_hold_cannot_be_taken_away(api: httpx.AsyncClient, floor: Floor) -> None:
    product = await floor.product(berlin=5)
    await floor.told(floor.reserve().of({product: 4}))
    path = f"/api/admin/inventory/{product}/adjust"
    refused = await api.post(path, json={"warehouse_id": BERLIN, "delta": -2, "reason": "R"}, headers=key())
    assert (refused.status_code, refused.json()["type"]) == (409, "below-reserved")
    assert (refused.json()["quantity"], refused.json()["reserved"]) == (5, 4)
    allowed = await api.post(path, json={"warehouse_id": BERLIN, "delta": -1, "reason": "R"}, headers=key())
    assert allowed.status_code == 200
    await floor.audit_books()


async def test_what_does_not_fit_a_column_is_refused(api: httpx.AsyncClient, floor: Floor) -> None:
    product = await floor.product(berlin=2**31 - 1)
    path = f"/api/admin/inventory/{product}/restock"
    refused = await api.post(path, json={"warehouse_id": BERLIN, "quantity": 1, "reason": "R"}, headers=key())
    assert (refused.status_code, refused.json()["type"]) == (409, "too-much-stock")
    assert (await api.get(f"/api/admin/inventory/{product}")).json()["available"] == 2**31 - 1


async def test_a_product_of_the_catalog_can_be_restocked_before_it_is_listed(
    api: httpx.AsyncClient, floor: Floor, catalog: Catalog
) -> None:
    product = new_id()
    path, body = f"/api/admin/inventory/{product}", {"warehouse_id": BERLIN, "quantity": 3, "reason": "R"}
    assert (await api.get(path)).json()["type"] == "unknown-product"
    unknown = await api.post(f"{path}/restock", json=body, headers=key())
    assert (unknown.status_code, unknown.json()["type"]) == (404, "unknown-product")
    catalog.add(product)
    floor.products.append(product)
    assert (await api.get(path)).json()["levels"] == []
    assert (await api.post(f"{path}/restock", json=body, headers=key())).status_code == 200
    shown = (await api.get(path)).json()
    assert (shown["name"], shown["quantity"], shown["low"]) == ("Kettle", 3, True)
    nowhere = await api.post(f"{path}/restock", json={**body, "warehouse_id": new_id()}, headers=key())
    assert (nowhere.status_code, nowhere.json()["type"]) == (404, "unknown-warehouse")
    await floor.audit()


async def test_a_product_can_be_restocked_where_it_was_not_listed(api: httpx.AsyncClient, floor: Floor) -> None:
    product = await floor.product(berlin=5, dallas=0)
    async with floor.database.write() as session:
        await session.execute(
            text("DELETE FROM inventory.inventory WHERE product_id = :p AND warehouse_id = :w"),
            {"p": product, "w": DALLAS},
        )
    body = {"warehouse_id": DALLAS, "quantity": 3, "reason": "R"}
    answer = await api.post(f"/api/admin/inventory/{product}/restock", json=body, headers=key())
    assert answer.status_code == 200, answer.text
    assert (await floor.level(product), await floor.level(product, DALLAS)) == (Level(5), Level(3))
    await floor.audit()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("adjust", {"warehouse_id": BERLIN, "delta": 0, "reason": "R"}),
        ("adjust", {"warehouse_id": BERLIN, "delta": 10**9, "reason": "R"}),
        ("adjust", {"warehouse_id": BERLIN, "delta": "3", "reason": "R"}),
        ("adjust", {"warehouse_id": BERLIN, "delta": 3, "reason": ""}),
        ("adjust", {"warehouse_id": BERLIN, "delta": 3, "reason": "a\x00b"}),
        ("adjust", {"warehouse_id": BERLIN, "delta": 3, "reason": "\ud800"}),
        ("adjust", {"warehouse_id": BERLIN, "delta": 3, "reason": "R", "extra": 1}),
        ("restock", {"warehouse_id": BERLIN, "quantity": 0, "reason": "R"}),
        ("restock", {"warehouse_id": "no", "quantity": 1, "reason": "R"}),
    ],
)
async def test_bad_changes_are_refused(api: httpx.AsyncClient, floor: Floor, path: str, body: dict[str, Any]) -> None:
    product = await floor.product(berlin=5)
    headers = {**key(), "Content-Type": "application/json"}
    answer = await api.post(
        f"/api/admin/inventory/{product}/{path}", content=json.dumps(body).encode(), headers=headers
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "validation-error")
    missing = await api.post(
        f"/api/admin/inventory/{product}/restock", json={"warehouse_id": BERLIN, "quantity": 1, "reason": "R"}
    )
    assert missing.status_code == 422
    assert await floor.level(product) == Level(5)


async def test_the_list_pages_and_filters(api: httpx.AsyncClient, floor: Floor) -> None:
    products = [await floor.product(berlin=units, dallas=50) for units in (1, 20, 3)]
    listed: list[str] = []
    params: dict[str, Any] = {"warehouse_id": BERLIN, "limit": 2}
    while True:
        page = (await api.get("/api/admin/inventory", params=params)).json()
        listed += [row["product_id"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert listed == sorted(set(listed))
    assert [product_id for product_id in listed if product_id in products] == sorted(products)
    low = (await api.get("/api/admin/inventory", params={"low_stock": True, "warehouse_id": BERLIN})).json()
    assert {row["product_id"] for row in low["items"]} & set(products) == {products[0], products[2]}
    one = (await api.get("/api/admin/inventory", params={"product_id": products[1]})).json()["items"]
    assert [(row["quantity"], row["warehouses"], row["name"]) for row in one] == [(70, 2, None)]
    for bad in ("x", "WyJ4Il0", "W10"):
        assert (await api.get("/api/admin/inventory", params={"cursor": bad})).status_code == 422


async def test_warehouses_are_public_and_the_rest_is_for_admins(
    api: httpx.AsyncClient, floor: Floor, settings: Settings
) -> None:
    listed = await api.get("/api/warehouses", headers={"Authorization": ""})
    assert {BERLIN, DALLAS} <= {row["id"] for row in listed.json()}
    customer = issue_access_token(settings, Principal(new_id(), Role.CUSTOMER), dt.datetime.now(dt.UTC))
    for method, path in (
        ("GET", "/api/admin/inventory"),
        ("GET", f"/api/admin/inventory/{new_id()}"),
        ("POST", f"/api/admin/inventory/{new_id()}/adjust"),
        ("POST", f"/api/admin/inventory/{new_id()}/restock"),
        ("POST", "/api/admin/inventory/rebuild"),
    ):
        assert (await api.request(method, path, headers={"Authorization": ""})).status_code == 401
        forbidden = await api.request(method, path, headers={"Authorization": f"Bearer {customer}"})
        assert forbidden.status_code == 403


async def test_redis_can_be_rebuilt_on_request(api: httpx.AsyncClient, floor: Floor) -> None:
    await floor.product(berlin=5)
    answer = (await api.post("/api/admin/inventory/rebuild")).json()
    assert answer["products"] == answer["equal"] + answer["filled"] + answer["corrected"] + answer["busy"] >= 1

"""Opening, showing and ending flash sales."""

import asyncio
import datetime as dt
from typing import Any

import httpx
import pytest

from contracts import redis_keys
from contracts.sales import SaleFigures
from kit.ids import new_id
from oltp.sales.gate import Claim, SaleGate, Standing
from tests.integration.sales.conftest import Desk


def _now(**ahead: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(**ahead)).isoformat()


async def test_a_sale_is_opened_and_every_process_knows_of_it(desk: Desk) -> None:
    product_id = desk.back.put()
    answer = await desk.open(product_id, units_per_customer=2)
    assert answer.status_code == 201, answer.text
    sale = answer.json()
    assert sale["state"] == "running"
    assert (sale["units"], sale["units_per_customer"], sale["waiting_places"]) == (10, 2, 10)
    assert answer.headers["location"] == f"/api/admin/sales/{sale['id']}"
    other = desk.board_of_another_process()
    await other.refresh()
    for board in (desk.board, other):
        running = board.running(product_id, dt.datetime.now(dt.UTC))
        assert running is not None
        assert (running.sale_id, running.unit_price, running.currency) == (sale["id"], 1500, "USD")
    assert (await desk.http.get(answer.headers["location"])).json() == sale


async def test_the_window_is_kept_to_the_moment(desk: Desk) -> None:
    product_id = desk.back.put()
    sale = (await desk.open(product_id, starts_at=_now(minutes=1), ends_at=_now(minutes=2))).json()
    assert sale["state"] == "upcoming"
    starts, ends = (dt.datetime.fromisoformat(sale[name]) for name in ("starts_at", "ends_at"))
    instant = dt.timedelta(microseconds=1)
    assert desk.board.running(product_id, starts - instant) is None
    assert desk.board.running(product_id, starts) is not None
    assert desk.board.running(product_id, ends - instant) is not None
    assert desk.board.running(product_id, ends) is None


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("units", {"units": 101}),
        ("units_per_customer", {"units_per_customer": 11}),
        ("unit_price", {"unit_price": 2000}),
        ("starts_at", {"starts_at": _now(minutes=-5)}),
        ("ends_at", {"ends_at": _now(minutes=-1)}),
        ("ends_at", {"ends_at": _now(days=40)}),
        ("ends_at", {"ends_at": "9999-12-31T23:59:59-05:00"}),
        ("starts_at", {"starts_at": 1764266400}),
        ("starts_at", {"starts_at": "2026-11-27T18:00:00"}),
    ],
)
async def test_what_can_not_be_is_named_by_its_field(desk: Desk, field: str, fields: dict[str, Any]) -> None:
    answer = await desk.open(desk.back.put(units=100, unit_price=2000), **fields)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [f"body.{field}"]


async def test_a_product_that_is_not_for_sale_can_not_be_in_a_sale(desk: Desk) -> None:
    for product_id in (desk.back.put(active=False), new_id()):
        answer = await desk.open(product_id)
        assert [error["field"] for error in answer.json()["errors"]] == ["body.product_id"]


@pytest.mark.parametrize(
    ("starts", "ends", "status"), [(0, 60, 409), (30, 90, 409), (-0.5, 300, 409), (10, 20, 409), (60, 90, 201)]
)
async def test_sales_of_a_product_do_not_overlap(desk: Desk, starts: float, ends: float, status: int) -> None:
    product_id, now = desk.back.put(), dt.datetime.now(dt.UTC)

    def window(begin: float, end: float) -> dict[str, str]:
        moments = {"starts_at": begin, "ends_at": end}
        return {name: (now + dt.timedelta(minutes=minutes)).isoformat() for name, minutes in moments.items()}

    first = (await desk.open(product_id, **window(0, 60))).json()
    answer = await desk.open(product_id, **window(starts, ends))
    assert answer.status_code == status, answer.text
    if status == 409:
        assert answer.json()["sale_id"] == first["id"]
        assert {error["field"] for error in answer.json()["errors"]} == {"body.starts_at", "body.ends_at"}
    assert (await desk.open(desk.back.put(), **window(starts, ends))).status_code == 201


async def test_of_sales_that_are_opened_at_once_one_is(desk: Desk) -> None:
    product_id = desk.back.put()
    answers = await asyncio.gather(*(desk.open(product_id) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_a_sale_is_ended_before_its_time_and_makes_room(desk: Desk) -> None:
    product_id = desk.back.put()
    sale = (await desk.open(product_id)).json()
    ended = await desk.http.post(f"/api/admin/sales/{sale['id']}/end")
    assert ended.status_code == 200, ended.text
    assert ended.json()["state"] == "over"
    assert ended.json()["planned_ends_at"] == sale["ends_at"] > ended.json()["ends_at"]
    assert ended.json()["ended_by"] is not None
    assert desk.board.running(product_id, dt.datetime.now(dt.UTC)) is None
    again = await desk.http.post(f"/api/admin/sales/{sale['id']}/end")
    assert again.json() == ended.json()
    assert (await desk.open(product_id, starts_at=_now(seconds=1))).status_code == 201


async def test_a_sale_that_has_not_begun_can_be_ended(desk: Desk) -> None:
    product_id = desk.back.put()
    sale = (await desk.open(product_id, starts_at=_now(minutes=10))).json()
    ended = (await desk.http.post(f"/api/admin/sales/{sale['id']}/end")).json()
    assert ended["ends_at"] == ended["starts_at"]
    assert (await desk.open(product_id, starts_at=_now(minutes=10))).status_code == 201


async def test_sales_are_listed_with_what_became_of_their_units(desk: Desk) -> None:
    product_id, opened = desk.back.put(), []
    for minutes in range(0, 150, 50):
        answer = await desk.open(product_id, starts_at=_now(minutes=minutes), ends_at=_now(minutes=minutes + 40))
        opened.append(answer.json()["id"])
    desk.back.taken[opened[1]] = SaleFigures(sold=3, held=2, waiting=1)
    found: list[dict[str, Any]] = []
    query: dict[str, Any] = {"product_id": product_id, "limit": 2}
    while True:
        page: httpx.Response = await desk.http.get("/api/admin/sales", params=query)
        found += page.json()["items"]
        if page.json()["next_cursor"] is None:
            break
        query["cursor"] = page.json()["next_cursor"]
    assert [sale["id"] for sale in found] == opened[::-1]
    assert [(sale["sold"], sale["held"], sale["waiting"]) for sale in found] == [(0, 0, 0), (3, 2, 1), (0, 0, 0)]
    running = await desk.http.get("/api/admin/sales", params={"product_id": product_id, "state": "running"})
    assert [sale["id"] for sale in running.json()["items"]] == opened[:1]


async def test_a_sale_that_does_not_exist(desk: Desk) -> None:
    for answer in (
        await desk.http.get(f"/api/admin/sales/{new_id()}"),
        await desk.http.post(f"/api/admin/sales/{new_id()}/end"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (404, "sale-not-found")
    answer = await desk.http.get("/api/admin/sales", params={"cursor": "x"})
    assert answer.status_code == 422


async def test_the_gate_counts_each_order_once_however_often_it_is_told(desk: Desk) -> None:
    sale_id, redis = new_id(), desk.resources.redis
    gate, ends_at = SaleGate(redis), dt.datetime.now(dt.UTC) + dt.timedelta(minutes=1)
    since = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
    ada, bob = new_id(), new_id()
    claims = [
        Claim("one", ada, 2, Standing.CLAIMED, since),
        Claim("two", ada, 1, Standing.SOLD, since),
        Claim("three", bob, 1, Standing.CLAIMED, since),
    ]

    async def counted() -> tuple[dict[str, str], dict[str, str]]:
        return await redis.hgetall(redis_keys.sale(sale_id)), await redis.hgetall(redis_keys.sale_customers(sale_id))

    for _ in range(2):
        await gate.restore(sale_id, ends_at, claims)
        assert await gate.claims(sale_id) == {claim.order_id: claim for claim in claims}
        assert await counted() == ({"claimed": "4", "sold": "1"}, {ada: "3", bob: "1"})
    for _ in range(2):
        await gate.settle([(sale_id, "one", Standing.SOLD), (sale_id, "three", Standing.GONE)])
        assert await counted() == ({"claimed": "3", "sold": "3"}, {ada: "3"})
    for _ in range(2):
        await gate.settle([(sale_id, "two", Standing.GONE), (sale_id, "unknown", Standing.SOLD)])
        assert await counted() == ({"claimed": "2", "sold": "2"}, {ada: "2"})
    await redis.delete(redis_keys.sale(sale_id), redis_keys.sale_claims(sale_id), redis_keys.sale_customers(sale_id))

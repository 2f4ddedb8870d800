"""A small flash sale in the running shop: who comes first and pays gets a unit, and everybody gets one answer."""

import asyncio
import datetime as dt
import random
from collections import Counter
from typing import Any, Final

import httpx
import orjson
from sqlalchemy import text
from websockets.asyncio.client import connect

from audit.report import Verdict
from audit.run import run as audit
from contracts.orders import OrderStatus
from kit.db import Database
from kit.ids import new_id
from tests.shop import DECLINED, WALLET, Account, Shop, eventually

UNITS: Final = 10
CUSTOMERS: Final = 200
NORMAL, REDUCED = 1999, 999
SETTLED: Final = {*OrderStatus} - {OrderStatus.PENDING, OrderStatus.AWAITING_PAYMENT}


async def open_sale(admin: Account, product_id: str, **terms: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC)
    window = {"starts_at": now.isoformat(), "ends_at": (now + dt.timedelta(minutes=30)).isoformat()}
    body = {"product_id": product_id, "unit_price": REDUCED, **window, **terms}
    answer = await admin.post("/api/admin/sales", json=body)
    assert answer.status_code == 201, answer.text
    sale: dict[str, Any] = answer.json()
    return sale


async def shown_in_the_shop(shop: Shop, product_id: str) -> None:
    async def with_its_price() -> None:
        product = (await shop.http.get(f"/api/products/{product_id}")).json()
        assert product["sale"] is not None
        assert (product["unit_price"], product["sale"]["unit_price"]) == (NORMAL, REDUCED)

    await eventually(with_its_price)


async def test_who_comes_first_and_pays_gets_a_unit(shop: Shop, admin: Account, database: Database) -> None:
    product_id = await shop.new_product(units=50, unit_price=NORMAL)
    sale = await open_sale(admin, product_id, units=UNITS, waiting_places=CUSTOMERS)
    await shown_in_the_shop(shop, product_id)
    rng = random.Random(4)
    customers = [shop.issue(user_id=new_id()) for _ in range(CUSTOMERS)]
    pays = {customer.user_id: rng.random() < 0.6 for customer in customers}
    for customer in customers:
        await customer.fill_cart({product_id: 1})

    async def buys(customer: Account) -> httpx.Response:
        return await customer.checkout(payment_method=WALLET if pays[customer.user_id] else DECLINED)

    answers = await asyncio.gather(*(buys(customer) for customer in customers))
    accepted = [answer.json() for answer in answers if answer.status_code == 202]
    turned_away = Counter(answer.json()["type"] for answer in answers if answer.status_code == 409)
    assert turned_away == Counter({"sold-out": CUSTOMERS - len(accepted)}), "none but those who came when all were paid"
    assert {order["total_amount"] for order in accepted} == {REDUCED}

    async def all_settled() -> list[tuple[str, bool, str | None]]:
        async with database.read() as session:
            rows = await session.execute(
                text(
                    "SELECT status, user_id::text, cancel_reason FROM orders.orders WHERE sale ->> 'sale_id' = :sale "
                    "ORDER BY log_partition, log_offset"
                ),
                {"sale": sale["id"]},
            )
            found = rows.all()
        assert len(found) == len(accepted)
        assert {status for status, _, _ in found} <= SETTLED
        return [(status, pays[user_id], reason) for status, user_id, reason in found]

    story = await eventually(all_settled, within=90, interval=0.5)
    payers = [place for place, (_, pays_for_it, _) in enumerate(story) if pays_for_it]
    last = payers[UNITS - 1]
    for place, (status, pays_for_it, reason) in enumerate(story):
        if place > last:
            assert (status, reason) == (OrderStatus.CANCELLED, "sold_out"), place
        elif pays_for_it:
            assert reason is None, place
        else:
            assert (status, reason) == (OrderStatus.CANCELLED, "payment_failed"), place

    async def sold() -> None:
        shown = (await admin.get(f"/api/admin/sales/{sale['id']}")).json()
        assert (shown["sold"], shown["held"], shown["waiting"]) == (UNITS, 0, 0)
        product = (await shop.http.get(f"/api/products/{product_id}")).json()
        assert (product["sale"]["sold_out"], product["availability"]) == (True, "out_of_stock")

    await eventually(sold)
    winner, loser = customers[[c.user_id for c in customers].index(await _winner(database, sale["id"]))], shop.issue()
    for customer, problem in ((winner, "already-bought"), (loser, "sold-out")):
        await customer.fill_cart({product_id: 1})
        refused = await customer.checkout()
        assert (refused.status_code, refused.json()["type"]) == (409, problem)
    report = await audit(wait=30, rest=False)
    verdicts = {finding.key: finding.verdict for finding in report.findings if finding.key.startswith("sales.")}
    assert verdicts == dict.fromkeys(verdicts, Verdict.HOLDS)
    assert len(verdicts) == 5
    await admin.post(f"/api/admin/sales/{sale['id']}/end")


async def _winner(database: Database, sale_id: str) -> str:
    async with database.read() as session:
        statement = "SELECT user_id::text FROM orders.orders WHERE sale ->> 'sale_id' = :sale AND status <> 'cancelled'"
        return str((await session.execute(text(f"{statement} LIMIT 1"), {"sale": sale_id})).scalar_one())


async def test_who_waits_sees_the_position_fall_and_is_told_at_the_end(shop: Shop, admin: Account) -> None:
    product_id = await shop.new_product(units=5, unit_price=NORMAL)
    sale = await open_sale(admin, product_id, units=1, waiting_places=4)
    await shown_in_the_shop(shop, product_id)
    customers = [shop.issue(user_id=new_id()) for _ in range(4)]
    holder, *waiting = customers
    orders = {}
    for customer in customers:
        # a payment that the provider never answers keeps the unit held
        method = {"type": "wallet", "token": "tok_unavailable"}
        orders[customer.user_id] = await customer.buy({product_id: 1}, payment_method=method)
        await eventually(lambda: _counted(admin, sale, len(orders)))
    last, frames = waiting[-1], list[dict[str, Any]]()
    url = shop.base_url.replace("http", "ws") + f"/ws/orders/{orders[last.user_id]}"
    async with connect(url, additional_headers=last.headers) as socket:

        async def heard() -> None:
            async for message in socket:
                frames.append(orjson.loads(message))

        listening = asyncio.create_task(heard())

        async def position(wanted: int) -> None:
            told = [frame["queue_position"] for frame in frames if frame.get("queue_position") is not None]
            assert told[-1:] == [wanted], told

        await eventually(lambda: position(3))
        for customer, left in ((waiting[0], 2), (waiting[1], 1)):
            answer = await customer.put(f"/api/orders/{orders[customer.user_id]}/cancel")
            assert answer.is_success, answer.text
            await eventually(lambda left=left: position(left))
        assert (await last.order(orders[last.user_id]))["queue_position"] == 1
        ended = await admin.post(f"/api/admin/sales/{sale['id']}/end")
        assert ended.status_code == 200, ended.text

        async def told_the_end() -> None:
            assert [frame["reason"] for frame in frames if frame["type"] == "order.cancelled"] == ["sold_out"]

        await eventually(told_the_end, within=20)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    positions = [frame["queue_position"] for frame in frames if frame["type"] == "queue"]
    assert positions == sorted(positions, reverse=True)
    assert (await holder.order(orders[holder.user_id]))["status"] == OrderStatus.AWAITING_PAYMENT
    await holder.put(f"/api/orders/{orders[holder.user_id]}/cancel")


async def _counted(admin: Account, sale: dict[str, Any], orders: int) -> None:
    shown = (await admin.get(f"/api/admin/sales/{sale['id']}")).json()
    assert shown["held"] + shown["waiting"] == orders, shown

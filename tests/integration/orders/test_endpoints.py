"""The order API on real servers."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from aiokafka.errors import KafkaConnectionError
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from contracts import commands, events, redis_keys
from contracts.envelope import Envelope, registry
from contracts.orders import OrderStatus
from kit.auth import Role
from kit.ids import new_id
from oltp.orders.service import Cancellation
from tests.integration.orders.conftest import WHOLE_LIFE, Api, Customer, accept

S = OrderStatus


async def read(api: Api, order_id: str, customer: Customer) -> dict[str, Any]:
    answer = await api.http.get(f"/api/orders/{order_id}", headers=customer.headers())
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


class TestReading:
    async def test_an_order_with_its_story(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place(names=["Earl Grey", "Mug"], total=2500)
        await customer.move(order_id, *WHOLE_LIFE)

        order = await read(api, order_id, customer)

        assert order["status"] == "delivered"
        assert [(item["name"], item["unit_price"]) for item in order["items"]] == [("Earl Grey", 1250), ("Mug", 1250)]
        assert (order["total_amount"], order["currency"]) == (2500, "USD")
        assert order["payment"] == {"method": "card", "status": "captured"}
        assert [step["status"] for step in order["timeline"]] == ["pending", *WHOLE_LIFE]
        assert order["queue_position"] is None
        assert order["shipping_address"]["city"] == "London"

    async def test_a_cancelled_order_says_why(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        await customer.move(order_id, S.CANCELLED)

        order = await read(api, order_id, customer)

        assert (order["status"], order["cancel_reason"]) == ("cancelled", "out_of_stock")
        assert order["timeline"][-1]["reason"] == "out_of_stock"
        assert order["payment"]["status"] == "not_requested"

    async def test_an_accepted_order_shows_its_place_in_the_queue(
        self, api: Api, customer: Customer, redis: Redis
    ) -> None:
        envelope = customer.created()
        await accept(redis, envelope, offset=42)

        waiting = await read(api, envelope.subject, customer)
        await customer.deliver(envelope)
        written = await read(api, envelope.subject, customer)

        assert (waiting["status"], waiting["queue_position"]) == ("pending", 42)
        assert (written["status"], written["queue_position"]) == ("pending", 0)
        same = set(waiting) - {"queue_position"}
        assert {name: waiting[name] for name in same} == {name: written[name] for name in same}

    @pytest.mark.parametrize("written", [True, False])
    async def test_somebody_elses_order_is_none(
        self, api: Api, customer: Customer, other: Customer, redis: Redis, written: bool
    ) -> None:
        envelope = customer.created()
        await (customer.deliver(envelope) if written else accept(redis, envelope))
        path = f"/api/orders/{envelope.subject}"

        strange = await api.http.get(path, headers=other.headers())
        as_admin = await api.http.get(path, headers=other.headers(Role.ADMIN))

        assert strange.status_code == 404
        assert strange.json()["type"] == "order-not-found"
        assert as_admin.status_code == 200

    async def test_a_fresh_order_that_redis_forgot_is_not_denied(self, api: Api, customer: Customer) -> None:
        answer = await api.http.get(f"/api/orders/{new_id()}", headers=customer.headers())

        assert answer.status_code == 503
        assert answer.headers["retry-after"]

    async def test_what_is_no_order(self, api: Api, customer: Customer) -> None:
        missing = await api.http.get(f"/api/orders/{uuid.uuid4()}", headers=customer.headers())
        malformed = await api.http.get("/api/orders/17", headers=customer.headers())
        anonymous = await api.http.get(f"/api/orders/{uuid.uuid4()}")

        assert [answer.status_code for answer in (missing, malformed, anonymous)] == [404, 422, 401]


class TestCancelling:
    def saga(self, api: Api, customer: Customer, *after: S) -> None:
        """The saga takes the command, and then the participants' answers."""

        async def take(envelope: Envelope) -> None:
            await asyncio.sleep(0.02)
            await customer.deliver(envelope)
            if after:
                await customer.move(envelope.subject, *after)

        api.producer.taker = take

    async def cancel(self, api: Api, order_id: str, customer: Customer) -> httpx.Response:
        return await api.http.put(f"/api/orders/{order_id}/cancel", headers=customer.headers())

    async def test_a_pending_order(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        self.saga(api, customer)

        answer = await self.cancel(api, order_id, customer)

        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["cancel_reason"]) == ("cancelled", "customer_request")

    async def test_twice_is_once(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        self.saga(api, customer)

        answers = await asyncio.gather(*(self.cancel(api, order_id, customer) for _ in range(5)))
        again = await self.cancel(api, order_id, customer)

        assert {answer.status_code for answer in (*answers, again)} == {200}
        assert len({command.id for command in api.producer.sent}) == 1
        assert [step.status for step in (await customer.order(order_id)).timeline] == ["pending", "cancelled"]

    async def test_an_order_that_only_the_log_knows(self, api: Api, customer: Customer, redis: Redis) -> None:
        envelope = customer.created()
        await accept(redis, envelope)

        async def take(command: Envelope) -> None:
            await customer.deliver(command)
            await customer.deliver(envelope)

        api.producer.taker = take

        answer = await self.cancel(api, envelope.subject, customer)

        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")

    @pytest.mark.parametrize("statuses", [WHOLE_LIFE[:4], WHOLE_LIFE])
    async def test_too_late(self, api: Api, customer: Customer, statuses: tuple[S, ...]) -> None:
        order_id = await customer.place()
        await customer.move(order_id, *statuses)

        answer = await self.cancel(api, order_id, customer)

        assert answer.status_code == 409
        assert answer.json()["type"] == "not-cancellable"
        assert answer.json()["order_status"] == statuses[-1]
        assert api.producer.sent == []

    async def test_shipping_was_faster(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        await customer.move(order_id, *WHOLE_LIFE[:3])
        self.saga(api, customer, S.SHIPPED)

        answer = await self.cancel(api, order_id, customer)

        assert (answer.status_code, answer.json()["order_status"]) == (409, "shipped")

    async def test_shipping_refused(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        await customer.move(order_id, *WHOLE_LIFE[:3])

        async def take(command: Envelope) -> None:
            await customer.deliver(command)
            await customer.deliver(customer.seal(order_id, events.ShipmentCancelRefused(order_id=order_id)))

        api.producer.taker = take

        first = await self.cancel(api, order_id, customer)
        second = await self.cancel(api, order_id, customer)

        assert [answer.status_code for answer in (first, second)] == [409, 409]
        assert len(api.producer.sent) == 1

    async def test_shipping_stops_the_parcel(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        await customer.move(order_id, *WHOLE_LIFE[:3])

        async def take(command: Envelope) -> None:
            await customer.deliver(command)
            await customer.deliver(customer.seal(order_id, events.ShipmentCancelled(order_id=order_id)))

        api.producer.taker = take

        answer = await self.cancel(api, order_id, customer)

        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert answer.json()["payment"]["status"] == "captured"

    async def test_an_outcome_that_nobody_publishes_is_found(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()

        async def take(command: Envelope) -> None:
            await customer.deliver(command, publish=False)

        api.producer.taker = take

        answer = await self.cancel(api, order_id, customer)

        assert answer.status_code == 200

    async def test_an_outcome_that_takes_longer(
        self, api: Api, customer: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Cancellation, "WAIT_SECONDS", 0.1)
        order_id = await customer.place()

        answer = await self.cancel(api, order_id, customer)

        assert answer.status_code == 202
        assert answer.headers["location"] == f"/api/orders/{order_id}"
        assert answer.headers["retry-after"] == "1"
        assert answer.json()["status"] == "pending"

    async def test_a_log_that_is_away(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        api.producer.error = KafkaConnectionError("away")

        answer = await self.cancel(api, order_id, customer)

        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"

    async def test_somebody_elses(self, api: Api, customer: Customer, other: Customer) -> None:
        order_id = await customer.place()

        answer = await self.cancel(api, order_id, other)

        assert answer.status_code == 404
        assert api.producer.sent == []

    async def test_by_an_admin(self, api: Api, customer: Customer, other: Customer) -> None:
        order_id = await customer.place()
        self.saga(api, customer)
        path = f"/api/admin/orders/{order_id}/cancel"

        forbidden = await api.http.post(path, headers=customer.headers())
        answer = await api.http.post(path, headers=other.headers(Role.ADMIN))

        assert forbidden.status_code == 403
        assert answer.status_code == 200
        assert answer.json()["cancel_reason"] == "admin_request"
        (command,) = api.producer.sent
        payload = registry.decode(command)
        assert isinstance(payload, commands.CancelOrder)
        assert payload.actor_id == other.user_id


class TestListing:
    async def pages(self, api: Api, path: str, headers: dict[str, str], **parameters: Any) -> list[dict[str, Any]]:
        """All pages of a list, one after the other."""
        rows: list[dict[str, Any]] = []
        cursor = None
        while True:
            query = {**parameters, **({"cursor": cursor} if cursor else {})}
            answer = await api.http.get(path, params=query, headers=headers)
            assert answer.status_code == 200, answer.text
            rows += answer.json()["items"]
            cursor = answer.json()["next_cursor"]
            if cursor is None:
                return rows

    async def history(self, customer: Customer, count: int = 7) -> list[str]:
        """Orders over a year and a half, newest last."""
        now = dt.datetime.now(dt.UTC)
        return [
            await customer.place(
                names=[f"Tea number {n}"], total=1000 * (n + 1), at=now - dt.timedelta(days=90 * (count - n))
            )
            for n in range(count)
        ]

    async def test_mine_newest_first_page_by_page(self, api: Api, customer: Customer, other: Customer) -> None:
        placed = await self.history(customer)
        await other.place()

        for limit in (1, 3, 7, 100):
            rows = await self.pages(api, "/api/orders/my-orders", customer.headers(), limit=limit)
            assert [row["order_id"] for row in rows] == placed[::-1]

    async def test_both_stores_tell_the_same(self, api: Api, customer: Customer) -> None:
        placed = await self.history(customer)
        await customer.move(placed[0], *WHOLE_LIFE)
        await customer.move(placed[1], S.CANCELLED)

        documents = await self.pages(api, "/api/orders/my-orders", customer.headers(), limit=3)
        admin = await self.pages(
            api, "/api/admin/orders", customer.headers(Role.ADMIN), user_id=customer.user_id, limit=3
        )

        assert [{**row, "user_id": customer.user_id} for row in documents] == admin

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"status": ["pending"]}, [6, 5, 4, 3, 2]),
            ({"status": ["delivered", "cancelled"]}, [1, 0]),
            ({"price_min": 3000, "price_max": 5000}, [4, 3, 2]),
            ({"q": "NUMBER 5"}, [5]),
            ({"q": "%"}, []),
            ({"status": ["pending"], "price_max": 3000, "q": "tea"}, [2]),
        ],
    )
    async def test_mine_by_filter(
        self, api: Api, customer: Customer, query: dict[str, Any], expected: list[int]
    ) -> None:
        placed = await self.history(customer)
        await customer.move(placed[0], *WHOLE_LIFE)
        await customer.move(placed[1], S.CANCELLED)

        rows = await self.pages(api, "/api/orders/my-orders", customer.headers(), **query, limit=2)

        assert [placed.index(row["order_id"]) for row in rows] == expected

    async def test_mine_by_date(self, api: Api, customer: Customer) -> None:
        placed = await self.history(customer)
        dates = [(await customer.order(order_id)).created_at.isoformat() for order_id in placed]

        rows = await self.pages(
            api, "/api/orders/my-orders", customer.headers(), date_from=dates[2], date_to=dates[5], limit=2
        )

        assert [row["order_id"] for row in rows] == placed[4:1:-1]

    async def test_mine_by_part_of_the_id(self, api: Api, customer: Customer) -> None:
        placed = await self.history(customer)

        rows = await self.pages(api, "/api/orders/my-orders", customer.headers(), q=placed[3][-10:].upper())

        assert [row["order_id"] for row in rows] == [placed[3]]

    async def test_mine_with_one_that_no_store_has_heard_of(self, api: Api, customer: Customer, redis: Redis) -> None:
        placed = await self.history(customer, 2)
        envelope = customer.created(names=["Brand-new tea"])
        await accept(redis, envelope)

        rows = await self.pages(api, "/api/orders/my-orders", customer.headers(), limit=2)
        found = await self.pages(api, "/api/orders/my-orders", customer.headers(), q="brand-new")

        assert [row["order_id"] for row in rows] == [envelope.subject, *placed[::-1]]
        assert [row["status"] for row in found] == ["pending"]

    async def test_mine_without_any(self, api: Api, customer: Customer) -> None:
        answer = await api.http.get("/api/orders/my-orders", headers=customer.headers())

        assert answer.json() == {"items": [], "next_cursor": None}

    async def test_everybodys_by_filter(self, api: Api, customer: Customer) -> None:
        placed = await self.history(customer)
        await customer.move(placed[0], *WHOLE_LIFE)
        since = (await customer.order(placed[0])).created_at
        headers = customer.headers(Role.ADMIN)
        window = {"date_from": since.isoformat(), "date_to": (since + dt.timedelta(microseconds=1)).isoformat()}

        rows = await self.pages(api, "/api/admin/orders", headers, **window, status=["delivered", "shipped"])
        cheap = await self.pages(api, "/api/admin/orders", headers, **window, price_min=1001)

        assert [row["order_id"] for row in rows] == [placed[0]]
        assert rows[0]["user_id"] == customer.user_id
        assert cheap == []

    async def test_everybodys_is_in_order_over_all_statuses(self, api: Api, customer: Customer) -> None:
        placed = await self.history(customer)
        await customer.move(placed[2], *WHOLE_LIFE)
        await customer.move(placed[4], S.CANCELLED)
        since = (await customer.order(placed[0])).created_at

        rows = await self.pages(
            api, "/api/admin/orders", customer.headers(Role.ADMIN), date_from=since.isoformat(), limit=100
        )

        keys = [(dt.datetime.fromisoformat(row["created_at"]), row["order_id"]) for row in rows]
        assert keys == sorted(set(keys), reverse=True)
        assert set(placed) <= {row["order_id"] for row in rows}

    async def test_everybodys_can_be_sorted_narrowed_and_counted(self, api: Api, customer: Customer) -> None:
        placed = await self.history(customer)
        headers = customer.headers(Role.ADMIN)

        async def listed(**query: Any) -> list[dict[str, Any]]:
            return await self.pages(api, "/api/admin/orders", headers, user_id=customer.user_id, limit=3, **query)

        for sort, field, reverse in (
            ("newest", "created_at", True),
            ("oldest", "created_at", False),
            ("highest", "total_amount", True),
            ("lowest", "total_amount", False),
        ):
            rows = await listed(sort=sort)
            keys = [(row[field], row["order_id"]) for row in rows]
            assert keys == sorted(keys, reverse=reverse), sort
            assert {row["order_id"] for row in rows} == set(placed)
        [first, *_] = await listed()
        assert [row["order_id"] for row in await listed(id_prefix=first["order_id"])] == [first["order_id"]]
        product = first["items"][0]["product_id"]
        assert first["order_id"] in {row["order_id"] for row in await listed(product_id=product)}

        count = await api.http.get("/api/admin/orders/count", headers=headers, params={"user_id": customer.user_id})
        assert count.json() == {"count": len(placed), "is_exact": True}
        for wrong in (
            {"product_id": product, "sort": "highest"},
            {"id_prefix": "0193a0c"},
            {"sort": "highest", "cursor": "WyIyMDI2LTAxLTAxIiwiYSJd"},
            {"sort": "biggest"},
        ):
            answer = await api.http.get("/api/admin/orders", headers=headers, params=wrong)
            assert answer.status_code == 422, wrong

    async def test_one_with_everything_that_its_saga_recorded(self, api: Api, customer: Customer) -> None:
        order_id = await customer.place()
        await customer.move(order_id, S.AWAITING_PAYMENT)

        answer = await api.http.get(f"/api/admin/orders/{order_id}", headers=customer.headers(Role.ADMIN))

        order = answer.json()
        assert answer.status_code == 200
        assert [row["message_type"] for row in order["transitions"]] == ["order.created", "inventory.reserved"]
        assert [row["command"] for row in order["outstanding"]] == ["payment.charge"]

    @pytest.mark.parametrize(
        "query",
        [
            {"cursor": "x"},
            {"cursor": "WzEsMl0"},
            {"cursor": "WyIyMDI2LTAxLTAxIiwieCJd"},
            {"limit": 0},
            {"page": 1},
            {"limit": 101},
            {"status": "gone"},
            {"q": "\x00"},
            {"q": " "},
            {"date_from": "2026-01-01T00:00:00"},
            {"date_from": "0001-01-01T00:00:00+23:00"},
            {"price_min": -1},
            {"price_max": 10**15},
        ],
    )
    async def test_bad_queries_are_refused(self, api: Api, customer: Customer, query: dict[str, Any]) -> None:
        answer = await api.http.get("/api/orders/my-orders", params=query, headers=customer.headers())

        assert answer.status_code == 422, answer.text


class TestWithoutPostgres:
    @pytest.fixture
    def database_away(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
        """Makes every read fail as it does when nobody listens."""

        def refuse() -> None:
            raise ConnectionRefusedError("no database")

        return lambda: monkeypatch.setattr(api.live.database, "read", refuse)

    async def test_an_accepted_order_can_be_read_and_the_rest_waits(
        self, api: Api, customer: Customer, redis: Redis, database_away: Callable[[], None]
    ) -> None:
        envelope = customer.created()
        await accept(redis, envelope, offset=3)
        database_away()

        waiting = await api.http.get(f"/api/orders/{envelope.subject}", headers=customer.headers())
        unknown = await api.http.get(f"/api/orders/{new_id()}", headers=customer.headers())

        assert (waiting.status_code, waiting.json()["queue_position"]) == (200, 3)
        assert unknown.status_code == 503

    async def test_an_order_that_was_seen_further_on_is_not_shown_as_it_was_before(
        self, api: Api, customer: Customer, redis: Redis, database_away: Callable[[], None]
    ) -> None:
        """The history is behind, or gone."""
        envelope = customer.created()
        path = f"/api/orders/{envelope.subject}"
        await accept(redis, envelope)
        await customer.deliver(envelope)
        seen = await api.http.get(path, headers=customer.headers())
        assert await redis.get(redis_keys.order_seen(envelope.subject)) == "1"
        database_away()

        as_far = await api.http.get(path, headers=customer.headers())
        await redis.set(redis_keys.order_seen(envelope.subject), 2)
        further = await api.http.get(path, headers=customer.headers())

        assert [answer.status_code for answer in (seen, as_far, further)] == [200, 200, 503]

    async def test_lists_come_from_the_history_if_there_is_one(
        self, api: Api, customer: Customer, other: Customer, database_away: Callable[[], None]
    ) -> None:
        order_id = await customer.place()
        await api.http.get("/api/orders/my-orders", headers=customer.headers())
        database_away()

        known = await api.http.get("/api/orders/my-orders", headers=customer.headers())
        unknown = await api.http.get("/api/orders/my-orders", headers=other.headers())

        assert [row["order_id"] for row in known.json()["items"]] == [order_id]
        assert unknown.status_code == 503


class TestWithoutRedis:
    async def test_written_orders_can_be_read_and_others_may_be_waiting(
        self, api: Api, customer: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        order_id = await customer.place()

        async def refuse(*_: object) -> None:
            raise RedisConnectionError("no redis")

        monkeypatch.setattr("oltp.orders.service.read_accepted", refuse)

        written = await api.http.get(f"/api/orders/{order_id}", headers=customer.headers())
        listed = await api.http.get("/api/orders/my-orders", headers=customer.headers())
        unknown = await api.http.get(f"/api/orders/{new_id()}", headers=customer.headers())

        assert written.status_code == 200
        assert [row["order_id"] for row in listed.json()["items"]] == [order_id]
        assert unknown.status_code == 503

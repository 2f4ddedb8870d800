"""What visitors do reaches Kafka, and what goes wrong with it reaches nobody."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from contracts.storefront import StorefrontEvent, StorefrontKind, decode
from contracts.topics import STOREFRONT_EVENTS
from kit.ids import new_id

from .conftest import Serve


class Heard:
    """Reads the topic from where it ended when the test began."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self._by_session: dict[str, list[StorefrontEvent]] = {}

    async def of(self, session_id: str, events: int) -> list[StorefrontEvent]:
        """The first events of a session, waited for."""
        async with asyncio.timeout(10):
            while len(self._by_session.get(session_id, [])) < events:
                for records in (await self._consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        event = decode(record.value)
                        assert record.key == event.session_id.encode()
                        self._by_session.setdefault(event.session_id, []).append(event)
        return self._by_session[session_id]


@pytest.fixture
async def heard(serve: Serve) -> AsyncIterator[Heard]:
    """The visitors' events from the beginning of the test on."""
    consumer = AIOKafkaConsumer(bootstrap_servers=serve.settings.kafka_bootstrap, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(STOREFRONT_EVENTS, n) for n in range(6)])
        await consumer.seek_to_end()
        for partition in consumer.assignment():
            await consumer.position(partition)
        yield Heard(consumer)
    finally:
        await consumer.stop()


async def test_a_page_tells_of_a_visitor(serve: Serve, heard: Heard) -> None:
    session, product = new_id(), new_id()
    headers = {"Cookie": f"session_id={session}", "Referer": "https://search.example/", "User-Agent": "Mobile"}
    shown = {"experiment": "e", "variant": "b"}
    events = [
        {"event_id": new_id(), "kind": "search", "query": "tea", "results": 3, "age_ms": 5000},
        {"event_id": new_id(), "kind": "product_view", "product_id": product, "shown": shown},
    ]
    async with serve() as gateway:
        before = dt.datetime.now(dt.UTC)
        answer = await gateway.http.post("/api/events", json={"events": events}, headers=headers)
        assert (answer.status_code, answer.json()) == (202, {"accepted": 2, "dropped": 0})
        search, view = await heard.of(session, 2)

        nobody = await gateway.http.post("/api/events", json={"events": events})
        assert (nobody.status_code, nobody.json()["type"]) == (400, "session-required")
        many = await gateway.http.post("/api/events", json={"events": events * 26}, headers=headers)
        assert many.status_code == 422

    assert (search.event_id, search.query, search.results) == (events[0]["event_id"], "tea", 3)
    assert (before - search.occurred_at).total_seconds() == pytest.approx(5, abs=2)
    assert (view.product_id, view.experiment, view.variant) == (product, "e", "b")
    assert (view.device, view.referrer, view.user_id) == ("mobile", "search.example", None)


async def test_a_checkout_is_noted_once(serve: Serve, heard: Heard) -> None:
    session = new_id()
    async with serve() as gateway:
        ada = gateway.shopper()
        headers = {"X-Session-ID": session}
        assert (await ada.checkout("empty", **headers)).status_code == 409
        await ada.put_in_cart({gateway.shelf.put(): 1})
        first, again = await ada.checkout("k", **headers), await ada.checkout("k", **headers)
        assert first.json() == again.json()
        noted = await heard.of(session, 4)

    start, placed = StorefrontKind.CHECKOUT_START, StorefrontKind.ORDER_PLACED
    assert [event.kind for event in noted] == [start, start, placed, start]
    assert {event.user_id for event in noted} == {ada.user_id}
    assert noted[2].order_id == first.json()["order_id"]


async def test_a_full_buffer_delays_nobody(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_VISITS_MOST_WAITING", "1")
    async with serve() as gateway:
        event = {"kind": "checkout_start"}
        events = [{"event_id": new_id(), **event} for _ in range(3)]
        answer = await gateway.http.post("/api/events", json={"events": events}, headers={"X-Session-ID": new_id()})
        assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "dropped": 2})

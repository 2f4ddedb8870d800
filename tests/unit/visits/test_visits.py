"""Whose visit it is, and that visitors' events never stand in anybody's way."""

import asyncio
import datetime as dt
from contextlib import suppress
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, MessageSizeTooLargeError
from pydantic import ValidationError

from contracts.storefront import StorefrontEvent, StorefrontKind, decode
from contracts.topics import STOREFRONT_EVENTS
from kit.auth import Principal, Role, issue_access_token
from kit.clock import FixedClock
from kit.ids import new_id
from kit.kafka import Outgoing
from oltp.gateway.app import describing_settings
from oltp.visits.domain import device_of, session_of_user, traits
from oltp.visits.recorder import Recorder
from oltp.visits.schemas import PageEvents
from oltp.visits.settings import VisitSettings

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
SESSION = new_id()


class Broker:
    """Takes events, or fails as it is told."""

    def __init__(self) -> None:
        self.taken: list[StorefrontEvent] = []
        self.errors: list[Exception] = []
        self.tries = 0
        self.grown = asyncio.Event()

    async def send_encoded(self, batch: list[Outgoing], *, choose: object) -> None:
        self.tries += 1
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        assert {message.topic for message in batch} == {STOREFRONT_EVENTS}
        self.taken += [decode(message.value) for message in batch]
        self.grown.set()


def recorder(broker: Broker, **changed: Any) -> Recorder:
    settings = VisitSettings.beside(describing_settings()).model_copy(update={"visits_send_seconds": 0.001, **changed})
    return Recorder(settings, broker, FixedClock(NOW))  # type: ignore[arg-type]


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in named.items()]


async def sending(tested: Recorder, broker: Broker, events: int) -> None:
    """Lets it send until the broker has so many."""
    task = asyncio.create_task(tested.run())
    async with asyncio.timeout(5):
        while len(broker.taken) < events:
            broker.grown.clear()
            await broker.grown.wait()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_a_session_is_a_header_or_a_cookie() -> None:
    assert traits(headers(x_session_id=SESSION)).session_id == SESSION
    assert traits(headers(cookie=f"theme=dark; session_id={SESSION}; a=b")).session_id == SESSION
    assert traits(headers(x_session_id=SESSION, cookie=f"session_id={new_id()}")).session_id == SESSION
    for nonsense in ("", "1", "x" * 36, f"{SESSION}{SESSION}"):
        assert traits(headers(x_session_id=nonsense)).session_id is None
        assert traits(headers(cookie=f"session_id={nonsense}")).session_id is None


@pytest.mark.parametrize(
    ("agent", "device"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/130 Safari/537.36", "desktop"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 Mobile/15E148 Safari/604", "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/130 Mobile Safari/537.36", "mobile"),
        ("Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 Chrome/130 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605 Mobile/15E148", "tablet"),
        ("curl/8.5", "other"),
        ("", "other"),
    ],
)
def test_devices(agent: str, device: str) -> None:
    assert device_of(agent.encode()) == device


def test_a_referrer_is_a_host() -> None:
    assert traits(headers(referer="https://Search.example:8080/find?q=secret")).referrer == "search.example"
    assert traits(headers(referer="http://[broken")).referrer == ""
    assert traits([]).referrer == ""


def test_who_is_signed_in_has_a_session_a_day() -> None:
    assert session_of_user("ada", 1) == session_of_user("ada", 1)
    assert len({session_of_user("ada", 1), session_of_user("ada", 2), session_of_user("bob", 1)}) == 3


async def test_visitors_are_told_apart() -> None:
    broker = Broker()
    tested = recorder(broker)
    user = new_id()
    token = issue_access_token(describing_settings(), Principal(user, Role.CUSTOMER), dt.datetime.now(dt.UTC))
    tested.of([]).note(StorefrontKind.SEARCH, query="nobody's")
    tested.of(headers(authorization="Bearer forged")).note(StorefrontKind.SEARCH, query="nobody's")
    tested.of(headers(x_session_id=SESSION)).note(StorefrontKind.SEARCH, query="tea", results=3)
    tested.of(headers(authorization=f"Bearer {token}", x_session_id=SESSION)).note(StorefrontKind.CHECKOUT_START)
    tested.of([], user_id=user).note(StorefrontKind.CART_ADD, product_id="p", quantity=2, unit_price=1250)

    await sending(tested, broker, 3)

    search, start, add = broker.taken
    assert (search.session_id, search.user_id, search.query, search.results) == (SESSION, None, "tea", 3)
    assert (start.session_id, start.user_id) == (SESSION, user)
    assert (add.user_id, add.quantity, str(add.price), add.occurred_at) == (user, 2, "12.50", NOW)
    assert add.session_id == session_of_user(user, int(NOW.timestamp()) // 86_400)


async def test_what_there_is_no_room_for_is_dropped() -> None:
    broker = Broker()
    tested = recorder(broker, visits_most_waiting=3)
    visit = tested.of(headers(x_session_id=SESSION))
    for n in range(5):
        visit.note(StorefrontKind.SEARCH, query=str(n))

    await sending(tested, broker, 3)

    assert [event.query for event in broker.taken] == ["0", "1", "2"]
    visit.note(StorefrontKind.SEARCH, query="later")
    await sending(tested, broker, 4)
    assert broker.taken[-1].query == "later"


async def test_a_broker_that_is_away_gets_the_same_events_later() -> None:
    broker = Broker()
    broker.errors = [KafkaConnectionError("away")]
    tested = recorder(broker)
    tested.of(headers(x_session_id=SESSION)).note(StorefrontKind.SEARCH, query="tea")

    await sending(tested, broker, 1)

    assert broker.tries == 2
    assert [event.query for event in broker.taken] == ["tea"]


async def test_what_the_broker_refuses_does_not_block_the_rest() -> None:
    broker = Broker()
    broker.errors = [MessageSizeTooLargeError("too large")]
    tested = recorder(broker)
    visit = tested.of(headers(x_session_id=SESSION))
    for n in range(201):
        visit.note(StorefrontKind.SEARCH, query=str(n))

    await sending(tested, broker, 1)

    assert [event.query for event in broker.taken] == ["200"]


def test_what_is_left_at_the_end_is_sent() -> None:
    broker = Broker()
    tested = recorder(broker, visits_send_seconds=60)

    async def visit() -> None:
        task = asyncio.create_task(tested.run())
        tested.of(headers(x_session_id=SESSION)).note(StorefrontKind.SEARCH, query="tea")
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    asyncio.run(visit())

    assert [event.query for event in broker.taken] == ["tea"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "order_placed"},
        {"kind": "product_view"},
        {"kind": "cart_add", "product_id": new_id()},
        {"kind": "search", "query": "  "},
        {"kind": "search", "query": "tea", "product_id": new_id()},
        {"kind": "checkout_start", "shown": {"experiment": "button"}},
        {"kind": "checkout_start", "age_ms": 86_400_000},
        {"kind": "checkout_start", "price": 1},
        {"kind": "checkout_start", "age_ms": False},
        {"kind": "checkout_start", "event_id": "6f0c2b1e-0a41-4a4f-9f57-1d0a3b8a9d55"},
    ],
)
def test_pages_cannot_tell_nonsense(wrong: dict[str, Any]) -> None:
    PageEvents.model_validate({"events": [{"event_id": new_id(), "kind": "checkout_start"}]})
    with pytest.raises(ValidationError):
        PageEvents.model_validate({"events": [{"event_id": new_id(), **wrong}]})

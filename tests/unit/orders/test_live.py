"""One socket's view of orders, and the bookkeeping of subscriptions."""

import asyncio
import datetime as dt
from typing import Any

import orjson
import pytest

from contracts.admission import QueuePlace
from contracts.orders import OrderStatus
from oltp.orders import live
from oltp.orders.domain import Step
from oltp.orders.hub import _Subscriptions
from oltp.orders.live import OrderWatch, Outbox, UserWatch, Watch
from oltp.orders.repository import Happening

NOW = dt.datetime(2026, 11, 27, 8, tzinfo=dt.UTC)
STATUSES = ["pending", "awaiting_payment", "confirmed", "processing", "shipped", "delivered"]


class Notebook:
    """Notes who wants to be brought up to date."""

    def __init__(self) -> None:
        self.watches: list[Watch] = []

    def add(self, watch: Watch) -> None:
        self.watches.append(watch)


def happening(sequence: int, order_id: str = "one") -> Happening:
    step = Step(
        sequence,
        "order.moved",
        OrderStatus(STATUSES[sequence - 2]),
        OrderStatus(STATUSES[sequence - 1]),
        "",
        NOW + dt.timedelta(seconds=sequence),
    )
    return Happening(order_id, "user", step)


def tell(watch: Watch, sequence: int, order_id: str = "one") -> None:
    """A transition over pub/sub."""
    text = orjson.dumps(live.frame_of(happening(sequence, order_id))).decode()
    watch.heard(text, orjson.loads(text))


def sent(outbox: Outbox) -> list[Any]:
    """What was put on its way: ``snapshot``, or the sequence."""
    frames = []
    while not outbox.queue.empty():
        frame = orjson.loads(outbox.queue.get_nowait())
        frames.append(frame.get("sequence", frame["type"]))
    return frames


@pytest.fixture
async def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def rereader() -> Notebook:
    return Notebook()


@pytest.fixture
def watch(outbox: Outbox, rereader: Notebook) -> OrderWatch:
    return OrderWatch(outbox, rereader, "one")


def begin(watch: Watch, sequence: int = 1) -> None:
    watch.begin('{"type":"snapshot"}', [("one", sequence, STATUSES[sequence - 1])])


async def test_what_is_heard_while_the_snapshot_is_read_comes_after_it_and_once(
    watch: OrderWatch, outbox: Outbox
) -> None:
    tell(watch, 2)
    tell(watch, 3)

    begin(watch, 2)
    tell(watch, 3)
    tell(watch, 4)

    assert sent(outbox) == ["snapshot", 3, 4]
    assert watch.sequence == 4


async def test_a_step_that_does_not_follow_waits_for_the_one_that_is_missing(
    watch: OrderWatch, outbox: Outbox, rereader: Notebook
) -> None:
    begin(watch)
    tell(watch, 4)
    tell(watch, 5)
    assert sent(outbox) == ["snapshot"]
    assert rereader.watches == [watch]

    watch.catch_up([happening(n) for n in (2, 3, 4)], NOW)

    assert sent(outbox) == [2, 3, 4, 5]


async def test_sequences_may_leave_gaps_that_are_none(watch: OrderWatch, outbox: Outbox, rereader: Notebook) -> None:
    begin(watch)
    text = orjson.dumps({**live.frame_of(happening(2)), "sequence": 7}).decode()
    watch.heard(text, orjson.loads(text))

    assert sent(outbox) == ["snapshot", 7]
    assert rereader.watches == []


async def test_an_interruption_holds_everything_until_what_was_missed_is_read(
    watch: OrderWatch, outbox: Outbox, rereader: Notebook
) -> None:
    begin(watch)
    watch.interrupted()
    tell(watch, 3)
    watch.restored()
    tell(watch, 4)
    assert sent(outbox) == ["snapshot"]

    watch.catch_up([happening(2), happening(3)], NOW)
    tell(watch, 5)

    assert sent(outbox) == [2, 3, 4, 5]
    assert rereader.watches == [watch]


async def test_an_interruption_while_the_snapshot_is_read_is_made_good_after_it(
    watch: OrderWatch, outbox: Outbox, rereader: Notebook
) -> None:
    watch.interrupted()
    watch.restored()
    assert rereader.watches == []

    begin(watch)
    assert rereader.watches == [watch]
    watch.catch_up([happening(2)], NOW)

    assert sent(outbox) == ["snapshot", 2]


async def test_a_client_that_lags_is_given_up(watch: OrderWatch, outbox: Outbox) -> None:
    begin(watch)
    for n in range(live.QUEUE_LENGTH):
        watch.heard("{}", {"type": "shipment.moved", "order_id": "one", "n": n})

    assert outbox.closing.result() == live.TOO_SLOW


async def test_a_watch_that_can_not_catch_up_is_given_up(watch: OrderWatch, outbox: Outbox) -> None:
    for _ in range(live.QUEUE_LENGTH + 1):
        watch.heard("{}", {"type": "shipment.moved", "order_id": "one"})

    assert outbox.closing.result() == live.TOO_SLOW


async def test_a_customers_watch_keeps_its_orders_apart(outbox: Outbox, rereader: Notebook) -> None:
    watch = UserWatch(outbox, rereader, "user", NOW)
    watch.begin('{"type":"snapshot"}', [("one", 1, "pending"), ("two", 3, "confirmed")])

    tell(watch, 2, "one")
    tell(watch, 3, "two")
    tell(watch, 4, "two")
    tell(watch, 2, "three")

    assert sent(outbox) == ["snapshot", 2, 4, 2]


async def test_a_customers_watch_goes_back_a_little_and_no_further(outbox: Outbox, rereader: Notebook) -> None:
    watch = UserWatch(outbox, rereader, "user", NOW + dt.timedelta(seconds=13))
    watch.begin('{"type":"snapshot"}', [])

    watch.catch_up([happening(2), happening(3)], NOW + dt.timedelta(seconds=20))

    assert sent(outbox) == ["snapshot", 3]
    assert watch.since == NOW + dt.timedelta(seconds=20)


async def test_a_customers_watch_remembers_a_bounded_number_of_orders(
    outbox: Outbox, rereader: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "ORDERS_REMEMBERED", 2)
    watch = UserWatch(outbox, rereader, "user", NOW)
    watch.begin('{"type":"snapshot"}', [])

    for order_id in ("one", "two", "three"):
        tell(watch, 2, order_id)

    assert len(watch._sent) == 2


class Wire:
    """A Redis connection that writes down what is sent."""

    def __init__(self) -> None:
        self.is_connected = True
        self.commands: list[tuple[str, ...]] = []

    async def send_command(self, *parts: str, check_health: bool = True) -> None:
        self.commands.append(parts)


class TestSubscriptions:
    @pytest.fixture
    def wire(self) -> Wire:
        return Wire()

    async def test_follow_what_is_wanted(self, wire: Wire) -> None:
        wanted: dict[str, Any] = {"a": 1, "b": 1}
        subscriptions = _Subscriptions(wire, wanted)  # type: ignore[arg-type]

        await subscriptions.reconcile()
        del wanted["a"]
        wanted["c"] = 1
        await subscriptions.reconcile()
        await subscriptions.reconcile()

        assert wire.commands == [("SUBSCRIBE", "a", "b"), ("UNSUBSCRIBE", "a"), ("SUBSCRIBE", "c")]

    async def test_are_established_once_all_first_ones_are_acknowledged(self, wire: Wire) -> None:
        subscriptions = _Subscriptions(wire, {"a": 1, "b": 1})  # type: ignore[arg-type]
        await subscriptions.reconcile()
        waiting = asyncio.create_task(subscriptions.established())

        subscriptions.acknowledged("subscribe", "a")
        await asyncio.sleep(0)
        assert not waiting.done()
        subscriptions.acknowledged("subscribe", "b")

        await waiting

    async def test_an_old_acknowledgement_confirms_nothing(self, wire: Wire) -> None:
        wanted: dict[str, Any] = {"a": 1}
        subscriptions = _Subscriptions(wire, wanted)  # type: ignore[arg-type]
        await subscriptions.reconcile()
        del wanted["a"]
        await subscriptions.reconcile()
        wanted["a"] = 1
        await subscriptions.reconcile()
        waiting = asyncio.create_task(subscriptions.confirmed("a"))

        for kind in ("subscribe", "unsubscribe"):
            subscriptions.acknowledged(kind, "a")
            await asyncio.sleep(0)
            assert not waiting.done()
        subscriptions.acknowledged("subscribe", "a")

        assert await waiting
        assert await subscriptions.confirmed("a")

    async def test_nobody_waits_for_a_connection_that_is_gone(self, wire: Wire) -> None:
        subscriptions = _Subscriptions(wire, {"a": 1})  # type: ignore[arg-type]
        await subscriptions.reconcile()
        waiting = asyncio.create_task(subscriptions.confirmed("a"))
        await asyncio.sleep(0)

        subscriptions.abandon()

        assert not await waiting

    async def test_a_closed_connection_takes_no_command(self, wire: Wire) -> None:
        wire.is_connected = False
        subscriptions = _Subscriptions(wire, {"a": 1})  # type: ignore[arg-type]

        with pytest.raises(ConnectionError):
            await subscriptions.reconcile()


class Queue:
    """A queue in which every pending order is at one position."""

    def __init__(self, position: int | None) -> None:
        self.at = position

    def position(self, place: QueuePlace) -> int | None:
        return self.at


def told(outbox: Outbox) -> list[Any]:
    """The positions that were put on their way, besides the types of everything else."""
    frames = []
    while not outbox.queue.empty():
        frame = orjson.loads(outbox.queue.get_nowait())
        frames.append(frame["queue_position"] if frame["type"] == "queue" else frame["type"])
    return frames


async def test_a_pending_order_s_position_is_told_when_it_has_fallen(watch: OrderWatch, outbox: Outbox) -> None:
    place = QueuePlace(order_id="one", first=9, log=(0, 9))
    watch.begin('{"type":"snapshot"}', [("one", 1, "pending")], [(place, None)])
    queue = Queue(7)
    for position in (None, 7, 7, 8, 3, None, 5, 2):
        queue.at = position
        watch.tell_positions(queue)
    assert told(outbox) == ["snapshot", 7, 3, 2]
    tell(watch, 2)
    queue.at = 1
    watch.tell_positions(queue)
    assert told(outbox) == ["order.moved"]


async def test_who_watches_all_orders_hears_of_a_new_one_in_a_sale(outbox: Outbox, rereader: Notebook) -> None:
    watch = UserWatch(outbox, rereader, "user", NOW)
    watch.begin('{"type":"snapshot"}', [])
    message = {
        "type": "order.accepted",
        "order_id": "two",
        "queue_position": 4,
        "log_partition": 0,
        "log_offset": 4,
        "sale_id": "sale",
    }
    watch.heard(orjson.dumps(message).decode(), message)
    for position in (4, 3):
        watch.tell_positions(Queue(position))
    assert told(outbox) == ["snapshot", "order.accepted", 3]

"""The consumer's promises, on a real broker: at least once, in order, poison set aside, and back after failures."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from aiokafka.errors import KafkaConnectionError

from contracts import topics
from contracts.commands import CancelShipment, CreateShipment, VoidPayment
from contracts.envelope import Envelope, seal, topic_for
from contracts.events import PaymentVoided
from kit.ids import new_id
from kit.kafka import Consumer, EventProducer, Outcome, Process, Received
from kit.resources import Resources
from kit.settings import Settings
from sagas import dead_letters

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def command(order_id: str) -> Envelope:
    payload = CancelShipment(order_id=order_id)
    return seal(payload, id=new_id(), source="test", subject=order_id, time=NOW)


class Recorder:
    """Processes batches by a script, and remembers what it saw of this test's orders."""

    def __init__(self) -> None:
        self.orders: set[str] = set()
        self.taken: list[str] = []
        self.fail: Callable[[Received], Exception | None] = lambda _: None

    async def __call__(self, batch: Sequence[Received]) -> Outcome:
        mine = [message for message in batch if message.envelope.subject in self.orders]
        for message in mine:
            if (error := self.fail(message)) is not None:
                raise error
        self.taken += [message.envelope.id for message in mine]
        return Outcome()


@contextlib.asynccontextmanager
async def consuming(resources: Resources, process: Process, group: str) -> AsyncIterator[Consumer]:
    settings = resources.settings.model_copy(update={"process": group})
    consumer = Consumer(
        settings,
        group=group,
        subscribe=[topics.SHIPPING_COMMANDS],
        handles=[CancelShipment],
        process=process,
        producer=resources.producer,
        sleep=lambda _: asyncio.sleep(0.01),
    )
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
async def group() -> str:
    return f"test-{new_id()}"


async def test_messages_of_one_key_come_in_order_and_offsets_are_kept(
    resources: Resources, recorder: Recorder, group: str
) -> None:
    order_id = new_id()
    recorder.orders = {order_id}
    messages = [command(order_id) for _ in range(20)]
    placements = await resources.producer.send(messages)
    assert [p.offset for p in placements] == sorted(p.offset for p in placements)
    async with consuming(resources, recorder, group):
        await until(lambda: len(recorder.taken) >= 20)
        await asyncio.sleep(0.2)  # the offsets are committed after the batch
    assert recorder.taken == [m.id for m in messages]
    later = command(order_id)
    await resources.producer.send([later])
    async with consuming(resources, recorder, group):
        await until(lambda: later.id in recorder.taken)
    assert len(recorder.taken) == 21


async def test_a_transient_failure_is_tried_again_until_it_passes(
    resources: Resources, recorder: Recorder, group: str
) -> None:
    order_id = new_id()
    recorder.orders = {order_id}
    failures = iter([ConnectionRefusedError(), KafkaConnectionError(), TimeoutError()])
    recorder.fail = lambda _: next(failures, None)
    message = command(order_id)
    await resources.producer.send([message])
    async with consuming(resources, recorder, group):
        await until(lambda: recorder.taken == [message.id])


async def test_poison_is_set_aside_with_its_error_and_can_be_replayed(
    resources: Resources, recorder: Recorder, group: str, settings: Settings
) -> None:
    order_id = new_id()

    async def letters_about(key: str) -> list[dead_letters.DeadLetter]:
        return [each for each in await dead_letters.read_all(settings) if each.key == key.encode()]

    recorder.orders = {order_id}
    good, bad, after = (command(order_id) for _ in range(3))
    recorder.fail = lambda m: ValueError("no such parcel") if m.envelope.id == bad.id else None
    await resources.producer.send([good, bad, after])
    async with consuming(resources, recorder, group):
        await until(lambda: after.id in recorder.taken)
        assert recorder.taken == [good.id, after.id]
        (letter,) = await letters_about(order_id)
        assert (letter.topic, letter.error, letter.replayed) == (
            topics.SHIPPING_COMMANDS,
            "ValueError: no such parcel",
            False,
        )
        recorder.fail = lambda _: None
        await dead_letters.replay(resources.producer, letter)
        await until(lambda: bad.id in recorder.taken)
    (letter,) = await letters_about(order_id)
    assert letter.replayed


async def test_bytes_that_are_no_message_are_set_aside(
    resources: Resources, recorder: Recorder, group: str, settings: Settings
) -> None:
    order_id = new_id()
    recorder.orders = {order_id}
    await resources.producer.send_raw(topics.SHIPPING_COMMANDS, b"\x00 not json", order_id.encode())
    message = command(order_id)
    await resources.producer.send([message])
    async with consuming(resources, recorder, group):
        await until(lambda: message.id in recorder.taken)
    letters = [each for each in await dead_letters.read_all(settings) if each.group == group]
    assert any(each.key == order_id.encode() and "JSON" in each.error for each in letters)


async def test_the_outcome_is_sent_before_the_offset_is_committed(resources: Resources, group: str) -> None:
    order_id, steps = new_id(), list[str]()
    answer = seal(
        PaymentVoided(order_id=order_id, payment_id="p"), id=new_id(), source="test", subject=order_id, time=NOW
    )

    async def afterwards() -> None:
        steps.append("afterwards")

    async def process(batch: Sequence[Received]) -> Outcome:
        if not any(m.envelope.subject == order_id for m in batch):
            return Outcome()
        steps.append("applied")
        return Outcome([answer], [afterwards])

    await resources.producer.send([command(order_id)])
    async with consuming(resources, process, group):
        await until(lambda: len(steps) == 2)
    assert steps == ["applied", "afterwards"]
    assert topic_for(answer) == topics.PAYMENT_EVENTS


def test_a_consumer_that_cannot_work_is_refused(resources: Resources) -> None:
    def build(subscribe: list[str], handles: list[type]) -> Consumer:
        process: Callable[[Sequence[Received]], Awaitable[Outcome]] = Recorder()
        producer = resources.producer
        return Consumer(
            resources.settings, group="g", subscribe=subscribe, handles=handles, process=process, producer=producer
        )

    with pytest.raises(ValueError, match="nothing to read"):
        build([], [])
    with pytest.raises(ValueError, match="payment-commands"):
        build([topics.SHIPPING_COMMANDS], [CreateShipment, VoidPayment])


async def test_a_producer_without_a_broker_says_so_and_recovers(settings: Settings, resources: Resources) -> None:
    nowhere = EventProducer(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"}), timeout=1)
    with pytest.raises((KafkaConnectionError, TimeoutError)):
        await nowhere.send([command(new_id())])
    assert await resources.producer.send([]) == []

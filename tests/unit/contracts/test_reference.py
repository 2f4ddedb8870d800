"""The message reference is what the code says, and messages survive the wire."""

import datetime as dt

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from contracts import events, topics
from contracts.commands import VoidPayment
from contracts.envelope import (
    Envelope,
    Message,
    Registry,
    UnknownMessageType,
    caused_id,
    decode,
    encode,
    registry,
    reply_to,
    seal,
    topic_for,
)
from contracts.reference import FOLDER, asyncapi, files

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize("name", sorted(files()))
def test_the_committed_reference_is_current(name: str) -> None:
    assert (FOLDER / name).read_text() == files()[name], "run `python -m contracts.reference`"


def test_every_topic_but_the_dead_letters_carries_something() -> None:
    empty = [name for name, channel in asyncapi()["channels"].items() if not channel["messages"]]
    assert empty == [topics.DEAD_LETTERS]


def cause(id: str = "m1") -> Envelope:
    payload = VoidPayment(order_id="o1")
    return seal(payload, id=id, source="s", subject="o1", time=NOW, correlationid="c", traceparent="t")


@given(st.text(max_size=50))
def test_an_envelope_survives_the_wire(order_id: str) -> None:
    sealed = seal(VoidPayment(order_id=order_id), id="1", source="s", subject="o", time=NOW)
    assert registry.decode(decode(encode(sealed))) == VoidPayment(order_id=order_id)


def test_a_reply_is_the_same_each_time_and_follows_its_cause() -> None:
    payload = events.PaymentVoided(order_id="o1", payment_id="p1")
    first, again = (reply_to(cause(), payload, source="surge/payments", time=NOW) for _ in range(2))
    assert first == again
    assert (first.subject, first.correlationid, first.causationid, first.traceparent) == ("o1", "c", "m1", "t")
    assert first.id != reply_to(cause("m2"), payload, source="surge/payments", time=NOW).id
    assert topic_for(first) == topics.PAYMENT_EVENTS


def test_ids_tell_parts_apart() -> None:
    assert len({caused_id("a", "b"), caused_id("a", "b", "1"), caused_id("a", "c"), caused_id("c", "b")}) == 4


def test_an_unknown_type_is_named() -> None:
    strange = msgspec.structs.replace(cause(), type="order.vanished")
    with pytest.raises(UnknownMessageType, match=r"order\.vanished"):
        registry.decode(strange)
    with pytest.raises(UnknownMessageType):
        topic_for(strange)


def test_a_payload_that_lacks_a_field_is_refused() -> None:
    broken = msgspec.structs.replace(cause(), data=msgspec.Raw(b"{}"))
    with pytest.raises(msgspec.ValidationError, match="order_id"):
        registry.decode(broken)


def test_a_type_name_can_be_taken_once() -> None:
    fresh = Registry()
    fresh.register("a", "t", Message)
    with pytest.raises(ValueError, match="registered twice"):
        fresh.register("a", "t", Message)

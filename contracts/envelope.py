"""The envelope of every message: CloudEvents 1.0 in structured JSON mode: Kafka and the outbox carry the same bytes.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
"""

import datetime as dt
import uuid
from collections.abc import Callable
from hashlib import sha1
from typing import Any, Final, TypeVar

import msgspec

_NAMESPACE: Final = uuid.UUID("7d1c9a52-3f55-5c0e-9a3e-6f3f0f6f2c11").bytes


class Message(msgspec.Struct, kw_only=True):
    """Base of all payloads. :func:`message` gives a subclass its CloudEvents type and topic."""


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. ``id`` is unique per cause and type: a cause always sends the same id (see :func:`caused_id`).

    ``subject`` is the aggregate's id. The Kafka key is ``partitionkey`` if there is one, else the subject: what is to
    be taken in one order though it concerns many aggregates has one partition key. ``correlationid`` follows one HTTP
    request through every process; ``causationid`` is the id of the message that led to this one; ``traceparent`` is W3C
    trace context.
    """

    id: str
    source: str
    type: str
    subject: str
    time: dt.datetime
    data: msgspec.Raw
    specversion: str
    datacontenttype: str
    dataschema: str = ""
    correlationid: str = ""
    causationid: str = ""
    traceparent: str = ""
    partitionkey: str = ""

    @property
    def key(self) -> str:
        """The Kafka key."""
        return self.partitionkey or self.subject


_encoder = msgspec.json.Encoder()
_envelope_decoder = msgspec.json.Decoder(Envelope)


class Registry:
    """Message types by CloudEvents type name, with a cached decoder each."""

    def __init__(self) -> None:
        self._types: dict[str, type[Message]] = {}
        self._names: dict[type[Message], str] = {}
        self._topics: dict[type[Message], str] = {}
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}

    def register(self, name: str, topic: str, cls: type[Message]) -> None:
        """Binds a type name and its topic to a payload class.

        Raises:
            ValueError: if the name is taken.
        """
        if name in self._types:
            raise ValueError(f"message type {name!r} is registered twice")
        self._types[name] = cls
        self._names[cls] = name
        self._topics[cls] = topic
        self._decoders[name] = msgspec.json.Decoder(cls)

    def name_of(self, cls: type[Message]) -> str:
        """The CloudEvents type of a payload class."""
        return self._names[cls]

    def topic_of(self, cls: type[Message]) -> str:
        """The topic that carries a payload class."""
        return self._topics[cls]

    def resolve(self, name: str) -> type[Message]:
        """The payload class of a type name.

        Raises:
            UnknownMessageType: if the type is not registered.
        """
        cls = self._types.get(name)
        if cls is None:
            raise UnknownMessageType(name)
        return cls

    def types(self) -> dict[str, type[Message]]:
        """All registered types by name."""
        return dict(self._types)

    def decode(self, envelope: Envelope) -> Message:
        """The typed payload of an envelope.

        Raises:
            UnknownMessageType: if the type is not registered.
            msgspec.ValidationError: if the payload does not fit its type.
        """
        decoder = self._decoders.get(envelope.type)
        if decoder is None:
            raise UnknownMessageType(envelope.type)
        payload: Message = decoder.decode(envelope.data)
        return payload


class UnknownMessageType(ValueError):
    """A message whose type nobody registered."""

    def __init__(self, name: str) -> None:
        super().__init__(f"unknown message type {name!r}")
        self.name = name


registry: Final = Registry()


_M = TypeVar("_M", bound=type[Message])


def message(name: str, topic: str) -> Callable[[_M], _M]:
    """Class decorator: the payload travels as CloudEvents type ``name`` on ``topic``."""

    def bind(cls: _M) -> _M:
        registry.register(name, topic, cls)
        return cls

    return bind


def caused_id(cause: str, name: str, part: str = "") -> str:
    """The id of the message of type ``name`` that ``cause`` leads to: the same each time it is sent again."""
    # a version 5 UUID, without the uuid module's objects: ten of them are made for each order
    digest = bytearray(sha1(_NAMESPACE + f"{cause}|{name}|{part}".encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def seal(
    payload: Message,
    *,
    id: str,
    source: str,
    subject: str,
    time: dt.datetime,
    correlationid: str = "",
    causationid: str = "",
    traceparent: str = "",
    partitionkey: str = "",
) -> Envelope:
    """Puts a payload into its envelope."""
    name = registry.name_of(type(payload))
    return Envelope(
        id=id,
        source=source,
        type=name,
        subject=subject,
        time=time,
        data=msgspec.Raw(_encoder.encode(payload)),
        specversion="1.0",
        datacontenttype="application/json",
        dataschema=f"{name}/v1",
        correlationid=correlationid,
        causationid=causationid,
        traceparent=traceparent,
        partitionkey=partitionkey,
    )


def reply_to(cause: Envelope, payload: Message, *, source: str, time: dt.datetime, part: str = "") -> Envelope:
    """The envelope of what ``cause`` led to: deterministic id, same subject, correlation and trace.

    ``part`` tells apart several messages of one type with one cause.
    """
    return seal(
        payload,
        id=caused_id(cause.id, registry.name_of(type(payload)), part),
        source=source,
        subject=cause.subject,
        time=time,
        correlationid=cause.correlationid,
        causationid=cause.id,
        traceparent=cause.traceparent,
    )


def topic_for(envelope: Envelope) -> str:
    """The topic of an envelope's type.

    Raises:
        UnknownMessageType: if the type is not registered.
    """
    return registry.topic_of(registry.resolve(envelope.type))


def encode(envelope: Envelope) -> bytes:
    """The message's bytes."""
    return _encoder.encode(envelope)


def decode(value: bytes) -> Envelope:
    """The envelope in a message's bytes; its payload stays raw until :meth:`Registry.decode`.

    Raises:
        msgspec.DecodeError: if the bytes are no JSON, or not an envelope.
    """
    return _envelope_decoder.decode(value)

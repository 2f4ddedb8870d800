"""The outbox: what is born in a database transaction reaches Kafka through Debezium's event router.

The row is deleted in the transaction that inserts it: the write-ahead log keeps the insert for Debezium, and the table
stays empty without a cleaner.
"""

import datetime as dt
from collections.abc import Iterable

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from contracts.envelope import Envelope, Message, encode, seal, topic_for
from kit import telemetry
from kit.db import WriteSession
from kit.ids import new_id

_INSERT = text(
    """
    WITH written AS (
        INSERT INTO outbox.outbox (id, aggregatetype, aggregateid, type, payload)
        SELECT * FROM unnest(CAST(:ids AS uuid[]), :topics, :keys, :types, CAST(:payloads AS jsonb[]))
        RETURNING id
    )
    SELECT id FROM written
    """
).bindparams(
    bindparam("ids", type_=ARRAY(TEXT)),
    bindparam("topics", type_=ARRAY(TEXT)),
    bindparam("keys", type_=ARRAY(TEXT)),
    bindparam("types", type_=ARRAY(TEXT)),
    bindparam("payloads", type_=ARRAY(TEXT)),
)
_DELETE = text("DELETE FROM outbox.outbox WHERE id = ANY(CAST(:ids AS uuid[]))").bindparams(
    bindparam("ids", type_=ARRAY(TEXT))
)


async def publish(session: WriteSession, envelopes: Iterable[Envelope]) -> None:
    """Has the envelopes sent if, and only if, the session's transaction commits."""
    rows = list(envelopes)
    if not rows:
        return
    ids = [row.id for row in rows]
    await session.execute(
        _INSERT,
        {
            "ids": ids,
            "topics": [topic_for(row) for row in rows],
            "keys": [row.key for row in rows],
            "types": [row.type for row in rows],
            "payloads": [encode(row).decode() for row in rows],
        },
    )
    await session.execute(_DELETE, {"ids": ids})


def announce(payload: Message, *, source: str, subject: str, time: dt.datetime, id: str | None = None) -> Envelope:
    """The envelope of something that no message caused: fresh id, the present request's correlation and trace."""
    return seal(
        payload,
        id=id or new_id(),
        source=source,
        subject=subject,
        time=time,
        correlationid=telemetry.correlation_id(),
        traceparent=telemetry.traceparent(),
    )

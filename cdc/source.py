"""The one Debezium source of the shop: the outbox's messages, and every change of the captured tables.

Rows of ``outbox.outbox`` become messages on the topic that their ``aggregatetype`` names: the value is the row's whole
payload, a CloudEvents envelope, the key is ``aggregateid``. A row is deleted in the transaction that inserts it; the
router passes over the delete. Changes of captured tables become flat JSON rows on ``cdc.SCHEMA.TABLE``.

Both share a slot, so the shop's log is decoded once. A table is captured as soon as it is in the publication: that is
widened when the data platform starts (see :mod:`cdc.capture`), and a shop without it pays nothing.

The connector, its slot and its publication keep the names of the time when it read the outbox alone: offsets are stored
under the connector's name, and a slot can't be renamed.
"""

from dataclasses import dataclass
from typing import Final

from cdc.tables import CAPTURED

CONNECTOR: Final = "outbox-source"
SLOT: Final = "surge_outbox"
PUBLICATION: Final = "surge_outbox"
OUTBOX_TABLE: Final = "outbox.outbox"
TOPIC_PREFIX: Final = "surge"
HEARTBEAT_TOPIC: Final = f"__debezium-heartbeat.{TOPIC_PREFIX}"
MARK_TOPIC: Final = f"{TOPIC_PREFIX}.message"
"""Where marks arrive that ``pg_logical_emit_message`` wrote into the log."""

_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"


@dataclass(frozen=True, slots=True)
class SourceDatabase:
    """How Connect reaches the database."""

    host: str
    port: int
    name: str
    user: str
    password: str


def _names(names: list[str]) -> str:
    return ",".join(name.replace(".", r"\.") for name in names)


def connector(database: SourceDatabase) -> dict[str, str]:
    """The connector's whole configuration."""
    left_out = [f"{table.name}.{column}" for table in CAPTURED for column in sorted(table.without)]
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",
        "plugin.name": "pgoutput",
        "database.hostname": database.host,
        "database.port": str(database.port),
        "database.user": database.user,
        "database.password": database.password,
        "database.dbname": database.name,
        "topic.prefix": TOPIC_PREFIX,
        "slot.name": SLOT,
        "publication.name": PUBLICATION,
        "publication.autocreate.mode": "disabled",
        "table.include.list": _names([OUTBOX_TABLE, *(table.name for table in CAPTURED)]),
        "column.exclude.list": _names(left_out),
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "skipped.operations": "t",
        "decimal.handling.mode": "precise",
        # a large value that an update left alone is not in the log: it is read from the table
        "post.processors": "reselect",
        "reselect.type": "io.debezium.processors.reselect.ReselectColumnsPostProcessor",
        "reselect.reselect.unavailable.values": "true",
        "reselect.reselect.null.values": "false",
        "heartbeat.interval.ms": "5000",
        "poll.interval.ms": "50",
        "max.batch.size": "4096",
        "max.queue.size": "16384",
        "lsn.flush.mode": "connector_and_driver",
        # the driver moves an idle slot past the stored offset, which "no_validation" takes for lost history at the next
        # start; Postgres killed before a checkpoint moves it back behind. "trust_greater_lsn" would then advance the
        # slot to the last *commit* seen, which lies before the slot where only foreign WAL was written since (3.6.0)
        "offset.mismatch.strategy": "trust_slot",
        "status.update.interval.ms": "5000",
        "extended.headers.enabled": "false",
        # a database that is away is tried again for ever: no person is needed when it is back
        "errors.max.retries": "-1",
        "retriable.restart.connector.wait.ms": "2000",
        "slot.max.retries": "30",
        "slot.retry.delay.ms": "1000",
        "key.converter": "TopicConverter",
        "value.converter": _JSON,
        "value.converter.schemas.enable": "false",
        "value.converter.decimal.format": "NUMERIC",
        "value.converter.replace.null.with.default": "false",
        "producer.override.acks": "all",
        "producer.override.linger.ms": "1",
        "producer.override.batch.size": "131072",
        "producer.override.compression.type": "lz4",
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
        "predicates": "isOutbox,isTable",
        "predicates.isOutbox.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        "predicates.isOutbox.pattern": rf"{TOPIC_PREFIX}\.outbox\.outbox",
        "predicates.isTable.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        "predicates.isTable.pattern": rf"{TOPIC_PREFIX}\.(?!outbox\.)\w+\.\w+",
        "transforms": "outbox,row,topic",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.predicate": "isOutbox",
        "transforms.outbox.table.field.event.id": "id",
        "transforms.outbox.table.field.event.key": "aggregateid",
        "transforms.outbox.table.field.event.payload": "payload",
        "transforms.outbox.route.by.field": "aggregatetype",
        "transforms.outbox.route.topic.replacement": "${routedByValue}",
        "transforms.outbox.table.expand.json.payload": "true",
        "transforms.outbox.table.op.invalid.behavior": "warn",
        # the row alone, and not its envelope: a sixth of the bytes
        "transforms.row.type": "io.debezium.transforms.ExtractNewRecordState",
        "transforms.row.predicate": "isTable",
        "transforms.row.delete.tombstone.handling.mode": "rewrite",
        "transforms.row.add.fields": "op,source.ts_ms,source.lsn,source.txId",
        "transforms.topic.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.topic.predicate": "isTable",
        "transforms.topic.regex": rf"{TOPIC_PREFIX}\.(.+)",
        "transforms.topic.replacement": "cdc.$1",
    }

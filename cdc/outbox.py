"""The outbox source: rows of ``outbox.outbox`` become messages on the topic that their ``aggregatetype`` names.

The value is the row's whole payload, a CloudEvents envelope; the key is ``aggregateid``. The outbox is insert-only to
the publication: a row is deleted in the transaction that inserts it.
"""

from dataclasses import dataclass
from typing import Final

CONNECTOR: Final = "outbox-source"
SLOT: Final = "surge_outbox"
PUBLICATION: Final = "surge_outbox"
OUTBOX_TABLE: Final = "outbox.outbox"
TOPIC_PREFIX: Final = "surge"
HEARTBEAT_TOPIC: Final = f"__debezium-heartbeat.{TOPIC_PREFIX}"


@dataclass(frozen=True, slots=True)
class SourceDatabase:
    """How Connect reaches the database."""

    host: str
    port: int
    name: str
    user: str
    password: str


def connector(database: SourceDatabase) -> dict[str, str]:
    """The connector's whole configuration."""
    json = "org.apache.kafka.connect.json.JsonConverter"
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
        "table.include.list": OUTBOX_TABLE.replace(".", r"\."),
        "snapshot.mode": "no_data",
        "tombstones.on.delete": "false",
        "skipped.operations": "u,d,t",
        "heartbeat.interval.ms": "5000",
        "poll.interval.ms": "50",
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
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        "value.converter": json,
        "value.converter.schemas.enable": "false",
        "value.converter.replace.null.with.default": "false",
        "producer.override.acks": "all",
        "producer.override.linger.ms": "1",
        "producer.override.compression.type": "lz4",
        "topic.creation.default.replication.factor": "1",
        "topic.creation.default.partitions": "1",
        "predicates": "isOutbox",
        "predicates.isOutbox.type": "org.apache.kafka.connect.transforms.predicates.TopicNameMatches",
        "predicates.isOutbox.pattern": rf"{TOPIC_PREFIX}\.outbox\.outbox",
        "transforms": "outbox",
        "transforms.outbox.type": "io.debezium.transforms.outbox.EventRouter",
        "transforms.outbox.predicate": "isOutbox",
        "transforms.outbox.table.field.event.id": "id",
        "transforms.outbox.table.field.event.key": "aggregateid",
        "transforms.outbox.table.field.event.payload": "payload",
        "transforms.outbox.route.by.field": "aggregatetype",
        "transforms.outbox.route.topic.replacement": "${routedByValue}",
        "transforms.outbox.table.expand.json.payload": "true",
        "transforms.outbox.table.op.invalid.behavior": "warn",
    }

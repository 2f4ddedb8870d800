"""The sinks: JDBC connectors that write topics into the warehouse's raw tables.

Topics carry JSON without schemas; the connector is given each table's as ``schema.TOPIC``, rendered from the shop's
catalogue (see ``stack/infra/connect/TopicConverter.java``). A column that the schema does not know yet is not written,
so a migration holds the sinks until they have been rendered anew (:mod:`cdc.migration`).
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from cdc.catalogue import CatalogueError, Column, Table
from cdc.raw import EVENT_COLUMNS, EVENTS_TABLE
from cdc.tables import RAW
from cdc.topics import DEAD_LETTERS

_EPOCH: Final = datetime(1970, 1, 1)

EVENTS_TOPIC: Final = "storefront-events"

TABLES: Final = "warehouse-tables"
EVENTS: Final = "warehouse-events"
GROUP: Final = f"connect-{TABLES}"
"""The consumer group that Connect gives the sink."""

_SIMPLE: Final[dict[str, dict[str, Any]]] = {
    "smallint": {"type": "int16"},
    "integer": {"type": "int32"},
    "bigint": {"type": "int64"},
    "boolean": {"type": "boolean"},
    "real": {"type": "float"},
    "double precision": {"type": "double"},
    "text": {"type": "string"},
    "character varying": {"type": "string"},
    "character": {"type": "string"},
    "uuid": {"type": "string", "name": "io.debezium.data.Uuid", "version": 1},
    "jsonb": {"type": "string", "name": "io.debezium.data.Json", "version": 1},
    "json": {"type": "string", "name": "io.debezium.data.Json", "version": 1},
    "date": {"type": "int32", "name": "io.debezium.time.Date", "version": 1},
    "timestamp with time zone": {"type": "string", "name": "io.debezium.time.ZonedTimestamp", "version": 1},
    "timestamp without time zone": {"type": "int64", "name": "io.debezium.time.MicroTimestamp", "version": 1},
}
"""Postgres' types as Debezium writes them, in the form of a JSON converter's schema."""

_TYPE: Final = re.compile(r"^([a-z ]+?)(?:\((\d+)(?:,(\d+))?\))?( with(?:out)? time zone)?$")

META_FIELDS: Final = (
    {"field": "__op", "type": "string", "optional": True},
    {"field": "__source_ts_ms", "type": "int64", "optional": True},
    {"field": "__source_lsn", "type": "int64", "optional": True},
)


def field(column: Column, *, optional: bool) -> dict[str, Any]:
    """A column as a field of a JSON converter's schema.

    Raises:
        CatalogueError: if its type has no counterpart.
    """
    matched = _TYPE.match(column.type)
    name = f"{matched[1]}{matched[4] or ''}" if matched else ""
    if matched and name == "numeric" and matched[3]:
        kind: dict[str, Any] = {
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "version": 1,
            "parameters": {"scale": matched[3], "connect.decimal.precision": matched[2]},
        }
    elif name in _SIMPLE:
        kind = _SIMPLE[name]
    else:
        raise CatalogueError(f"column {column.name}: the warehouse's sink has no type for {column.type}")
    described = {**kind, "field": column.name, "optional": optional}
    if column.missing is not None and not column.nullable:
        # of changes that are older than the column
        described["default"] = _default(name, kind["type"], column.missing)
    return described


def _default(name: str, kind: str, text: str) -> Any:
    """Postgres' text of a value as the topic would carry it."""
    match name, kind:
        case "date", _:
            return (date.fromisoformat(text) - _EPOCH.date()).days
        case "timestamp without time zone", _:
            return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)
        case "timestamp with time zone", _:
            return datetime.fromisoformat(text).astimezone(UTC).isoformat().replace("+00:00", "Z")
        case _, "int16" | "int32" | "int64":
            return int(text)
        case _, "float" | "double" | "bytes":
            return float(text)
        case _, "boolean":
            return text in ("t", "true")
        case _:
            return text


def value_schema(table: Table) -> dict[str, Any]:
    """The schema of a row's change."""
    fields = [field(column, optional=column.name not in table.key) for column in table.columns]
    return {"type": "struct", "optional": False, "name": f"{table.topic}.Value", "fields": [*fields, *META_FIELDS]}


def key_schema(table: Table) -> dict[str, Any]:
    """The schema of a row's key."""
    columns = {column.name: column for column in table.columns}
    fields = [field(columns[name], optional=False) for name in table.key]
    return {"type": "struct", "optional": False, "name": f"{table.topic}.Key", "fields": fields}


def _content(schema: dict[str, Any]) -> str:
    return orjson.dumps(schema, option=orjson.OPT_SORT_KEYS).decode()


def _common(warehouse: dict[str, str]) -> dict[str, str]:
    return {
        "connector.class": "io.debezium.connector.jdbc.JdbcSinkConnector",
        "tasks.max": "1",
        "connection.url": (
            f"jdbc:postgresql://{warehouse['host']}:{warehouse['port']}/{warehouse['database']}"
            f"?currentSchema={RAW}&ApplicationName=sink"
        ),
        "connection.username": "loader",
        "connection.password": warehouse["password"],
        "connection.pool.min_size": "1",
        "connection.pool.max_size": "4",
        # a warehouse that is away is waited for; the watchdog restarts a task that gave up
        "connection.restart.on.errors": "true",
        "flush.max.retries": "5",
        "flush.retry.delay.ms": "1000",
        "insert.mode": "upsert",
        "delete.enabled": "false",
        "schema.evolution": "none",
        "collection.name.format": f"{RAW}.${{topic}}",
        "quote.identifiers": "false",
        "use.time.zone": "UTC",
        # a batch is one statement of arrays; rows that it holds twice must be reduced to their last version for that
        "dialect.postgres.unnest.insert.enabled": "true",
        "use.reduction.buffer": "true",
        "batch.size": "2000",
        "consumer.override.max.poll.records": "5000",
        "consumer.override.max.partition.fetch.bytes": "8388608",
        # a tenth of a second's changes go together: a third of the transactions, for both servers
        "consumer.override.fetch.min.bytes": "131072",
        "consumer.override.fetch.max.wait.ms": "100",
        "consumer.override.auto.offset.reset": "earliest",
        "consumer.override.metadata.max.age.ms": "10000",
        "errors.tolerance": "all",
        "errors.log.enable": "true",
        "errors.deadletterqueue.topic.name": DEAD_LETTERS,
        "errors.deadletterqueue.topic.replication.factor": "1",
        "errors.deadletterqueue.context.headers.enable": "true",
        "key.converter": "TopicConverter",
        "value.converter": "TopicConverter",
        "value.converter.decimal.format": "NUMERIC",
        "value.converter.replace.null.with.default": "true",
    }


def tables_connector(warehouse: dict[str, str], tables: Sequence[Table]) -> dict[str, str]:
    """The configuration of the sink of the captured tables.

    ``warehouse`` has host, port, database and the loader's password. One task: a table's order is its topic's, and one
    writes faster than the shop changes rows.
    """
    settings = {
        **_common(warehouse),
        "topics": ",".join(table.topic for table in tables),
        "primary.key.mode": "record_key",
        "transforms": "emitted,table",
        "transforms.emitted.type": "EmittedAt",
        "transforms.table.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.table.regex": r"cdc\.(\w+)\.(\w+)",
        "transforms.table.replacement": "$1_$2",
    }
    for table in tables:
        settings[f"key.converter.schema.{table.topic}"] = _content(key_schema(table))
        settings[f"value.converter.schema.{table.topic}"] = _content(value_schema(table))
    return settings


_EVENT_FIELDS: Final = tuple(
    field(Column(name, type_, nullable=True), optional=name != "event_id")
    for name, type_ in EVENT_COLUMNS
    if name != "__emitted_at"
)


def events_connector(warehouse: dict[str, str]) -> dict[str, str]:
    """The configuration of the sink of what visitors do, which is in Kafka alone."""
    schema = {"type": "struct", "optional": False, "name": f"{EVENTS}.Value", "fields": list(_EVENT_FIELDS)}
    return {
        **_common(warehouse),
        "topics": EVENTS_TOPIC,
        "key.converter": "org.apache.kafka.connect.storage.StringConverter",
        f"value.converter.schema.{EVENTS_TOPIC}": _content(schema),
        "primary.key.mode": "record_value",
        "primary.key.fields": "event_id",
        "transforms": "emitted,table",
        "transforms.emitted.type": "EmittedAt",
        "transforms.table.type": "org.apache.kafka.connect.transforms.RegexRouter",
        "transforms.table.regex": re.escape(EVENTS_TOPIC),
        "transforms.table.replacement": EVENTS_TABLE,
    }


def connectors(warehouse: dict[str, str], tables: Sequence[Table]) -> dict[str, dict[str, str]]:
    """Every sink by name."""
    return {TABLES: tables_connector(warehouse, tables), EVENTS: events_connector(warehouse)}

"""Schemas, connectors and raw tables follow from the shop's catalogue; secrets are in none of them."""

import re

import orjson
import pytest

from cdc import raw, sink, source
from cdc.catalogue import CatalogueError, Column, Table
from cdc.source import SourceDatabase
from cdc.tables import BY_NAME, CAPTURED

SHOP = SourceDatabase(host="shop", port=1, name="surge", user="debezium", password="p")
WAREHOUSE = {"host": "warehouse", "port": "2", "database": "warehouse", "password": "p"}

ORDERS = Table(
    BY_NAME["orders.orders"],
    (
        Column("id", "uuid", nullable=False),
        Column("total_amount", "numeric(12,2)", nullable=False),
        Column("currency", "character(3)", nullable=False),
        Column("sale", "jsonb", nullable=True),
        Column("created_at", "timestamp with time zone", nullable=False),
    ),
    ("id",),
    old_rows=False,
)
PRICES = Table(
    BY_NAME["catalog.price_history"],
    (Column("product_id", "uuid", nullable=False), Column("version", "integer", nullable=False)),
    ("product_id", "version"),
    old_rows=True,
)


def test_a_columns_type_is_what_debezium_writes() -> None:
    fields = {field["field"]: field for field in sink.value_schema(ORDERS)["fields"]}

    assert (fields["id"]["type"], fields["id"]["name"]) == ("string", "io.debezium.data.Uuid")
    assert fields["total_amount"]["parameters"] == {"scale": "2", "connect.decimal.precision": "12"}
    assert fields["currency"]["type"] == "string"
    assert fields["sale"]["name"] == "io.debezium.data.Json"
    assert fields["created_at"]["name"] == "io.debezium.time.ZonedTimestamp"
    assert {"__op", "__source_ts_ms", "__source_lsn"} <= fields.keys()


def test_only_the_key_must_be_there() -> None:
    fields = sink.value_schema(ORDERS)["fields"]

    assert [field["field"] for field in fields if not field["optional"]] == ["id"]
    assert [field["field"] for field in sink.key_schema(PRICES)["fields"]] == ["product_id", "version"]


@pytest.mark.parametrize("type_", ["uuid[]", "point", "numeric"])
def test_a_type_without_counterpart_is_refused(type_: str) -> None:
    with pytest.raises(CatalogueError, match="no type for"):
        sink.field(Column("odd", type_, nullable=True), optional=True)


def test_what_is_older_than_a_column_gets_what_the_shop_gave_it() -> None:
    column = Column("gift", "boolean", nullable=False, defaulted=True, missing="f")

    assert sink.field(column, optional=True)["default"] is False
    assert "default" not in sink.field(Column("gift", "boolean", nullable=True, missing="f"), optional=True)


@pytest.mark.parametrize(
    ("type_", "text", "default"),
    [
        ("date", "2026-01-02", 20_455),
        ("timestamp without time zone", "2026-01-02 03:04:05", 1_767_323_045_000_000),
        ("timestamp with time zone", "2026-01-02 03:04:05+01", "2026-01-02T02:04:05Z"),
        ("numeric(12,2)", "1.50", 1.5),
        ("text", "web", "web"),
    ],
)
def test_what_the_shop_gave_is_written_as_the_topic_would_carry_it(type_: str, text: str, default: object) -> None:
    assert sink.field(Column("since", type_, nullable=False, missing=text), optional=True)["default"] == default


def test_every_topic_has_its_schemas() -> None:
    connector = sink.tables_connector(WAREHOUSE, [ORDERS, PRICES])

    for topic in connector["topics"].split(","):
        assert orjson.loads(connector[f"key.converter.schema.{topic}"])["type"] == "struct"
        assert orjson.loads(connector[f"value.converter.schema.{topic}"])["type"] == "struct"
        table = re.sub(connector["transforms.table.regex"], r"\1_\2", topic)
        assert table in {ORDERS.raw, PRICES.raw}


def test_a_raw_table_has_its_sources_columns_and_where_rows_came_from() -> None:
    statement = raw.create(ORDERS)

    assert '"total_amount" numeric(12,2),' in statement
    assert "__deleted boolean GENERATED ALWAYS AS (__op = 'd') STORED" in statement
    assert 'PRIMARY KEY ("id")' in statement


def test_secrets_stay_in_the_shop() -> None:
    secret = re.compile(r"password|token|hash|idempotency|secret")
    excluded = set(source.connector(SHOP)["column.exclude.list"].replace("\\", "").split(","))

    assert {
        "accounts.users.password_hash",
        "orders.orders.payment_token",
        "orders.orders.idempotency_key",
        "orders.orders.request_hash",
        "payments.payments.token",
        "inventory.stock_ledger.idempotency_key",
    } <= excluded
    assert not [table.name for table in CAPTURED if secret.search(table.table)]


def test_outbox_and_tables_take_different_ways() -> None:
    connector = source.connector(SHOP)
    outbox, table = (re.compile(connector[f"predicates.{name}.pattern"]) for name in ("isOutbox", "isTable"))

    assert outbox.fullmatch("surge.outbox.outbox")
    assert not table.fullmatch("surge.outbox.outbox")
    assert table.fullmatch("surge.orders.order_items")
    assert not table.fullmatch(source.HEARTBEAT_TOPIC)
    assert not table.fullmatch(source.MARK_TOPIC)
    topic = re.sub(connector["transforms.topic.regex"], r"cdc.\1", "surge.orders.order_items")
    assert topic == BY_NAME["orders.order_items"].topic


@pytest.mark.parametrize(
    ("before", "after", "widens"),
    [
        ("integer", "bigint", True),
        ("bigint", "integer", False),
        ("character varying(20)", "text", True),
        ("numeric(10,2)", "numeric(12,2)", True),
        ("numeric(12,2)", "numeric(12,4)", False),
        ("integer", "text", False),
    ],
)
def test_a_wider_type_needs_no_copy(before: str, after: str, widens: bool) -> None:
    assert raw.widens(before, after) is widens


def test_a_new_column_needs_no_copy_where_its_old_rows_are_known() -> None:
    assert raw.knowable(Column("a", "integer", nullable=True))
    assert raw.knowable(Column("a", "integer", nullable=False, defaulted=True, missing="5"))
    assert not raw.knowable(Column("a", "integer", nullable=True, defaulted=True, missing="5"))
    assert not raw.knowable(Column("a", "uuid", nullable=False, defaulted=True))

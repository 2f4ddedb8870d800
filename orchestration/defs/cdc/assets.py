"""What the warehouse is fed from: the topics of change data capture, and the raw tables that they land in.

Neither is made by Dagster: Debezium and its sinks write them all the time. They are in the graph so that it is one
piece, and are told of by ``sensors.raw_tables``, which sees what has arrived.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import dagster as dg

from cdc.raw import EVENTS_TABLE
from cdc.tables import CAPTURED
from contracts import topics

TOPICS: Final = "topics"
RAW: Final = "raw"


def raw_key(table: str) -> dg.AssetKey:
    """The asset of a raw table, as dbt's sources name it."""
    return dg.AssetKey([RAW, table])


def specs(freshness: Mapping[dg.AssetKey, dg.FreshnessPolicy]) -> Iterator[dg.AssetSpec]:
    """A topic and a raw table for each of the shop's tables that are captured, and for what visitors do."""
    streams = [(table.raw, table.topic, f"Changes of the shop's {table.name}.") for table in CAPTURED]
    streams.append((EVENTS_TABLE, topics.STOREFRONT_EVENTS, "What visitors do: views, searches, carts, checkouts."))
    for table, topic, description in streams:
        topic_key = dg.AssetKey([TOPICS, topic.replace(".", "_")])
        yield dg.AssetSpec(
            topic_key, description=description, group_name=TOPICS, kinds={"kafka"}, metadata={"topic": topic}
        )
        yield dg.AssetSpec(
            raw_key(table),
            deps=[topic_key],
            description=f"{description} As they are now; deleted rows stay, marked.",
            group_name=RAW,
            kinds={"postgres"},
            metadata={"dagster/table_name": f"warehouse.raw.{table}"},
            freshness_policy=freshness.get(raw_key(table)),
        )

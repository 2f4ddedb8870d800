"""Schema ``orders``."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from seed.copy import Table, table
from seed.fraud import address_of
from seed.history import METHODS, Chunk, Ending
from seed.ids import parts
from seed.paths import path
from seed.rendered import Rendered
from seed.wire import Fixed, Json, concatenated, joined, json_list, numbered, payload, piece, pieces, take, texts

ORDERS: Final = table(
    "orders",
    "orders",
    """id user_id total_amount idempotency_key created_at updated_at client_ip status sequence cancel_reason currency
    payment_method payment_token shipping_address allocations""",
)
ITEMS: Final = table(
    "orders", "order_items", "id order_id product_id quantity price_at_purchase sku product_name category"
)
TRANSITIONS: Final = table(
    "orders",
    "order_transitions",
    "order_id occurred_at sequence message_id message_type previous_status status reason outputs",
)

TOKENS: Final = {"card": "pm_card_visa", "paypal": "B-4242", "wallet": "tok_wallet"}
"""The payment tokens that orders of the past were placed with."""

COMPACT_SEQUENCE: Final = 2
"""Of an order without recorded transitions: its story has two steps, the first and the last."""

Payload = list[memoryview]


def rows(part: Chunk, rendered: Rendered) -> Iterator[tuple[Table, Payload]]:
    """The orders, their items, and the transitions of those that have them recorded."""
    yield ORDERS, _orders(part, rendered)
    yield ITEMS, _items(part, rendered)
    if part.recorded.any():
        yield TRANSITIONS, _transitions(part)


def last_step(part: Chunk) -> npt.NDArray[np.int64]:
    """When each order last moved."""
    taken = np.array([len(path(ending).steps) - 1 for ending in Ending])[part.ending]
    moments: npt.NDArray[np.int64] = np.where(taken > 0, part.steps[np.arange(len(part)), taken - 1], part.created)
    return moments


def _orders(part: Chunk, rendered: Rendered) -> Payload:
    count = len(part)
    people = rendered.world.people
    keys = numbered(b"seed-", np.arange(part.numbers.start, part.numbers.stop), 9)
    head = (
        Fixed(count, len(ORDERS.columns))
        .uuid(part.ids)
        .uuid(people.ids[part.suspicion.customer])
        .money(part.total)
        .ascii(keys)
        .moment(part.created)
        .moment(last_step(part))
        .build()
    )
    kinds = [
        piece(
            path(ending).instance.status,
            path(ending).instance.sequence if recorded else COMPACT_SEQUENCE,
            path(ending).cancel_reason,
            rendered.currency,
            method,
            TOKENS[method],
        )
        for ending in Ending
        for recorded in (False, True)
        for method in METHODS
    ]
    kind = (part.ending * 2 + part.recorded) * len(METHODS) + part.method
    return payload(
        head,
        texts(address_of(part.suspicion.connection)),
        take(pieces(kinds), kind),
        take(rendered.addresses, part.suspicion.address),
        _allocations(part, rendered),
    )


def _allocations(part: Chunk, rendered: Rendered) -> pa.BinaryArray:
    """Where the units are taken from; only orders that may still ask for them, and recorded ones, say so."""
    told = (part.ended(Ending.PROCESSING) | part.recorded) & ~part.ended(Ending.OUT_OF_STOCK)
    which = np.flatnonzero(told)
    none = pieces([piece(Json("[]"))])
    if not len(which):
        return take(none, np.zeros(len(part), dtype=np.int64))
    lines = np.flatnonzero(told[part.line_order])
    first = np.concatenate([[0], np.cumsum(np.diff(part.first)[which])])
    entries = joined(
        take(rendered.product_entries, part.product[lines]),
        take(rendered.warehouse_entries, part.warehouse[lines]),
        take(rendered.units, part.quantity[lines]),
    )
    choices = concatenated([none, json_list(entries, first)])
    index = np.zeros(len(part), dtype=np.int64)
    index[which] = np.arange(1, len(which) + 1)
    return take(choices, index)


def _items(part: Chunk, rendered: Rendered) -> Payload:
    order = part.line_order
    number = np.arange(len(order)) - part.first[order] + 1
    order_ids = part.ids[order]
    head = (
        Fixed(len(order), len(ITEMS.columns))
        .uuid(parts(order_ids, number))
        .uuid(order_ids)
        .uuid(rendered.world.goods.draft.ids[part.product])
        .int4(part.quantity)
        .money(part.unit_price)
        .build()
    )
    return payload(head, take(rendered.products, part.product))


def _transitions(part: Chunk) -> Payload:
    kinds = []
    for ending in Ending:
        chosen = np.flatnonzero(part.recorded & (part.ending == ending))
        if not len(chosen):
            continue
        for n, step in enumerate(path(ending).steps):
            moments = part.created[chosen] if n == 0 else part.steps[chosen, n - 1]
            head = Fixed(len(chosen), len(TRANSITIONS.columns)).uuid(part.ids[chosen]).moment(moments)
            head.constant(
                step.sequence,
                f"seed-{step.sequence}",
                step.message_type,
                step.previous_status,
                step.status,
                step.reason,
                Json(orjson.dumps(step.outputs).decode()),
            )
            kinds.append(head.build())
    return payload(concatenated(kinds))

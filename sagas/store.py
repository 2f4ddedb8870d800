"""The saga's side of the order tables: every write to schema ``orders`` is here, a few statements a batch."""

import datetime as dt
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import orjson
from sqlalchemy import RowMapping, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from contracts.envelope import Envelope, decode, encode
from contracts.events import OrderCreated
from contracts.orders import Address, Allocation, OrderLine, PaymentMethod, PaymentMethodType, SaleTerms
from kit.db import ReadSession, WriteSession
from kit.ids import new_id
from sagas.batch import Birth, Changes, Snapshot
from sagas.engine import Instance, Outstanding, Transition
from sagas.order import Order


def _arrays(statement: str, *names: str) -> Any:
    return text(statement).bindparams(*(bindparam(name, type_=ARRAY(TEXT)) for name in names))


_COLUMNS = """
    id::text, user_id::text, status, total_amount, currency, cancel_reason, payment_method, payment_token,
    shipping_address, allocations, sequence, outstanding, deadline, correlation_id, sale, updated_at
"""
_LOCK = _arrays(
    f"SELECT {_COLUMNS} FROM orders.orders WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE",  # noqa: S608
    "ids",
)
_READ = _arrays(f"SELECT {_COLUMNS} FROM orders.orders WHERE id = ANY(CAST(:ids AS uuid[]))", "ids")  # noqa: S608
_DUE = text(
    f"SELECT {_COLUMNS} FROM orders.orders WHERE due_at <= :now ORDER BY due_at LIMIT :most "  # noqa: S608
    "FOR UPDATE SKIP LOCKED"
)
_RECORDED = _arrays(
    """
    SELECT order_id::text, sequence, message_id, message_type, previous_status, status, reason, outputs, occurred_at
    FROM orders.order_transitions
    WHERE (order_id, message_id) IN (SELECT * FROM unnest(CAST(:orders AS uuid[]), :messages))
    """,
    "orders",
    "messages",
)
_TAKEN_ALONG = _arrays(
    """
    SELECT order_id::text, sequence, message_id, message_type, previous_status, status, reason, outputs, occurred_at
    FROM orders.order_transitions
    WHERE (order_id, occurred_at) IN
        (SELECT id, moment FROM unnest(CAST(:orders AS uuid[]), CAST(:moments AS timestamptz[])) AS taken(id, moment))
    """,
    "orders",
    "moments",
)
_HISTORY = text(
    """
    SELECT order_id::text, sequence, message_id, message_type, previous_status, status, reason, outputs, occurred_at
    FROM orders.order_transitions WHERE order_id = CAST(:id AS uuid) ORDER BY sequence
    """
)
_PARKED = _arrays(
    "SELECT order_id::text, envelope FROM orders.parked_messages WHERE order_id = ANY(CAST(:ids AS uuid[])) "
    "ORDER BY order_id, parked_at, message_id",
    "ids",
)
_TAKEN = _arrays(
    """
    SELECT user_id::text, idempotency_key, id::text FROM orders.orders
    WHERE (user_id, idempotency_key) IN (SELECT * FROM unnest(CAST(:users AS uuid[]), :keys))
    """,
    "users",
    "keys",
)
_ITEMS = _arrays(
    """
    SELECT order_id::text, product_id::text, sku, product_name, category, quantity, price_at_purchase
    FROM orders.order_items WHERE order_id = ANY(CAST(:ids AS uuid[])) ORDER BY order_id, id
    """,
    "ids",
)
_INSERT_ORDERS = text(
    """
    INSERT INTO orders.orders (id, user_id, status, total_amount, currency, cancel_reason, payment_method,
        payment_token, shipping_address, allocations, idempotency_key, request_hash, queue_position, sequence,
        outstanding, correlation_id, due_at, deadline, log_partition, log_offset, sale, client_ip,
        created_at, updated_at)
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row(id uuid, user_id uuid, status text,
        total_amount numeric, currency text, cancel_reason text, payment_method text, payment_token text,
        shipping_address jsonb, allocations jsonb, idempotency_key text, request_hash text, queue_position integer,
        sequence integer, outstanding jsonb, correlation_id text, due_at timestamptz, deadline timestamptz,
        log_partition integer, log_offset bigint, sale jsonb, client_ip text, created_at timestamptz,
        updated_at timestamptz)
    """
)
_INSERT_ITEMS = text(
    """
    INSERT INTO orders.order_items
        (id, order_id, product_id, sku, product_name, category, quantity, price_at_purchase)
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row(id uuid, order_id uuid, product_id uuid, sku text,
        product_name text, category text, quantity integer, price_at_purchase numeric)
    """
)
_UPDATE_ORDERS = text(
    """
    UPDATE orders.orders AS o SET status = row.status, cancel_reason = row.cancel_reason,
        allocations = row.allocations, sequence = row.sequence, outstanding = row.outstanding,
        due_at = row.due_at, deadline = row.deadline, updated_at = row.updated_at
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row(id uuid, status text, cancel_reason text, allocations jsonb,
        sequence integer, outstanding jsonb, due_at timestamptz, deadline timestamptz, updated_at timestamptz)
    WHERE o.id = row.id
    """
)
_INSERT_TRANSITIONS = text(
    """
    INSERT INTO orders.order_transitions
        (order_id, sequence, message_id, message_type, previous_status, status, reason, outputs, occurred_at)
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS row(order_id uuid, sequence integer, message_id text,
        message_type text, previous_status text, status text, reason text, outputs jsonb, occurred_at timestamptz)
    """
)
_PARK = text(
    """
    INSERT INTO orders.parked_messages (order_id, message_id, envelope, parked_at)
    SELECT * FROM jsonb_to_recordset(CAST(:rows AS jsonb))
        AS row(order_id uuid, message_id text, envelope jsonb, parked_at timestamptz)
    ON CONFLICT DO NOTHING
    """
)
_UNPARK = _arrays(
    """
    DELETE FROM orders.parked_messages
    WHERE (order_id, message_id) IN (SELECT * FROM unnest(CAST(:orders AS uuid[]), :messages))
    """,
    "orders",
    "messages",
)


def _order(row: RowMapping) -> Order:
    return Order(
        order_id=row["id"],
        user_id=row["user_id"],
        total_amount=int(row["total_amount"] * 100),
        currency=row["currency"],
        payment_method=PaymentMethod(type=PaymentMethodType(row["payment_method"]), token=row["payment_token"]),
        shipping_address=msgspec.convert(row["shipping_address"], Address),
        allocations=tuple(msgspec.convert(row["allocations"], list[Allocation])),
        cancel_reason=row["cancel_reason"],
        correlation_id=row["correlation_id"],
        sale=msgspec.convert(row["sale"], SaleTerms) if row["sale"] is not None else None,
        instance=Instance(
            status=row["status"],
            sequence=row["sequence"],
            outstanding=tuple(msgspec.convert(row["outstanding"], list[Outstanding])),
            deadline=row["deadline"],
        ),
    )


def _transition(row: RowMapping) -> Transition:
    return Transition(
        sequence=row["sequence"],
        message_id=row["message_id"],
        message_type=row["message_type"],
        previous_status=row["previous_status"],
        status=row["status"],
        reason=row["reason"],
        outputs=tuple(row["outputs"]),
        occurred_at=row["occurred_at"],
    )


async def load(session: WriteSession, messages: Sequence[tuple[str, str]], keys: Sequence[tuple[str, str]]) -> Snapshot:
    """Locks the orders of a batch in id order, and reads what its messages ``(order id, message id)`` met before.

    ``keys`` are the ``(user id, idempotency key)`` pairs of new orders.
    """
    snapshot = Snapshot()
    ids = sorted({order_id for order_id, _ in messages})
    for row in (await session.execute(_LOCK, {"ids": ids})).mappings():
        snapshot.orders[row["id"]] = _order(row)
    if snapshot.orders:
        known = [pair for pair in messages if pair[0] in snapshot.orders]
        pairs = {"orders": [order for order, _ in known], "messages": [message for _, message in known]}
        for row in (await session.execute(_RECORDED, pairs)).mappings():
            snapshot.recorded[row["order_id"], row["message_id"]] = _transition(row)
    if snapshot.recorded:
        # a batch's steps share their moment; what was parked before it comes again with what took it up
        moments = {(order_id, step.occurred_at.isoformat()) for (order_id, _), step in snapshot.recorded.items()}
        pairs = {"orders": [order for order, _ in moments], "moments": [moment for _, moment in moments]}
        for row in (await session.execute(_TAKEN_ALONG, pairs)).mappings():
            snapshot.recorded[row["order_id"], row["message_id"]] = _transition(row)
    for row in (await session.execute(_PARKED, {"ids": ids})).mappings():
        snapshot.parked.setdefault(row["order_id"], []).append(decode(orjson.dumps(row["envelope"])))
    if keys:
        pairs = {"users": [user for user, _ in keys], "keys": [key for _, key in keys]}
        for row in (await session.execute(_TAKEN, pairs)).mappings():
            snapshot.taken_keys[row["user_id"], row["idempotency_key"]] = row["id"]
    return snapshot


async def load_due(session: WriteSession, now: dt.datetime, most: int) -> list[Order]:
    """Locks up to ``most`` orders whose time has come and that nobody else holds."""
    return [_order(row) for row in (await session.execute(_DUE, {"now": now, "most": most})).mappings()]


async def load_lines(session: ReadSession, order_ids: Iterable[str]) -> dict[str, tuple[OrderLine, ...]]:
    """The lines of orders."""
    lines: dict[str, list[OrderLine]] = {}
    for row in (await session.execute(_ITEMS, {"ids": list(order_ids)})).mappings():
        lines.setdefault(row["order_id"], []).append(
            OrderLine(
                product_id=row["product_id"],
                sku=row["sku"],
                name=row["product_name"],
                category=row["category"],
                quantity=row["quantity"],
                unit_price=int(row["price_at_purchase"] * 100),
            )
        )
    return {order_id: tuple(rows) for order_id, rows in lines.items()}


async def find(session: ReadSession, order_id: str) -> Order | None:
    """One order, not locked."""
    row = (await session.execute(_READ, {"ids": [order_id]})).mappings().first()
    return _order(row) if row is not None else None


async def history(session: ReadSession, order_id: str) -> list[Transition]:
    """An order's transitions, oldest first."""
    return [_transition(row) for row in (await session.execute(_HISTORY, {"id": order_id})).mappings()]


async def parked(session: ReadSession, order_id: str) -> list[Envelope]:
    """The messages that wait for an order to get where they belong."""
    rows = (await session.execute(_PARKED, {"ids": [order_id]})).mappings()
    return [decode(orjson.dumps(row["envelope"])) for row in rows]


def plain(value: object) -> object:
    """Orders, transitions and envelopes as JSON's own types."""
    return msgspec.to_builtins(value)


def _money(minor: int) -> str:
    return str(Decimal(minor) / 100)


def _state(order: Order, updated_at: dt.datetime) -> dict[str, Any]:
    instance = order.instance
    return {
        "id": order.order_id,
        "status": instance.status,
        "cancel_reason": order.cancel_reason,
        "allocations": msgspec.to_builtins(order.allocations),
        "sequence": instance.sequence,
        "outstanding": msgspec.to_builtins(instance.outstanding),
        "due_at": instance.due_at,
        "deadline": instance.deadline,
        "updated_at": updated_at,
    }


def _birth(birth: Birth, order: Order, now: dt.datetime) -> dict[str, Any]:
    created = birth.created
    return {
        **_state(order, now),
        "user_id": created.user_id,
        "total_amount": _money(created.total_amount),
        "currency": created.currency,
        "payment_method": created.payment_method.type,
        "payment_token": created.payment_method.token,
        "shipping_address": msgspec.to_builtins(created.shipping_address),
        "idempotency_key": created.idempotency_key,
        "request_hash": created.request_hash,
        "queue_position": created.queue_position,
        "correlation_id": order.correlation_id,
        "log_partition": birth.partition,
        "log_offset": birth.offset,
        "sale": msgspec.to_builtins(created.sale),
        "client_ip": created.client_ip,
        "created_at": created.created_at,
    }


def _items(created: OrderCreated) -> list[dict[str, Any]]:
    return [
        {
            "id": new_id(),
            "order_id": created.order_id,
            "product_id": line.product_id,
            "sku": line.sku,
            "product_name": line.name,
            "category": line.category,
            "quantity": line.quantity,
            "price_at_purchase": _money(line.unit_price),
        }
        for line in created.lines
    ]


async def save(session: WriteSession, changes: Changes, now: dt.datetime) -> None:
    """Writes a batch's changes, at most one statement a table and kind."""

    async def run(statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            await session.execute(statement, {"rows": orjson.dumps(rows).decode()})

    born = {order.order_id for _, order in changes.births}
    await run(_INSERT_ORDERS, [_birth(birth, changes.orders[order.order_id], now) for birth, order in changes.births])
    await run(_INSERT_ITEMS, [item for birth, _ in changes.births for item in _items(birth.created)])
    await run(_UPDATE_ORDERS, [_state(o, now) for key, o in sorted(changes.orders.items()) if key not in born])
    await run(
        _INSERT_TRANSITIONS,
        [{"order_id": order_id, **msgspec.to_builtins(step)} for order_id, step in changes.transitions],
    )
    await run(
        _PARK,
        [
            {
                "order_id": envelope.subject,
                "message_id": envelope.id,
                "envelope": orjson.Fragment(encode(envelope)),
                "parked_at": now,
            }
            for envelope in changes.park
        ],
    )
    if changes.unpark:
        orders, messages = zip(*changes.unpark, strict=True)
        await session.execute(_UNPARK, {"orders": list(orders), "messages": list(messages)})

"""Schema ``orders``."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import orjson

from contracts.orders import Address
from seed.copy import Table, table
from seed.ids import item_ids
from seed.money import dollars
from seed.placed import PlacedOrder
from seed.rows.payments import token

ORDERS: Final = table(
    "orders",
    "orders",
    """id user_id status total_amount currency cancel_reason payment_method payment_token shipping_address allocations
    idempotency_key sequence created_at updated_at""",
)
ITEMS: Final = table(
    "orders", "order_items", "id order_id product_id sku product_name category quantity price_at_purchase"
)
TRANSITIONS: Final = table(
    "orders",
    "order_transitions",
    "order_id sequence message_id message_type previous_status status reason outputs occurred_at",
)


def rows(
    orders: Iterable[PlacedOrder], *, currency: str, warehouses: list[str]
) -> Iterator[tuple[Table, list[tuple[Any, ...]]]]:
    """The orders, their items and their transitions."""
    heads: list[tuple[Any, ...]] = []
    items: list[tuple[Any, ...]] = []
    steps: list[tuple[Any, ...]] = []
    addresses: dict[int, str] = {}
    for order in orders:
        address = addresses.get(id(order.customer))
        if address is None:
            address = addresses[id(order.customer)] = _address(order.customer.address)
        heads.append(
            (
                order.order_id,
                order.customer.user_id,
                order.path.instance.status,
                dollars(order.total),
                currency,
                order.path.cancel_reason,
                order.method,
                token(order),
                address,
                _allocations(order, warehouses),
                f"seed-{order.number}",
                order.path.instance.sequence,
                order.created_at,
                order.updated_at,
            )
        )
        for item_id, line in zip(item_ids(order.order_id, len(order.lines)), order.lines, strict=True):
            product = line.product
            items.append(
                (
                    item_id,
                    order.order_id,
                    product.product_id,
                    product.sku,
                    product.name,
                    product.category,
                    line.quantity,
                    dollars(line.unit_price),
                )
            )
        for step, moment in zip(order.path.steps, order.moments, strict=True):
            steps.append(
                (
                    order.order_id,
                    step.sequence,
                    f"seed-{step.sequence}",
                    step.message_type,
                    step.previous_status,
                    step.status,
                    step.reason,
                    orjson.dumps(step.outputs).decode(),
                    moment,
                )
            )
    yield ORDERS, heads
    yield ITEMS, items
    yield TRANSITIONS, steps


def _address(address: Address) -> str:
    return msgspec.json.encode(address).decode()


def _allocations(order: PlacedOrder, warehouses: list[str]) -> str:
    if not order.reserved:
        return "[]"
    parts = [
        {
            "product_id": str(line.product.product_id),
            "warehouse_id": warehouses[line.warehouse],
            "quantity": line.quantity,
        }
        for line in order.lines
    ]
    return orjson.dumps(parts).decode()

"""Redis keys that more than one process reads or writes. A service's private keys stay in the service."""

from typing import Final

HOLD_SECONDS: Final = 600
"""How long stock is held for an unpaid order (specification: 10 minutes)."""


def cart(user_id: str) -> str:
    """HASH ``{product_id: quantity}``."""
    return f"cart:{user_id}"


def stock(product_id: str) -> str:
    """STRING, units that can still be reserved over all warehouses. Missing: not known, rebuild from Postgres."""
    return f"inventory:{product_id}"


def stock_lock(product_id: str) -> str:
    """SET of the ids of orders that hold units of the product; expires after :data:`HOLD_SECONDS`."""
    return f"inventory_lock:{product_id}"


def product(product_id: str) -> str:
    """STRING, JSON of :class:`contracts.products.ProductCard`; a cache, filled on a miss."""
    return f"product:{product_id}"


def accepted_order(order_id: str) -> str:
    """STRING, JSON of the ``order.created`` payload: answers reads until the saga has written the order."""
    return f"order:{order_id}"


def order_seen(order_id: str) -> str:
    """STRING, the newest step of an order that somebody was shown: who can't read as far shows nothing instead."""
    return f"order_seen:{order_id}"


def order_channel(order_id: str) -> str:
    """Pub/sub channel of one order's transitions."""
    return f"orders:{order_id}"


def user_channel(user_id: str) -> str:
    """Pub/sub channel of all transitions of one customer's orders."""
    return f"users:{user_id}"


def sale(sale_id: str) -> str:
    """HASH, a flash sale as gateways admit to it: ``claimed`` units (of orders that have not ended), and ``sold`` ones.

    Like the two keys below it lasts until a day after the sale, and is rebuilt from the orders.
    """
    return f"sale:{sale_id}"


def sale_claims(sale_id: str) -> str:
    """HASH of a flash sale's orders that have not ended: id → ``{user id}:{units}:{claimed or sold}:{since, ms}``."""
    return f"sale_claims:{sale_id}"


def sale_customers(sale_id: str) -> str:
    """HASH user id → units that the customer has, or waits for, in a flash sale."""
    return f"sale_customers:{sale_id}"


def recent_orders(user_id: str) -> str:
    """ZSET of the ids of a customer's last accepted orders by acceptance time (ms); lasts as long as their records.

    Lists use it to show an order that no store has heard of yet.
    """
    return f"recent_orders:{user_id}"

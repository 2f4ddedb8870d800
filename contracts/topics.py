"""Kafka topics: who writes them, who reads them. Every key is the aggregate's id, so one aggregate is one order.

Orders of a flash sale are queued up with each other: ``order.created`` and ``inventory.reserve`` of such an order are
keyed by the sale's product.
"""

from typing import Final, NamedTuple

ORDER_EVENTS: Final = "order-events"
INVENTORY_EVENTS: Final = "inventory-events"
PAYMENT_EVENTS: Final = "payment-events"
SHIPPING_EVENTS: Final = "shipping-events"
NOTIFICATION_EVENTS: Final = "notification-events"

ORDER_COMMANDS: Final = "order-commands"
INVENTORY_COMMANDS: Final = "inventory-commands"
PAYMENT_COMMANDS: Final = "payment-commands"
SHIPPING_COMMANDS: Final = "shipping-commands"

CATALOG_EVENTS: Final = "catalog-events"
ACCOUNT_EVENTS: Final = "account-events"
SALE_EVENTS: Final = "sale-events"
STOREFRONT_EVENTS: Final = "storefront-events"
PLATFORM_EVENTS: Final = "platform-events"
DEAD_LETTERS: Final = "dead-letters"


class Topic(NamedTuple):
    """A topic's shape. ``key`` names the id that every message is keyed by; ``days`` is for how long they are kept."""

    name: str
    key: str
    purpose: str
    partitions: int = 6
    days: int | None = None


TOPICS: Final = (
    Topic(
        ORDER_EVENTS,
        "order id, or a flash sale's product id",
        "an order was created, or moved from one status to another",
    ),
    Topic(INVENTORY_EVENTS, "order id or product id", "stock was reserved, released, fulfilled or changed"),
    Topic(PAYMENT_EVENTS, "order id", "a payment succeeded, failed, was voided or refunded"),
    Topic(SHIPPING_EVENTS, "order id", "a shipment was created, moved, delivered or cancelled"),
    Topic(NOTIFICATION_EVENTS, "order id or user id", "an email, SMS or push message was sent or failed"),
    Topic(ORDER_COMMANDS, "order id", "what customers, admins and clocks ask of the order saga"),
    Topic(INVENTORY_COMMANDS, "order id, or a flash sale's product id", "what the saga asks of inventory"),
    Topic(PAYMENT_COMMANDS, "order id", "what the saga asks of payments"),
    Topic(SHIPPING_COMMANDS, "order id", "what the saga asks of shipping"),
    Topic(CATALOG_EVENTS, "product id", "a product was created, changed, re-priced or deactivated"),
    Topic(ACCOUNT_EVENTS, "user id", "a customer registered or changed their contact data"),
    Topic(SALE_EVENTS, "product id", "a flash sale was ended before its time"),
    Topic(STOREFRONT_EVENTS, "session id", "a visitor looked, searched, changed a cart or went to checkout", days=7),
    Topic(PLATFORM_EVENTS, "alert id", "the data platform found something that people have to look at", days=30),
    Topic(DEAD_LETTERS, "the message's own key", "messages that a consumer gave up on, with the error", 1),
)

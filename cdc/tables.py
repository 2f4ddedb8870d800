"""Which of the shop's tables the warehouse keeps, and what stays behind of each.

Left out: secrets and keys (passwords, payment tokens, idempotency keys, request hashes), what only the services' own
machinery needs (outstanding commands, retry times), and whole tables of that kind (reservations, parked messages,
gates, notifications, sessions). The saga's transitions stay behind too: they are the most rows that an order leaves,
settled history has none, and when an order was placed, paid, sent and delivered is on the order, its payment and its
parcels.
"""

from dataclasses import dataclass
from typing import Final

RAW: Final = "raw"
"""The warehouse's schema."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A table of the shop, as ``schema.table``, and the columns of it that are not captured.

    ``hot``: its rows are changed several times an order and never deleted, so its log records carry no old row. Every
    other table's do: a deleted row keeps its last values in the warehouse.
    """

    name: str
    without: frozenset[str] = frozenset()
    hot: bool = False

    @property
    def schema(self) -> str:
        return self.name.partition(".")[0]

    @property
    def table(self) -> str:
        return self.name.partition(".")[2]

    @property
    def raw(self) -> str:
        """Its table in the schema ``raw``."""
        return self.name.replace(".", "_")

    @property
    def topic(self) -> str:
        """The Kafka topic that its changes pass through."""
        return f"cdc.{self.name}"


def _captured(name: str, *without: str, hot: bool = False) -> Captured:
    return Captured(name, frozenset(without), hot)


CAPTURED: Final = (
    _captured("accounts.users", "password_hash"),
    _captured("accounts.addresses"),
    _captured("catalog.categories"),
    _captured("catalog.products", "changed_xid"),
    _captured("catalog.price_history"),
    _captured("catalog.product_costs"),
    _captured("catalog.competitor_prices"),
    _captured("experiments.experiments"),
    _captured("experiments.assignments"),
    _captured(
        "orders.orders",
        "payment_token",
        "allocations",
        "idempotency_key",
        "request_hash",
        "outstanding",
        "correlation_id",
        "due_at",
        "deadline",
        "log_partition",
        "log_offset",
        hot=True,
    ),
    _captured("orders.order_items"),
    _captured(
        "payments.payments", "token", "provider_reference", "answer", "waiting", "next_attempt_at", "tries", hot=True
    ),
    _captured("payments.payment_attempts", "idempotency_key"),
    _captured("payments.refunds", "provider_reference"),
    _captured("payments.disputes"),
    _captured("shipping.shipments", "next_event_at", hot=True),
    _captured("shipping.warehouse_locations"),
    _captured("inventory.warehouses"),
    _captured("inventory.inventory", hot=True),
    _captured("inventory.stock_ledger", "idempotency_key"),
    _captured("sales.sales"),
)
"""One that the shop's migrations have not made yet is taken up with the migration that makes it."""

BY_NAME: Final = {table.name: table for table in CAPTURED}
BY_RAW: Final = {table.raw: table for table in CAPTURED}

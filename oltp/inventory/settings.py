"""Settings of the inventory worker."""

from typing import Literal

from pydantic import Field

from contracts.redis_keys import HOLD_SECONDS
from kit.settings import Settings
from oltp.inventory.redis_gate import QUIET_MS


class InventorySettings(Settings):
    """How long stock is held, and how often the gate and the holds are looked after."""

    inventory_gate: Literal["redis", "postgres"] = Field(
        default="redis", description="What admits orders to the books: Redis' counters, or units in Postgres."
    )
    inventory_hold_seconds: int = Field(
        default=HOLD_SECONDS, ge=1, description="How long an unpaid order keeps its units, and how long lock sets last."
    )
    inventory_hold_scan_seconds: float = Field(default=5.0, gt=0, description="How often ended holds are looked for.")
    inventory_hold_ask_seconds: float = Field(
        default=60.0, gt=0, description="How long after asking the saga about an ended hold it is asked again."
    )
    inventory_sale_scan_seconds: float = Field(
        default=1.0, gt=0, description="How often flash sales are looked for whose time is over."
    )
    inventory_quiet_ms: int = Field(
        default=QUIET_MS,
        ge=0,
        description="How long a product must not have moved before its counter in Redis is compared with the books.",
    )
    inventory_reconcile_seconds: float = Field(default=2.0, gt=0, description="How often counters are compared.")
    inventory_reconcile_moved: int = Field(
        default=2000, ge=1, description="Most products that moved, compared in one round."
    )
    inventory_reconcile_rotation: int = Field(
        default=500, ge=1, description="Products compared in turn in each round, moved or not."
    )

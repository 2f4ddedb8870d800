"""What is expected of the raw tables, as data: what each may look like, and what would stop the marts.

dbt's tests at the boundary say what a row must be before a mart takes it (a known status, no negative price). Here is
what no single row shows: types that readers rely on, values that no shop has, references across services, volumes and
mixtures against the day before. No rule is stated in both.

Scans are bounded. Large tables are looked at by what arrived in the last day (``__emitted_at`` has an
index); small ones whole. Types are read from the catalogue and cost nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

RECENT: Final = "1 day"
"""How far back the slice of a large table goes."""

FEWEST: Final = 1000
"""Rows of the day before without which its volume and mixture say nothing."""

GRACE: Final = "10 minutes"
"""Tables are written independently of each other: a row may be there before the row that it refers to."""


@dataclass(frozen=True)
class Between:
    """Values of a column lie between two, where there are any."""

    column: str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True)
class Reference:
    """Values of a column are keys of another raw table; across services no database holds that."""

    column: str
    table: str
    key: str = "id"


@dataclass(frozen=True)
class Mixture:
    """The shares of an expression's values are much as they were the day before (population stability index)."""

    name: str
    expression: str
    most: float = 0.25


@dataclass(frozen=True)
class Suite:
    """One raw table. ``moment`` is the column by which a row belongs to a day.

    ``types`` are Postgres', as SQLAlchemy writes them. ``blocking`` expectations stop the run before dbt:
    a mart would be wrong. Volumes and mixtures only warn: a strange day may be true.
    """

    table: str
    key: tuple[str, ...]
    large: bool
    types: Mapping[str, str]
    between: tuple[Between, ...] = ()
    references: tuple[Reference, ...] = ()
    moment: str | None = None
    mixtures: tuple[Mixture, ...] = field(default=())

    @property
    def slice(self) -> str:
        """The rows that are looked at."""
        where = f" WHERE __emitted_at >= now() - interval '{RECENT}'" if self.large else ""
        return f"SELECT * FROM raw.{self.table}{where}"  # noqa: S608  names of this file's own

    @property
    def days(self) -> str:
        """The rows of the last day, and those of the day before it, by their own moment.

        Of a large table only what arrived in these two days: a row that was made then can't have come earlier.
        """
        recent = " AND __emitted_at >= now() - interval '2 days'" if self.large else ""
        return (
            f"SELECT *, {self.moment} >= now() - interval '1 day' AS today FROM raw.{self.table}"  # noqa: S608
            f" WHERE {self.moment} >= now() - interval '2 days' AND {self.moment} < now(){recent}"
        )


_UUID, _TEXT, _NUMBER, _MONEY, _TIME = "UUID", "TEXT", "INTEGER", "NUMERIC(12, 2)", "TIMESTAMP WITH TIME ZONE"

SUITES: Final = (
    Suite(
        "orders_orders",
        key=("id",),
        large=True,
        types={"id": _UUID, "user_id": _UUID, "status": _TEXT, "total_amount": _MONEY, "created_at": _TIME},
        between=(Between("total_amount", most=1_000_000),),
        references=(Reference("user_id", "accounts_users"),),
        moment="created_at",
        mixtures=(
            Mixture("payment_methods", "payment_method"),
            Mixture("amounts", "width_bucket(total_amount, ARRAY[10, 25, 50, 100, 200, 500]::numeric[])::text"),
        ),
    ),
    Suite(
        "orders_order_items",
        key=("id",),
        large=True,
        types={"order_id": _UUID, "product_id": _UUID, "quantity": _NUMBER, "price_at_purchase": _MONEY},
        between=(Between("quantity", most=100_000), Between("price_at_purchase", most=100_000)),
        references=(Reference("product_id", "catalog_products"),),
    ),
    Suite(
        "payments_payments",
        key=("order_id",),
        large=True,
        types={"order_id": _UUID, "amount": _MONEY, "status": _TEXT},
        between=(Between("amount", most=1_000_000),),
        references=(Reference("order_id", "orders_orders"),),
        moment="created_at",
        mixtures=(Mixture("outcomes", "status"),),
    ),
    Suite(
        "shipping_shipments",
        key=("id",),
        large=True,
        types={"order_id": _UUID, "carrier": _TEXT},
        references=(Reference("order_id", "orders_orders"),),
        moment="created_at",
        mixtures=(Mixture("carriers", "carrier"),),
    ),
    Suite(
        "inventory_inventory",
        key=("product_id", "warehouse_id"),
        large=False,
        types={"product_id": _UUID, "quantity": _NUMBER, "reserved_quantity": _NUMBER},
        between=(Between("quantity", most=10_000_000),),
        references=(Reference("product_id", "catalog_products"), Reference("warehouse_id", "inventory_warehouses")),
    ),
    Suite(
        "catalog_products",
        key=("id",),
        large=False,
        types={"id": _UUID, "price": _MONEY},
        between=(Between("price", most=100_000),),
    ),
    Suite(
        "accounts_users",
        key=("id",),
        large=False,
        types={"id": _UUID, "email": _TEXT, "created_at": _TIME},
        moment="created_at",
    ),
    Suite(
        "storefront_events",
        key=("event_id",),
        large=True,
        types={"event_id": _UUID, "kind": _TEXT, "session_id": _UUID, "occurred_at": _TIME},
        references=(Reference("product_id", "catalog_products"),),
        moment="occurred_at",
        mixtures=(Mixture("kinds", "kind"), Mixture("devices", "device")),
    ),
)

"""What the API shows of stock, and what admins send to change it."""

import datetime as dt
import enum
import uuid
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from contracts.products import ProductCard
from oltp.inventory.repository import LedgerEntry, ProductStock, WarehouseLevel, WarehouseRow

LOW_STOCK = 10
"""Fewer available units than this count as low stock."""

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"

Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$"),
    Field(description="Why, for the ledger; one line.", examples=["Damaged in transit"]),
]


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Units = Annotated[int, Field(strict=True), BeforeValidator(_whole)]
"""A JSON integer: 5 and 5.0 are one, "5" and true are none."""


class LedgerKind(enum.StrEnum):
    """What kind of physical change."""

    INITIAL = "initial"
    RESTOCK = "restock"
    ADJUSTMENT = "adjustment"
    SHIPPED = "shipped"
    SETTLED = "settled"


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Adjustment(_Schema):
    """A correction of a product's units in one warehouse."""

    warehouse_id: uuid.UUID = Field(description="Warehouse.", examples=[_ID])
    delta: Units = Field(
        ge=-1_000_000,
        le=1_000_000,
        description="Units to add; negative ones are taken away. 0 is refused.",
        examples=[-3],
        json_schema_extra={"not": {"const": 0}},
    )
    reason: Reason


class Restock(_Schema):
    """New units of a product for one warehouse."""

    warehouse_id: uuid.UUID = Field(description="Warehouse.", examples=[_ID])
    quantity: Units = Field(ge=1, le=1_000_000, description="Units that came in.", examples=[250])
    reason: Reason


class WarehouseRead(_Schema):
    """A warehouse."""

    id: uuid.UUID = Field(description="Warehouse.", examples=[_ID])
    code: str = Field(description="Short name.", examples=["RNO"])
    name: str = Field(description="Name.", examples=["Reno, Nevada"])
    country: str = Field(description="ISO 3166-1 alpha-2.", examples=["US"])
    latitude: float = Field(description="Degrees north.", examples=[39.5296])
    longitude: float = Field(description="Degrees east.", examples=[-119.8138])
    priority: int = Field(description="Lower ones are preferred where distance says nothing.", examples=[1])


class StockFigures(_Schema):
    """Units. ``available`` is what can still be reserved."""

    quantity: int = Field(description="Units on the shelf.", examples=[120])
    reserved: int = Field(description="Of these, units that orders hold.", examples=[7])
    available: int = Field(description="Units that can still be reserved.", examples=[113])


class StockRead(StockFigures):
    """A product's stock over warehouses."""

    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    sku: str | None = Field(description="Its SKU; null if the catalog does not know it.", examples=["KIT-00042"])
    name: str | None = Field(description="Its name; null if the catalog does not know it.", examples=["Kettle"])
    warehouses: int = Field(description="Warehouses that list it.", examples=[4])
    low: bool = Field(description=f"Whether fewer than {LOW_STOCK} units are available.", examples=[False])


class LevelRead(StockFigures):
    """A product's stock in one warehouse."""

    warehouse_id: uuid.UUID = Field(description="Warehouse.", examples=[_ID])
    code: str = Field(description="The warehouse's short name.", examples=["RNO"])
    name: str = Field(description="The warehouse's name.", examples=["Reno, Nevada"])
    updated_at: dt.datetime = Field(description="When it last moved.", examples=["2026-03-01T12:00:00Z"])


class LedgerRead(_Schema):
    """One physical change of stock."""

    id: int = Field(description="Place in the ledger.", examples=[981])
    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    warehouse_id: uuid.UUID = Field(description="Warehouse.", examples=[_ID])
    kind: LedgerKind = Field(description="What kind of change.", examples=["restock"])
    delta: int = Field(description="Units that came (or, negative, went).", examples=[250])
    balance: int = Field(description="Units on the shelf afterwards.", examples=[370])
    reason: str = Field(description="Why; empty where an order's parcel left.", examples=["Weekly delivery"])
    actor_id: uuid.UUID | None = Field(description="Admin who did it.", examples=[_ID])
    order_id: uuid.UUID | None = Field(description="Order whose units left.", examples=[None])
    occurred_at: dt.datetime = Field(description="When.", examples=["2026-03-01T12:00:00Z"])


class StockDetail(StockRead):
    """A product's stock by warehouse, with its latest physical changes."""

    levels: list[LevelRead] = Field(description="By warehouse, preferred ones first.")
    ledger: list[LedgerRead] = Field(description="Latest physical changes, newest first.")


class RebuildRead(_Schema):
    """What the rebuild found."""

    products: int = Field(description="Products looked at.", examples=[50000])
    equal: int = Field(description="Were right.", examples=[49998])
    filled: int = Field(description="Were missing in Redis.", examples=[1])
    corrected: int = Field(description="Were wrong in Redis.", examples=[0])
    busy: int = Field(description="Moved a moment ago: the worker looks at them once they are quiet.", examples=[1])


def warehouse(row: WarehouseRow) -> WarehouseRead:
    """A warehouse as it is shown."""
    return WarehouseRead(
        id=uuid.UUID(row.warehouse.warehouse_id),
        code=row.code,
        name=row.name,
        country=row.warehouse.country,
        latitude=row.warehouse.latitude,
        longitude=row.warehouse.longitude,
        priority=row.warehouse.priority,
    )


def stock(row: ProductStock, card: ProductCard | None) -> StockRead:
    """A product's stock as it is shown."""
    available = row.quantity - row.reserved
    return StockRead(
        product_id=uuid.UUID(row.product_id),
        sku=card.sku if card else None,
        name=card.name if card else None,
        quantity=row.quantity,
        reserved=row.reserved,
        available=available,
        warehouses=row.warehouses,
        low=available < LOW_STOCK,
    )


def level(row: WarehouseLevel) -> LevelRead:
    """A level as it is shown."""
    return LevelRead(
        warehouse_id=uuid.UUID(row.warehouse_id),
        code=row.code,
        name=row.name,
        quantity=row.level.quantity,
        reserved=row.level.reserved,
        available=row.level.available,
        updated_at=row.updated_at,
    )


def ledger_entry(entry: LedgerEntry) -> LedgerRead:
    """A ledger entry as it is shown."""
    return LedgerRead(
        id=entry.entry_id,
        product_id=uuid.UUID(entry.product_id),
        warehouse_id=uuid.UUID(entry.warehouse_id),
        kind=LedgerKind(entry.kind),
        delta=entry.delta,
        balance=entry.balance,
        reason=entry.reason,
        actor_id=uuid.UUID(entry.actor_id) if entry.actor_id else None,
        order_id=uuid.UUID(entry.order_id) if entry.order_id else None,
        occurred_at=entry.occurred_at,
    )

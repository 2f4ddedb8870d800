"""What the cart's API takes and gives. Money is integer minor units (hundredths) of ``currency``."""

import datetime as dt
import uuid
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from oltp.cart import domain
from oltp.cart.domain import WarningCode

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"

Quantity = Annotated[int, Field(ge=1, le=10_000)]


class _Write(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Read(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CartAdd(_Write):
    """Units of a product to add."""

    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    quantity: Quantity = Field(default=1, description="Units to add to those in the cart.", examples=[2])


class CartChange(_Write):
    """How many units the cart shall hold."""

    quantity: Quantity = Field(description="Units; to have none, delete the item.", examples=[3])


class StockWarning(_Read):
    """What to tell the customer about a line."""

    code: WarningCode = Field(description="Kind of warning.", examples=["insufficient_stock"])
    message: str = Field(description="In words.", examples=["Only 2 left."])
    available: int | None = Field(description="Units left, where known.", examples=[2])


class CartSale(_Read):
    """The flash sale that a product of the cart is in now."""

    sale_id: uuid.UUID = Field(description="Sale.", examples=[_ID])
    unit_price: int = Field(description="Price in the sale, minor units.", examples=[4999])
    regular_unit_price: int = Field(description="Price outside of it, minor units.", examples=[12999])
    ends_at: dt.datetime = Field(description="Until before when.", examples=["2026-11-27T20:00:00Z"])
    units_per_customer: int = Field(description="Units that one customer may have.", examples=[1])
    units_left: int | None = Field(description="Units that nobody has taken; null: not known now.", examples=[37])


class CartItem(_Read):
    """A product in the cart at its present price."""

    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    sku: str = Field(description="Stock-keeping unit.", examples=["HEAD-000001"])
    name: str = Field(description="Name.", examples=["Aurora Studio Monitors"])
    category: str = Field(description="Name of its category.", examples=["Headphones"])
    image_url: str = Field(description="Picture, or empty.", examples=["/images/head-000001.jpg"])
    quantity: int = Field(description="Units.", examples=[2])
    unit_price: int = Field(description="Present price of one, minor units: the sale's in a sale.", examples=[12999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    line_total: int = Field(description="Price of all units.", examples=[25998])
    sale: CartSale | None = Field(description="The flash sale that it is in now; null: none.")
    warning: StockWarning | None = Field(description="What stands in the way, or soon may; null: nothing known.")


class Cart(_Read):
    """A customer's cart."""

    items: list[CartItem] = Field(description="Lines by name.")
    total_quantity: int = Field(description="Units, without those no longer for sale.", examples=[2])
    total: int = Field(description="Price of all, without what is no longer for sale.", examples=[25998])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    can_checkout: bool = Field(
        description="Whether it could be bought as it is, as far as is known; checkout has the last word.",
        examples=[True],
    )

    @classmethod
    def of(cls, cart: domain.Cart) -> Self:
        """The document of a cart."""
        return cls(
            items=[
                CartItem(
                    product_id=uuid.UUID(line.card.product_id),
                    sku=line.card.sku,
                    name=line.card.name,
                    category=line.card.category,
                    image_url=line.card.image_url,
                    quantity=line.quantity,
                    unit_price=line.unit_price,
                    currency=line.card.currency,
                    line_total=line.line_total,
                    sale=_sale(line),
                    warning=None
                    if line.warning is None
                    else StockWarning(
                        code=line.warning.code, message=line.warning.message, available=line.warning.available
                    ),
                )
                for line in cart.lines
            ],
            total_quantity=cart.total_quantity,
            total=cart.total,
            currency=cart.currency,
            can_checkout=cart.can_checkout,
        )


def _sale(line: domain.Line) -> CartSale | None:
    if line.offer is None:
        return None
    sale, standing = line.offer.sale, line.offer.standing
    return CartSale(
        sale_id=uuid.UUID(sale.sale_id),
        unit_price=line.unit_price,
        regular_unit_price=line.card.unit_price,
        ends_at=sale.ends_at,
        units_per_customer=sale.units_per_customer,
        units_left=standing.left if standing is not None else None,
    )

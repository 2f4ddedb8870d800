"""What the cart's API takes and gives. Money is integer minor units (hundredths) of ``currency``."""

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


class CartItem(_Read):
    """A product in the cart at its present price."""

    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    sku: str = Field(description="Stock-keeping unit.", examples=["HEAD-000001"])
    name: str = Field(description="Name.", examples=["Aurora Studio Monitors"])
    category: str = Field(description="Name of its category.", examples=["Headphones"])
    image_url: str = Field(description="Picture, or empty.", examples=["/images/head-000001.jpg"])
    quantity: int = Field(description="Units.", examples=[2])
    unit_price: int = Field(description="Present price of one, minor units.", examples=[12999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    line_total: int = Field(description="Price of all units.", examples=[25998])
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
                    unit_price=line.card.unit_price,
                    currency=line.card.currency,
                    line_total=line.line_total,
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

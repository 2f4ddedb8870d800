"""What the catalog's API takes and gives. Money is integer minor units (hundredths) of ``currency``."""

import datetime as dt
import uuid
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from oltp.catalog.domain import MAX_UNIT_PRICE, Availability, Sort

_VISIBLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"
_NOW = "2026-03-01T12:00:00Z"


def _line(length: int) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=length, pattern=_VISIBLE)


Slug = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Sku = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Z0-9][A-Z0-9._-]*$")]
Name = Annotated[str, _line(200)]
Description = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000, pattern=r"^[^\x00]*$")]
ImageUrl = Annotated[
    str, StringConstraints(max_length=2048, pattern=r"^(https?://[^\s\x00-\x1f\x7f]+|/[^\s\x00-\x1f\x7f]*)?$")
]
Reason = Annotated[str, _line(200)]
UnitPrice = Annotated[int, Field(ge=1, le=MAX_UNIT_PRICE)]
Version = Annotated[int, Field(ge=1, le=2**31 - 1)]


class _Write(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Read(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


class CategoryRef(_Read):
    """A product's category."""

    slug: str = Field(description="Stable name, for filters.", examples=["headphones"])
    name: str = Field(description="Name to show.", examples=["Headphones"])


class CategoryCount(CategoryRef):
    """A category and how much there is in it."""

    product_count: int = Field(description="Products for sale; a few seconds old at most.", examples=[40])


class CategoryList(_Read):
    """All categories by name."""

    items: list[CategoryCount] = Field(description="Categories.")


class ProductSale(_Read):
    """The flash sale that a product is in now."""

    sale_id: uuid.UUID = Field(description="Sale.", examples=[_ID])
    unit_price: int = Field(description="Price in the sale, minor units.", examples=[4999])
    starts_at: dt.datetime = Field(description="Since when.", examples=["2026-11-27T18:00:00Z"])
    ends_at: dt.datetime = Field(description="Until before when.", examples=["2026-11-27T20:00:00Z"])
    units: int = Field(description="Units sold at this price altogether.", examples=[100])
    units_left: int | None = Field(description="Units that nobody has taken; null: not known now.", examples=[37])
    units_per_customer: int = Field(description="Units that one customer may have.", examples=[1])
    sold_out: bool = Field(
        description="Whether orders are turned away. With no units left they may still wait for one that is not paid.",
        examples=[False],
    )


class ProductSummary(_Read):
    """A product in a list."""

    id: uuid.UUID = Field(description="Product id.", examples=[_ID])
    sku: str = Field(description="Stock-keeping unit.", examples=["HEAD-000001"])
    name: str = Field(description="Name.", examples=["Aurora Studio Monitors"])
    category: CategoryRef = Field(description="Its category.")
    unit_price: int = Field(description="Normal price in minor units.", examples=[12999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    image_url: str = Field(description="Picture, or empty.", examples=["https://images.example.com/head-000001.jpg"])
    sale: ProductSale | None = Field(description="The flash sale that it is in now: its price holds. Null: none.")
    stock: int | None = Field(
        description="Units that can be ordered now, in a sale its own; null: not known at the moment.", examples=[12]
    )
    availability: Availability = Field(description="The stock in words.", examples=["in_stock"])


class ProductDetail(ProductSummary):
    """A product on its own page."""

    description: str = Field(description="What it is.", examples=["Closed-back monitors for long sessions."])
    created_at: dt.datetime = Field(description="When it came into the catalog.", examples=[_NOW])
    updated_at: dt.datetime = Field(description="When it last changed.", examples=[_NOW])


class ProductPage(_Read):
    """One page of the products for sale."""

    items: list[ProductSummary] = Field(description="Products in order.")
    page: int = Field(description="This page's number, from 1.", examples=[1])
    page_size: int = Field(description="Products to a page.", examples=[20])
    has_more: bool = Field(description="Whether there is a next page, and it can be shown.", examples=[True])
    total: int = Field(description="How many products match; see `total_is_exact`.", examples=[1834])
    total_is_exact: bool = Field(
        description="False: there are at least `total`, counting stopped there.", examples=[True]
    )


class ProductQuery(_Write):
    """How to narrow, sort and page the products."""

    category: Slug | None = Field(default=None, description="Slug of a category.", examples=["headphones"])
    price_min: int | None = Field(
        default=None, ge=0, le=MAX_UNIT_PRICE, description="Lowest price, minor units, included.", examples=[1000]
    )
    price_max: int | None = Field(
        default=None, ge=0, le=MAX_UNIT_PRICE, description="Highest price, minor units, included.", examples=[20000]
    )
    sort: Sort = Field(default=Sort.NEWEST, description="Order.", examples=["price_asc"])
    page: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="From 1. Pages end where `page * page_size` passes 10,000 products: narrow the search instead.",
        examples=[1],
    )
    page_size: int = Field(default=20, ge=1, le=100, description="Products to a page.", examples=[20])

    def in_words(self) -> str:
        """What narrows the list, as a visitor might have typed it; empty for the whole list."""
        words = [self.category.replace("-", " ")] if self.category else []
        if self.price_min is not None:
            words.append(f"from {self.price_min / 100:.2f}")
        if self.price_max is not None:
            words.append(f"up to {self.price_max / 100:.2f}")
        return " ".join(words)

    @model_validator(mode="after")
    def _price_range_is_one(self) -> Self:
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise PydanticCustomError("price_range", "price_min must not be above price_max")
        return self


class AdminProduct(_Read):
    """A product as an admin sees it, for sale or not."""

    id: uuid.UUID = Field(description="Product id.", examples=[_ID])
    sku: str = Field(description="Stock-keeping unit.", examples=["HEAD-000001"])
    name: str = Field(description="Name.", examples=["Aurora Studio Monitors"])
    description: str = Field(description="What it is.", examples=["Closed-back monitors for long sessions."])
    category: CategoryRef = Field(description="Its category.")
    unit_price: int = Field(description="Price in minor units.", examples=[12999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    image_url: str = Field(description="Picture, or empty.", examples=["https://images.example.com/head-000001.jpg"])
    active: bool = Field(description="Whether it is for sale.", examples=[True])
    version: int = Field(description="Counts its changes; edits name the version that they are based on.", examples=[3])
    created_at: dt.datetime = Field(description="When it came into the catalog.", examples=[_NOW])
    updated_at: dt.datetime = Field(description="When it last changed.", examples=[_NOW])


class AdminProductQuery(_Write):
    """How to narrow and page all products, newest first."""

    q: Annotated[str, _line(100)] | None = Field(default=None, description="Text in name or SKU.", examples=["monitor"])
    category: Slug | None = Field(default=None, description="Slug of a category.", examples=["headphones"])
    active: bool | None = Field(default=None, description="Only those (not) for sale.", examples=[True])
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    limit: int = Field(default=50, ge=1, le=100, description="Products to a page.", examples=[50])


class ProductCreate(_Write):
    """A new product."""

    sku: Sku = Field(description="Stock-keeping unit, unique.", examples=["HEAD-000001"])
    name: Name = Field(description="Name.", examples=["Aurora Studio Monitors"])
    description: Description = Field(default="", description="What it is.", examples=["Closed-back monitors."])
    category: Slug = Field(description="Slug of its category.", examples=["headphones"])
    unit_price: UnitPrice = Field(description="Price in minor units of the shop's currency.", examples=[12999])
    image_url: ImageUrl = Field(
        default="", description="Picture: http(s), or a path of the shop.", examples=["/images/head-000001.jpg"]
    )
    active: bool = Field(default=True, description="Whether it is for sale at once.", examples=[True])


class ProductUpdate(_Write):
    """What to change; what is left out or null stays. Prices have their own route."""

    version: Version = Field(description="The version that this edit is based on.", examples=[3])
    sku: Sku | None = Field(default=None, description="Stock-keeping unit, unique.", examples=["HEAD-000001"])
    name: Name | None = Field(default=None, description="Name.", examples=["Aurora Studio Monitors II"])
    description: Description | None = Field(default=None, description="What it is.", examples=["Closed-back monitors."])
    category: Slug | None = Field(default=None, description="Slug of its category.", examples=["headphones"])
    image_url: ImageUrl | None = Field(
        default=None, description="Picture: http(s), or a path of the shop.", examples=["/images/head-000001.jpg"]
    )


class PriceUpdate(_Write):
    """A new price."""

    version: Version = Field(description="The version that this change is based on.", examples=[3])
    unit_price: UnitPrice = Field(description="Price in minor units of the product's currency.", examples=[9999])
    reason: Reason = Field(description="Why; kept in the history.", examples=["Spring sale"])


class PriceHistoryEntry(_Read):
    """One change of a product's price."""

    version: int = Field(description="The product's version with the new price.", examples=[4])
    old_unit_price: int = Field(description="Price before, minor units.", examples=[12999])
    new_unit_price: int = Field(description="Price after, minor units.", examples=[9999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    reason: str = Field(description="Why.", examples=["Spring sale"])
    actor_id: str = Field(description="The admin who changed it.", examples=[_ID])
    changed_at: dt.datetime = Field(description="When.", examples=[_NOW])


class PriceHistoryQuery(_Write):
    """How to page a product's price changes, newest first."""

    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    limit: int = Field(default=50, ge=1, le=100, description="Changes to a page.", examples=[50])


class CategoryCreate(_Write):
    """A new category."""

    slug: Slug = Field(description="Stable name, for filters; never changes.", examples=["headphones"])
    name: Annotated[str, _line(80)] = Field(description="Name to show.", examples=["Headphones"])

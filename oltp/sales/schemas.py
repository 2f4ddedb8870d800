"""What the sales API takes and gives. Money is integer minor units (hundredths) of ``currency``."""

import datetime as dt
import uuid
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from kit.moments import Moment
from oltp.sales.domain import MOST_WAITING, Opening, SaleState
from oltp.sales.service import SaleView

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"
_START = "2026-11-27T18:00:00Z"
_END = "2026-11-27T20:00:00Z"

Units = Annotated[int, Field(ge=1, le=1_000_000)]


class _Write(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SaleOpen(_Write):
    """A product at a special price for a while."""

    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    units: Units = Field(
        description="Units sold at this price altogether; that many must be available.", examples=[100]
    )
    unit_price: Annotated[int, Field(ge=1, le=999_999_999)] = Field(
        description="Price in minor units of the product's currency, below its normal price.", examples=[4999]
    )
    starts_at: Moment = Field(description="From when on, with its offset; not past.", examples=[_START])
    ends_at: Moment = Field(description="Until before when, with its offset.", examples=[_END])
    units_per_customer: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="Units that one customer may have.", examples=[1]
    )
    waiting_places: Annotated[int, Field(ge=0, le=MOST_WAITING)] | None = Field(
        default=None,
        description="Units' worth of orders that may wait for one that is not paid; null: as many as `units`, "
        f"{MOST_WAITING:,} at most.",
        examples=[100],
    )

    def to_domain(self) -> Opening:
        """The opening that it asks for."""
        places = self.waiting_places if self.waiting_places is not None else min(self.units, MOST_WAITING)
        return Opening(
            product_id=str(self.product_id),
            units=self.units,
            units_per_customer=self.units_per_customer,
            waiting_places=places,
            unit_price=self.unit_price,
            starts_at=self.starts_at,
            ends_at=self.ends_at,
        )


class SaleQuery(_Write):
    """How to narrow and page sales, newest first."""

    product_id: uuid.UUID | None = Field(default=None, description="Only this product's.", examples=[_ID])
    state: SaleState | None = Field(default=None, description="Only those that stand so.", examples=["running"])
    cursor: str | None = Field(default=None, max_length=200, description="`next_cursor` of the page before.")
    limit: int = Field(default=50, ge=1, le=100, description="Sales to a page.", examples=[50])


class SaleRead(BaseModel):
    """A sale, and what became of its units."""

    model_config = ConfigDict(extra="forbid")

    id: uuid.UUID = Field(description="Sale.", examples=[_ID])
    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    state: SaleState = Field(description="Where it stands in time.", examples=["running"])
    unit_price: int = Field(description="Price in minor units.", examples=[4999])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    units: int = Field(description="Units sold at this price altogether.", examples=[100])
    units_per_customer: int = Field(description="Units that one customer may have.", examples=[1])
    waiting_places: int = Field(description="Units' worth of orders that may wait.", examples=[100])
    starts_at: dt.datetime = Field(description="From when on.", examples=[_START])
    ends_at: dt.datetime = Field(
        description="Until before when; earlier than planned if it was ended.", examples=[_END]
    )
    planned_ends_at: dt.datetime = Field(description="When it was to end.", examples=[_END])
    opened_by: uuid.UUID = Field(description="The admin who opened it.", examples=[_ID])
    opened_at: dt.datetime = Field(description="When that was.", examples=["2026-11-27T12:00:00Z"])
    ended_by: uuid.UUID | None = Field(description="The admin who ended it early; null if nobody did.", examples=[None])
    sold: int = Field(description="Units that are paid.", examples=[62])
    held: int = Field(description="Units that are held for orders not paid yet.", examples=[38])
    waiting: int = Field(description="Units that waiting orders ask for.", examples=[12])

    @classmethod
    def of(cls, view: SaleView) -> Self:
        """The document of a sale."""
        sale, card, figures = view.sale, view.sale.card, view.figures
        return cls(
            id=uuid.UUID(card.sale_id),
            product_id=uuid.UUID(card.product_id),
            state=view.state,
            unit_price=card.unit_price,
            currency=card.currency,
            units=card.units,
            units_per_customer=card.units_per_customer,
            waiting_places=card.waiting_places,
            starts_at=card.starts_at,
            ends_at=card.ends_at,
            planned_ends_at=sale.planned_ends_at,
            opened_by=uuid.UUID(sale.opened_by),
            opened_at=sale.opened_at,
            ended_by=None if sale.ended_by is None else uuid.UUID(sale.ended_by),
            sold=figures.sold,
            held=figures.held,
            waiting=figures.waiting,
        )

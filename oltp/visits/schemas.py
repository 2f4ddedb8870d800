"""What the web page tells of its visitors."""

import uuid
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import UUID7, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from contracts.storefront import StorefrontKind

MOST_EVENTS: Final = 50
OLDEST_MS: Final = 15 * 60 * 1000

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"
_Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64)]


class PageEventKind(StrEnum):
    """What a page may tell. The shop itself notes what reaches its API, and alone knows what was bought."""

    PRODUCT_VIEW = StorefrontKind.PRODUCT_VIEW
    SEARCH = StorefrontKind.SEARCH
    CART_ADD = StorefrontKind.CART_ADD
    CART_REMOVE = StorefrontKind.CART_REMOVE
    CHECKOUT_START = StorefrontKind.CHECKOUT_START


_OF_A_PRODUCT: Final = frozenset({PageEventKind.PRODUCT_VIEW, PageEventKind.CART_ADD, PageEventKind.CART_REMOVE})


class PageEvent(BaseModel):
    """One thing that a visitor did on the page, unseen by the API."""

    model_config = ConfigDict(extra="forbid")

    event_id: UUID7 = Field(description="A UUIDv7 made by the page; the same when it is sent again.", examples=[_ID])
    kind: PageEventKind = Field(description="What the visitor did.", examples=["product_view"])
    age_ms: int = Field(
        default=0,
        ge=0,
        le=OLDEST_MS,
        description="How long ago, in milliseconds: visitors' clocks are wrong.",
        examples=[250],
    )
    product_id: uuid.UUID | None = Field(
        default=None, description="Product; goes with `product_view`, `cart_add` and `cart_remove`.", examples=[_ID]
    )
    query: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)] | None = Field(
        default=None, description="What was searched for; goes with `search`.", examples=["headphones"]
    )
    results: int | None = Field(
        default=None,
        ge=0,
        le=10_000_000,
        description="How much the search found, or how many lines the cart holds now.",
        examples=[12],
    )
    quantity: int | None = Field(
        default=None, ge=1, le=10_000, description="Units put into the cart, or taken out.", examples=[1]
    )
    experiment: _Key | None = Field(default=None, description="Experiment.", examples=["checkout-button"])
    variant: _Key | None = Field(default=None, description="What the visitor was shown of it.", examples=["b"])

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, belongs in (
            ("product_id", self.kind in _OF_A_PRODUCT),
            ("query", self.kind is PageEventKind.SEARCH),
        ):
            if (getattr(self, name) is not None) != belongs:
                word = "needs a" if belongs else "has no"
                raise PydanticCustomError("incomplete", f"{self.kind} {word} {name}")
        if (self.experiment is None) != (self.variant is None):
            raise PydanticCustomError("incomplete", "experiment and variant go together")
        return self


class PageEvents(BaseModel):
    """What happened on a page since it told last."""

    model_config = ConfigDict(extra="forbid")

    events: Annotated[list[PageEvent], Field(min_length=1, max_length=MOST_EVENTS)] = Field(
        description="Events of one session, in any order."
    )


class Noted(BaseModel):
    """What became of them."""

    accepted: int = Field(description="Events that will be sent on.", examples=[2])
    dropped: int = Field(description="Events that there is no room for now; nothing depends on them.", examples=[0])

"""What the web page tells of its visitors."""

import uuid
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

MOST_EVENTS: Final = 50
OLDEST_MS: Final = 15 * 60 * 1000

_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"
_UUID7 = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_VISIBLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+([._-][a-z0-9]+)*$", max_length=64)]


def _no_truth(value: object) -> object:
    """JSON's true and false are no numbers, though Python's are; 1.0 is one, though strict integers are not."""
    if isinstance(value, bool):
        raise PydanticCustomError("int_type", "Input should be a valid integer")
    return value


_Quantity = Annotated[int, Field(ge=1, le=10_000), BeforeValidator(_no_truth)]
_Number = Annotated[int, Field(ge=0, le=10_000_000), BeforeValidator(_no_truth)]
_Age = Annotated[int, Field(ge=0, le=OLDEST_MS), BeforeValidator(_no_truth)]


class Shown(BaseModel):
    """What a visitor was shown of an experiment."""

    model_config = ConfigDict(extra="forbid")

    experiment: _Key = Field(description="Experiment.", examples=["checkout-button"])
    variant: _Key = Field(description="What the visitor was shown.", examples=["b"])


class _PageEvent(BaseModel):
    model_config = ConfigDict(extra="forbid")

    event_id: Annotated[str, StringConstraints(pattern=_UUID7)] = Field(
        description="A UUIDv7 made by the page; the same when it is sent again.", examples=[_ID]
    )
    age_ms: _Age = Field(
        default=0,
        description="How long ago, in milliseconds: visitors' clocks are wrong.",
        examples=[250],
    )
    shown: Shown | None = Field(default=None, description="The experiment that the visitor was in; null: none.")


class ProductViewed(_PageEvent):
    """A product was looked at."""

    kind: Literal["product_view"] = Field(description="What the visitor did.", examples=["product_view"])
    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])


class Searched(_PageEvent):
    """Something was searched for."""

    kind: Literal["search"] = Field(description="What the visitor did.", examples=["search"])
    query: Annotated[str, StringConstraints(max_length=200, pattern=_VISIBLE)] = Field(
        description="What was searched for.", examples=["headphones"]
    )
    results: _Number | None = Field(default=None, description="How much was found.", examples=[12])


class CartChanged(_PageEvent):
    """A cart that the page keeps was changed."""

    kind: Literal["cart_add", "cart_remove"] = Field(description="What the visitor did.", examples=["cart_add"])
    product_id: uuid.UUID = Field(description="Product.", examples=[_ID])
    quantity: _Quantity = Field(description="Units put into the cart, or taken out.", examples=[1])
    results: _Number | None = Field(default=None, description="How many lines the cart holds now.", examples=[2])


class CheckoutStarted(_PageEvent):
    """The checkout was opened."""

    kind: Literal["checkout_start"] = Field(description="What the visitor did.", examples=["checkout_start"])


PageEvent = Annotated[ProductViewed | Searched | CartChanged | CheckoutStarted, Field(discriminator="kind")]
"""What a page may tell. The shop itself notes what reaches its API, and alone knows what was bought."""


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

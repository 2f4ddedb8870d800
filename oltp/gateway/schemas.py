"""What a checkout is asked with and answered with, as OpenAPI shows it."""

import datetime as dt
import uuid
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from contracts.orders import Address, OrderStatus, PaymentMethod, PaymentMethodType
from oltp.gateway.domain import Purchase, StoredAddress

_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"


def _text(longest: int, shortest: int = 0) -> StringConstraints:
    return StringConstraints(min_length=shortest, max_length=longest, pattern=_PRINTABLE)


class ShippingAddress(BaseModel):
    """Where the order goes."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, _text(200, 1)] = Field(description="Who receives it.", examples=["Ada Lovelace"])
    line1: Annotated[str, _text(200, 1)] = Field(description="Street and number.", examples=["12 St James's Square"])
    line2: Annotated[str, _text(200)] = Field(default="", description="Flat, floor, company.", examples=["Flat 3"])
    city: Annotated[str, _text(100, 1)] = Field(description="Town.", examples=["London"])
    region: Annotated[str, _text(100)] = Field(
        default="", description="State or province.", examples=["Greater London"]
    )
    postal_code: Annotated[str, _text(20, 1)] = Field(description="Postal code.", examples=["SW1Y 4JH"])
    country: Annotated[str, StringConstraints(pattern="^[A-Z]{2}$")] = Field(
        description="ISO 3166-1 alpha-2.", examples=["GB"]
    )
    phone: Annotated[str, _text(32)] = Field(default="", description="For the carrier.", examples=["+44 20 7946 0000"])
    latitude: Annotated[float, Field(strict=True, ge=-90, le=90, allow_inf_nan=False)] | None = Field(
        default=None, description="Degrees, if known: finds the nearest warehouse.", examples=[51.5074]
    )
    longitude: Annotated[float, Field(strict=True, ge=-180, le=180, allow_inf_nan=False)] | None = Field(
        default=None, description="Degrees, if known.", examples=[-0.1353]
    )

    def to_contract(self) -> Address:
        """The address as messages carry it."""
        return Address(**dict(self))


class Payment(BaseModel):
    """How the order is paid."""

    model_config = ConfigDict(extra="forbid")

    type: PaymentMethodType = Field(description="Kind of instrument.", examples=["card"])
    token: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[\x21-\x7e]+$")] = Field(
        description="The payment provider's token for the customer's instrument; never a card number.",
        examples=["pm_card_visa"],
    )

    def to_contract(self) -> PaymentMethod:
        """The method as messages carry it."""
        return PaymentMethod(type=self.type, token=self.token)


_DESTINATIONS: Final = ("shipping_address", "address_id")


def _with_one_destination(schema: dict[str, Any]) -> None:
    """Says in JSON Schema what the validator demands: one of the two, and no null."""
    schema["oneOf"] = [{"required": [name]} for name in _DESTINATIONS]
    for name in _DESTINATIONS:
        described = schema["properties"][name]
        [present] = [branch for branch in described.pop("anyOf") if branch != {"type": "null"}]
        described.pop("default")
        described |= present


class CheckoutRequest(BaseModel):
    """Buys everything in the caller's cart, for an address that comes with it or one of the caller's stored ones."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_with_one_destination)

    shipping_address: ShippingAddress | None = Field(default=None, description="Where the order goes.")
    address_id: uuid.UUID | None = Field(
        default=None,
        description="Where the order goes: one of the caller's addresses, as it stands now. Instead of the above.",
        examples=["0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"],
    )
    payment_method: Payment = Field(description="How it is paid.")

    @model_validator(mode="after")
    def _one_destination(self) -> Self:
        given = [name for name in _DESTINATIONS if name in self.model_fields_set]
        if len(given) != 1 or getattr(self, given[0]) is None:
            raise PydanticCustomError("destination", "send either shipping_address or address_id")
        return self

    def to_purchase(self) -> Purchase:
        """The request as the service takes it."""
        to: Address | StoredAddress
        if self.shipping_address is not None:
            to = self.shipping_address.to_contract()
        else:
            to = StoredAddress(str(self.address_id))
        return Purchase(to, self.payment_method.to_contract())


class AcceptedItem(BaseModel):
    """One line of the order."""

    product_id: str = Field(description="The product.", examples=["0193a0c4-7c1e-7d3a-9a53-2f6d1c0f7b11"])
    sku: str = Field(description="Stock keeping unit.", examples=["TEA-0042"])
    name: str = Field(description="The product's name.", examples=["Earl Grey, 250 g"])
    quantity: int = Field(description="Units.", examples=[2])
    unit_price: int = Field(description="Minor units, each.", examples=[1250])


class AcceptedCheckout(BaseModel):
    """The order is in the log; what becomes of it shows at its `Location`."""

    order_id: str = Field(description="The order.", examples=["0193a0c4-80aa-7e55-8c0e-5a1b9a4f6d02"])
    status: OrderStatus = Field(description="`pending`: accepted, nothing reserved yet.", examples=["pending"])
    total_amount: int = Field(description="Minor units.", examples=[2500])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    queue_position: int = Field(description="Messages ahead of the order when it was accepted.", examples=[0])
    created_at: dt.datetime = Field(description="When it was accepted.", examples=["2026-11-27T08:00:00.123456Z"])
    items: list[AcceptedItem] = Field(description="What was bought, in order of product id.")

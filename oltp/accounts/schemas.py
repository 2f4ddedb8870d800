"""What the accounts API takes and gives."""

import datetime as dt
import uuid
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    EmailStr,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from kit.auth import Role
from oltp.accounts.domain import MAX_PASSWORD, MIN_PASSWORD, normalize_email

_VISIBLE = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_ID = "0198c5f0-7d1a-7c3e-9b52-3f0e7a1c2d4e"


def _line(length: int) -> Any:
    return StringConstraints(strip_whitespace=True, min_length=1, max_length=length, pattern=_VISIBLE)


def _optional_line(length: int) -> Any:
    return StringConstraints(strip_whitespace=True, max_length=length, pattern=_PRINTABLE)


def _normalized(value: object) -> object:
    return normalize_email(value) if isinstance(value, str) else value


Email = Annotated[
    EmailStr,
    BeforeValidator(_normalized),
    AfterValidator(normalize_email),
    Field(max_length=254, examples=["ada@example.com"]),
]
Name = Annotated[str, _line(120)]
Phone = Annotated[str, StringConstraints(pattern=r"^(\+[1-9][0-9]{6,14})?$")]
Password = Annotated[str, StringConstraints(min_length=MIN_PASSWORD, max_length=MAX_PASSWORD, pattern=r"^[^\x00]+$")]
AnyPassword = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PASSWORD, pattern=r"^[^\x00]+$")]
RefreshToken = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]


class _Write(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Read(BaseModel):
    model_config = ConfigDict(extra="forbid", from_attributes=True)


class Register(_Write):
    """A new customer."""

    name: Name = Field(description="Full name.", examples=["Ada Lovelace"])
    email: Email = Field(description="Email address, the login; upper and lower case are the same.")
    password: Password = Field(
        description="10 to 128 characters; not the email address or name, and none of the usual ones.",
        examples=["correct horse battery"],
    )
    phone: Phone = Field(default="", description="E.164, or empty.", examples=["+442071234567"])


class Login(_Write):
    """Credentials."""

    email: Annotated[str, StringConstraints(min_length=1, max_length=254, pattern=_PRINTABLE)] = Field(
        description="Email address.", examples=["ada@example.com"]
    )
    password: AnyPassword = Field(description="Password.", examples=["correct horse battery"])


class Refresh(_Write):
    """A refresh token."""

    refresh_token: RefreshToken = Field(
        description="The newest refresh token of this sign-in.",
        examples=["mT0Zb2l2kq8l2rWc5xN3uQ0yJ7vHs1Kd9aPfGt4Xe6I"],
    )


class ChangePassword(_Write):
    """A new password, with the present one."""

    current_password: AnyPassword = Field(description="The present password.", examples=["correct horse battery"])
    new_password: Password = Field(description="The new one.", examples=["staple battery horse"])


class ChangeEmail(_Write):
    """A new email address, with the password."""

    email: Email = Field(description="The new email address, the login from now on.")
    current_password: AnyPassword = Field(description="The password.", examples=["correct horse battery"])


class Profile(_Read):
    """A user as they see themselves."""

    id: uuid.UUID = Field(description="User id.", examples=[_ID])
    name: str = Field(description="Full name.", examples=["Ada Lovelace"])
    email: str = Field(
        description="Email address, in the form in which it is written to.", examples=["ada@example.com"]
    )
    phone: str = Field(description="E.164, or empty.", examples=["+442071234567"])
    role: Role = Field(description="What the user may do.", examples=["customer"])
    created_at: dt.datetime = Field(description="When the account was opened.", examples=["2026-03-01T12:00:00Z"])
    updated_at: dt.datetime = Field(description="When it last changed.", examples=["2026-03-01T12:00:00Z"])


class CustomerQuery(_Write):
    """Which customers to find."""

    q: Annotated[str, StringConstraints(max_length=100, pattern=_VISIBLE)] = Field(
        description="The beginning of a word of their name, or of their email address.", examples=["lovel"]
    )
    limit: int = Field(default=20, ge=1, le=100, description="Most of them.", examples=[20])


class FoundCustomer(_Read):
    """A customer as an admin finds them."""

    id: uuid.UUID = Field(description="User id.", examples=[_ID])
    name: str = Field(description="Full name.", examples=["Ada Lovelace"])
    email: str = Field(description="Email address.", examples=["ada@example.com"])
    created_at: dt.datetime = Field(description="When the account was opened.", examples=["2026-03-01T12:00:00Z"])


class FoundCustomers(_Read):
    """The customers that were found, by name."""

    items: list[FoundCustomer] = Field(description="Customers.")


class ProfileUpdate(_Write):
    """What to change; what is left out or null stays."""

    name: Name | None = Field(default=None, description="Full name.", examples=["Ada King"])
    phone: Phone | None = Field(default=None, description="E.164, or empty.", examples=["+442071234567"])


class Tokens(_Read):
    """An access token for requests, and the refresh token that gets the next one."""

    access_token: str = Field(description="`Authorization: Bearer …`", examples=["eyJhbGciOiJIUzI1NiJ9.e30.…"])
    token_type: Literal["bearer"] = Field(description="Kind of token.", examples=["bearer"])
    expires_in: int = Field(description="Seconds that the access token lasts.", examples=[900])
    refresh_token: str = Field(description="Works once.", examples=["mT0Zb2l2kq8l2rWc5xN3uQ0yJ7vHs1Kd9aPfGt4Xe6I"])
    refresh_expires_at: dt.datetime = Field(
        description="When the refresh token ends.", examples=["2026-03-15T12:00:00Z"]
    )


class SignedIn(Tokens):
    """Tokens, and whose they are."""

    user: Profile = Field(description="Who signed in.")


class AddressFields(_Write):
    """All that an address says."""

    label: Annotated[str, _optional_line(60)] = Field(
        default="", description="The customer's name for it.", examples=["Home"]
    )
    name: Annotated[str, _line(120)] = Field(description="Recipient.", examples=["Ada Lovelace"])
    line1: Annotated[str, _line(200)] = Field(description="Street and number.", examples=["12 St James's Square"])
    line2: Annotated[str, _optional_line(200)] = Field(default="", description="Flat, company.", examples=["2nd floor"])
    city: Annotated[str, _line(120)] = Field(description="City.", examples=["London"])
    region: Annotated[str, _optional_line(120)] = Field(
        default="", description="State or county.", examples=["Greater London"]
    )
    postal_code: Annotated[str, _line(20)] = Field(description="Postal code.", examples=["SW1Y 4JH"])
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = Field(
        description="ISO 3166-1 alpha-2.", examples=["GB"]
    )
    phone: Phone = Field(default="", description="For the carrier: E.164, or empty.", examples=["+442071234567"])
    latitude: float | None = Field(
        default=None,
        strict=True,
        ge=-90,
        le=90,
        allow_inf_nan=False,
        description="Degrees north, with longitude.",
        examples=[51.5074],
    )
    longitude: float | None = Field(
        default=None,
        strict=True,
        ge=-180,
        le=180,
        allow_inf_nan=False,
        description="Degrees east, with latitude.",
        examples=[-0.1355],
    )

    @model_validator(mode="after")
    def _position_is_whole(self) -> Self:
        if (self.latitude is None) != (self.longitude is None):
            raise PydanticCustomError("position", "latitude and longitude come together or not at all")
        return self


class AddressCreate(AddressFields):
    """A new address."""

    is_default: bool = Field(
        default=False,
        strict=True,
        description="Makes it the default. A customer's first address is it anyway.",
        examples=[True],
    )


class AddressUpdate(AddressFields):
    """The address as it shall be; what is left out is emptied. The default is chosen by its own route."""


class SavedAddress(_Read):
    """One of a customer's addresses."""

    id: uuid.UUID = Field(description="Address id.", examples=[_ID])
    label: str = Field(description="The customer's name for it.", examples=["Home"])
    name: str = Field(description="Recipient.", examples=["Ada Lovelace"])
    line1: str = Field(description="Street and number.", examples=["12 St James's Square"])
    line2: str = Field(description="Flat, company.", examples=["2nd floor"])
    city: str = Field(description="City.", examples=["London"])
    region: str = Field(description="State or county.", examples=["Greater London"])
    postal_code: str = Field(description="Postal code.", examples=["SW1Y 4JH"])
    country: str = Field(description="ISO 3166-1 alpha-2.", examples=["GB"])
    phone: str = Field(description="For the carrier.", examples=["+442071234567"])
    latitude: float | None = Field(description="Degrees north.", examples=[51.5074])
    longitude: float | None = Field(description="Degrees east.", examples=[-0.1355])
    is_default: bool = Field(description="Whether checkout offers it first.", examples=[True])
    created_at: dt.datetime = Field(description="When it was added.", examples=["2026-03-01T12:00:00Z"])
    updated_at: dt.datetime = Field(description="When it last changed.", examples=["2026-03-01T12:00:00Z"])


class AddressList(_Read):
    """A customer's addresses: the default first, then the newest."""

    items: list[SavedAddress] = Field(description="All of them; there is a limit on how many.")

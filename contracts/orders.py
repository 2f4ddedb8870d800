"""Values that orders are made of. Money is integer minor units with an ISO 4217 currency."""

import datetime as dt
import enum

import msgspec


class OrderStatus(enum.StrEnum):
    """Where an order stands; the saga's states (see ``sagas/order.py``)."""

    PENDING = "pending"
    AWAITING_PAYMENT = "awaiting_payment"
    CONFIRMED = "confirmed"
    PROCESSING = "processing"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class CancelReason(enum.StrEnum):
    """Why an order ended without delivery."""

    OUT_OF_STOCK = "out_of_stock"
    SOLD_OUT = "sold_out"
    ALREADY_BOUGHT = "already_bought"
    PAYMENT_FAILED = "payment_failed"
    PAYMENT_TIMEOUT = "payment_timeout"
    CUSTOMER_REQUEST = "customer_request"
    ADMIN_REQUEST = "admin_request"


class PaymentMethodType(enum.StrEnum):
    """How a customer pays. Which provider serves a method is a setting of the payments service."""

    CARD = "card"
    PAYPAL = "paypal"
    WALLET = "wallet"


class PaymentMethod(msgspec.Struct, frozen=True, kw_only=True):
    """A method and the provider's token for the customer's instrument; never a card number."""

    type: PaymentMethodType
    token: str


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where an order goes. ``country`` is ISO 3166-1 alpha-2; latitude and longitude are degrees, when known."""

    name: str
    line1: str
    city: str
    postal_code: str
    country: str
    line2: str = ""
    region: str = ""
    phone: str = ""
    latitude: float | None = None
    longitude: float | None = None


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One product in an order at the price it was bought for (minor units, each)."""

    product_id: str
    sku: str
    name: str
    category: str
    quantity: int
    unit_price: int


class SaleTerms(msgspec.Struct, frozen=True, kw_only=True):
    """The flash sale that an order was placed in, in the words of its opening.

    One product at a special price: ``units`` of it altogether, ``units_per_customer`` at most for one customer.
    """

    sale_id: str
    product_id: str
    units: int
    units_per_customer: int
    ends_at: dt.datetime


class StockLine(msgspec.Struct, frozen=True, kw_only=True):
    """How many units of a product."""

    product_id: str
    quantity: int


class Allocation(msgspec.Struct, frozen=True, kw_only=True):
    """How many units of a product leave which warehouse."""

    product_id: str
    warehouse_id: str
    quantity: int

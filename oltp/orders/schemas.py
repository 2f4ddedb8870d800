"""Orders as OpenAPI shows them. Money is integer minor units of the order's currency."""

import datetime as dt
import uuid
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from contracts.orders import CancelReason, OrderStatus, PaymentMethodType
from kit.moments import Moment
from oltp.orders.desk import ID_PREFIX, DeskFilter, Sort
from oltp.orders.domain import Filter, Item, Order, Outstanding, PaymentState, Recorded, Step, StoredOrder
from oltp.orders.service import OrderView

_ORDER_ID = "0193a0c4-80aa-7e55-8c0e-5a1b9a4f6d02"
_USER_ID = "0193a0c4-2b10-7a61-9d0f-0b6f3a4c8e21"
_MOMENT = "2026-11-27T08:00:00.123456Z"

LARGEST_TOTAL: Final = 999_999_999_999
"""Minor units that an order's total column holds: NUMERIC(12,2)."""

SearchText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
]


Cursor = Annotated[str | None, StringConstraints(max_length=200)]
CURSOR: Final = Field(default=None, description="`next_cursor` of the page before.")


class OrderFilter(BaseModel):
    """How to narrow orders."""

    model_config = ConfigDict(extra="forbid")

    status: list[OrderStatus] = Field(
        default_factory=list, max_length=len(OrderStatus), description="Any of these; all if absent."
    )
    date_from: Moment | None = Field(
        default=None, description="Created at or after, with its offset.", examples=["2026-01-01T00:00:00Z"]
    )
    date_to: Moment | None = Field(
        default=None, description="Created before, with its offset.", examples=["2027-01-01T00:00:00Z"]
    )
    price_min: int | None = Field(
        default=None, ge=0, le=LARGEST_TOTAL, description="Lowest total, minor units, included.", examples=[1000]
    )
    price_max: int | None = Field(
        default=None, ge=0, le=LARGEST_TOTAL, description="Highest total, minor units, included.", examples=[20000]
    )

    def to_filter(self, text: str = "") -> Filter:
        """The filter that it asks for."""
        return Filter(
            statuses=frozenset(self.status),
            date_from=self.date_from,
            date_to=self.date_to,
            price_min=self.price_min,
            price_max=self.price_max,
            text=text,
        )


class MyOrdersQuery(OrderFilter):
    """How to narrow and page one's own orders, newest first."""

    q: SearchText | None = Field(
        default=None, description="Part of a product's name or of the order's id.", examples=["Earl Grey"]
    )
    cursor: Cursor = CURSOR
    limit: int = Field(default=20, ge=1, le=100, description="Most orders on a page.", examples=[20])


class AdminOrdersFilter(OrderFilter):
    """How to narrow everybody's orders."""

    user_id: uuid.UUID | None = Field(default=None, description="Only this customer's.", examples=[_USER_ID])
    product_id: uuid.UUID | None = Field(
        default=None, description="Only those with this product.", examples=["0193a0c4-7c1e-7d3a-9a53-2f6d1c0f7b11"]
    )
    id_prefix: Annotated[str, StringConstraints(pattern=ID_PREFIX)] | None = Field(
        default=None, description="The beginning of the order's id, eight digits or more.", examples=["0193a0c4-80aa"]
    )

    def to_desk_filter(self) -> DeskFilter:
        """The filter that it asks for."""
        return DeskFilter(
            orders=self.to_filter(),
            user_id=str(self.user_id) if self.user_id is not None else None,
            product_id=str(self.product_id) if self.product_id is not None else None,
            id_prefix=self.id_prefix or "",
        )


class AdminOrdersQuery(AdminOrdersFilter):
    """How to narrow, sort and page everybody's orders."""

    sort: Sort = Field(
        default=Sort.NEWEST,
        description="Order; those with one product can only be sorted by date.",
        examples=["highest"],
    )
    cursor: Cursor = CURSOR
    limit: int = Field(default=50, ge=1, le=100, description="Most orders on a page.", examples=[50])

    @model_validator(mode="after")
    def _sortable(self) -> Self:
        if self.product_id is not None and self.id_prefix is None and self.sort.by_total:
            raise PydanticCustomError("sort", "orders with one product can only be sorted by date")
        return self


class OrderCount(BaseModel):
    """How many orders fit."""

    count: int = Field(description="Orders; at most 10,000.", examples=[1834])
    is_exact: bool = Field(description="False: there are at least `count`, counting stopped there.", examples=[True])


class OrderItem(BaseModel):
    """One product of an order."""

    product_id: str = Field(description="The product.", examples=["0193a0c4-7c1e-7d3a-9a53-2f6d1c0f7b11"])
    sku: str = Field(description="Stock keeping unit.", examples=["TEA-0042"])
    name: str = Field(description="The product's name when it was bought.", examples=["Earl Grey, 250 g"])
    category: str = Field(description="Its category when it was bought.", examples=["tea"])
    quantity: int = Field(description="Units.", examples=[2])
    unit_price: int = Field(description="Minor units, each, when it was bought.", examples=[1250])


class TimelineEntry(BaseModel):
    """One step of an order."""

    sequence: int = Field(description="Grows from step to step, not always by one.", examples=[3])
    type: str = Field(description="The event that told of it.", examples=["order.confirmed"])
    previous_status: OrderStatus = Field(description="Where it stood before.", examples=["awaiting_payment"])
    status: OrderStatus = Field(description="Where it stands since.", examples=["confirmed"])
    reason: str = Field(description="Why; empty when there is nothing to say.", examples=[""])
    occurred_at: dt.datetime = Field(description="When.", examples=[_MOMENT])


class PaymentSummary(BaseModel):
    """How an order is paid and what came of it."""

    method: PaymentMethodType = Field(description="Kind of instrument.", examples=["card"])
    status: PaymentState = Field(description="What came of it so far.", examples=["captured"])


class OrderAddress(BaseModel):
    """Where an order goes."""

    name: str = Field(description="Who receives it.", examples=["Ada Lovelace"])
    line1: str = Field(description="Street and number.", examples=["12 St James's Square"])
    line2: str = Field(description="Flat, floor, company; may be empty.", examples=["Flat 3"])
    city: str = Field(description="Town.", examples=["London"])
    region: str = Field(description="State or province; may be empty.", examples=["Greater London"])
    postal_code: str = Field(description="Postal code.", examples=["SW1Y 4JH"])
    country: str = Field(description="ISO 3166-1 alpha-2.", examples=["GB"])
    phone: str = Field(description="For the carrier; may be empty.", examples=["+44 20 7946 0000"])


class OrderSummary(BaseModel):
    """An order in a list."""

    order_id: str = Field(description="The order.", examples=[_ORDER_ID])
    status: OrderStatus = Field(description="Where it stands.", examples=["confirmed"])
    cancel_reason: CancelReason | None = Field(
        description="Why it is or was cancelled; null if it is not.", examples=[None]
    )
    total_amount: int = Field(description="Minor units.", examples=[2500])
    currency: str = Field(description="ISO 4217.", examples=["USD"])
    items: list[OrderItem] = Field(description="What was bought.")
    created_at: dt.datetime = Field(description="When it was accepted.", examples=[_MOMENT])
    updated_at: dt.datetime = Field(description="When it came to stand where it does.", examples=[_MOMENT])


class OrderDetail(OrderSummary):
    """An order with its story."""

    shipping_address: OrderAddress = Field(description="Where it goes.")
    payment: PaymentSummary = Field(description="How it is paid and what came of it.")
    timeline: list[TimelineEntry] = Field(description="Its steps, oldest first.")
    queue_position: int | None = Field(
        description="While `pending`: messages that are taken up before it; in a flash sale whose units are all held, "
        "its place among those who wait for one. 0 when it is its turn, and never more than before. Null afterwards, "
        "and while it is not known.",
        examples=[0],
    )


class AdminOrderSummary(OrderSummary):
    """An order in the admin's list."""

    user_id: str = Field(description="Whose it is.", examples=[_USER_ID])


class RecordedTransition(BaseModel):
    """A transition as the saga recorded it, whether or not the customer saw it."""

    sequence: int = Field(description="Counts the order's transitions from 1.", examples=[4])
    message_id: str = Field(
        description="The message that caused it.", examples=["b5d4045c-3f46-5f7a-9a4e-1d6f2c9b7a10"]
    )
    message_type: str = Field(description="That message's type.", examples=["payment.succeeded"])
    previous_status: OrderStatus = Field(description="Where the order stood.", examples=["awaiting_payment"])
    status: OrderStatus = Field(description="Where it stood afterwards.", examples=["confirmed"])
    reason: str = Field(description="Why; may be empty.", examples=[""])
    outputs: list[str] = Field(description="Types of the messages that it sent.", examples=[["order.confirmed"]])
    occurred_at: dt.datetime = Field(description="When.", examples=[_MOMENT])


class OutstandingCommand(BaseModel):
    """A command that nobody has answered yet."""

    command: str = Field(description="What was asked.", examples=["payment.refund"])
    attempt: int = Field(description="Which attempt this is, from 1.", examples=[1])
    tries: int = Field(description="How often this attempt was sent.", examples=[2])
    due_at: dt.datetime = Field(description="When it is sent again.", examples=[_MOMENT])


class AdminOrderDetail(OrderDetail):
    """An order with everything that its saga recorded; empty lists while the saga has not written it."""

    user_id: str = Field(description="Whose it is.", examples=[_USER_ID])
    correlation_id: str = Field(description="Follows its checkout through every log.", examples=["4bf92f3577b34da6"])
    transitions: list[RecordedTransition] = Field(description="Every transition, oldest first.")
    outstanding: list[OutstandingCommand] = Field(description="Commands under way, compensations included.")


def _item(item: Item) -> OrderItem:
    return OrderItem(
        product_id=item.product_id,
        sku=item.sku,
        name=item.name,
        category=item.category,
        quantity=item.quantity,
        unit_price=item.unit_price,
    )


def _entry(step: Step) -> TimelineEntry:
    return TimelineEntry(
        sequence=step.sequence,
        type=step.type,
        previous_status=step.previous_status,
        status=step.status,
        reason=step.reason,
        occurred_at=step.occurred_at,
    )


def _summary(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.order_id,
        "status": order.status,
        "cancel_reason": order.cancel_reason,
        "total_amount": order.placement.total_amount,
        "currency": order.placement.currency,
        "items": [_item(item) for item in order.placement.items],
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }


def _detail(view: OrderView) -> dict[str, Any]:
    address = view.shipping_address
    return {
        **_summary(view.order),
        "shipping_address": OrderAddress(**{name: address.get(name) or "" for name in OrderAddress.model_fields}),
        "payment": PaymentSummary(method=PaymentMethodType(view.order.placement.payment_method), status=view.payment),
        "timeline": [_entry(step) for step in view.order.timeline],
        "queue_position": view.queue_position,
    }


def _transition(row: Recorded) -> RecordedTransition:
    return RecordedTransition(
        sequence=row.sequence,
        message_id=row.message_id,
        message_type=row.message_type,
        previous_status=row.previous_status,
        status=row.status,
        reason=row.reason,
        outputs=list(row.outputs),
        occurred_at=row.occurred_at,
    )


def _outstanding(command: Outstanding) -> OutstandingCommand:
    return OutstandingCommand(
        command=command.command, attempt=command.attempt, tries=command.tries, due_at=command.due_at
    )


def order_summary(order: Order) -> OrderSummary:
    """An order in its customer's list."""
    return OrderSummary(**_summary(order))


def order_detail(view: OrderView) -> OrderDetail:
    """An order as its customer reads it."""
    return OrderDetail(**_detail(view))


def admin_order_summary(stored: StoredOrder) -> AdminOrderSummary:
    """An order in the admin's list."""
    return AdminOrderSummary(**_summary(stored.order), user_id=stored.user_id)


def admin_order_detail(view: OrderView) -> AdminOrderDetail:
    """An order as an admin reads it."""
    stored = view.stored
    return AdminOrderDetail(
        **_detail(view),
        user_id=view.user_id,
        correlation_id=stored.correlation_id if stored else "",
        transitions=[_transition(row) for row in stored.recorded] if stored else [],
        outstanding=[_outstanding(command) for command in stored.outstanding] if stored else [],
    )

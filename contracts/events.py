"""What has happened. Past tense; fields are added, never changed."""

import datetime as dt

from contracts import topics
from contracts.envelope import Message, message
from contracts.orders import Address, Allocation, OrderLine, OrderStatus, PaymentMethod, SaleTerms


@message("order.created", topics.ORDER_EVENTS)
class OrderCreated(Message):
    """A checkout was accepted by the gateway: the order is born here, before any database knows it.

    ``queue_position`` is the saga's backlog in the order's partition when it was accepted. ``request_hash`` is the
    SHA-256 of the checkout's body, by which a reused idempotency key with another body is told apart. ``sale`` is the
    flash sale that one of its lines was bought in; such an order has the sale's product id as partition key.
    ``client_ip`` is the address that the checkout came from; empty if nobody noted it.
    """

    order_id: str
    user_id: str
    idempotency_key: str
    request_hash: str
    currency: str
    total_amount: int
    lines: list[OrderLine]
    shipping_address: Address
    payment_method: PaymentMethod
    queue_position: int
    created_at: dt.datetime
    sale: SaleTerms | None = None
    client_ip: str = ""


class OrderTransition(Message):
    """An order moved. ``sequence`` counts an order's transitions from 1 (``created``): the newest one wins."""

    order_id: str
    user_id: str
    sequence: int
    previous_status: OrderStatus
    status: OrderStatus
    total_amount: int
    currency: str
    occurred_at: dt.datetime
    reason: str = ""


@message("order.reserved", topics.ORDER_EVENTS)
class OrderReserved(OrderTransition):
    """All stock is held; the payment is under way."""


@message("order.confirmed", topics.ORDER_EVENTS)
class OrderConfirmed(OrderTransition):
    """Reserved and paid."""


@message("order.processing", topics.ORDER_EVENTS)
class OrderProcessing(OrderTransition):
    """Its shipments are being picked."""


@message("order.shipped", topics.ORDER_EVENTS)
class OrderShipped(OrderTransition):
    """The first parcel left; the order can no longer be cancelled."""


@message("order.delivered", topics.ORDER_EVENTS)
class OrderDelivered(OrderTransition):
    """The last parcel arrived. Terminal."""


@message("order.cancelling", topics.ORDER_EVENTS)
class OrderCancelling(OrderTransition):
    """A cancellation was asked for and shipping has not yet said whether it can still stop the parcels."""


@message("order.cancelled", topics.ORDER_EVENTS)
class OrderCancelled(OrderTransition):
    """Ended without delivery, for a :class:`contracts.orders.CancelReason`; compensations may still be under way."""


@message("order.cancellation_refused", topics.ORDER_EVENTS)
class OrderCancellationRefused(OrderTransition):
    """A cancellation came too late: the status stands."""


@message("inventory.reserved", topics.INVENTORY_EVENTS)
class InventoryReserved(Message):
    """All lines of an order are held, allocated to warehouses, until ``expires_at`` unless paid."""

    order_id: str
    allocations: list[Allocation]
    expires_at: dt.datetime


@message("inventory.failed", topics.INVENTORY_EVENTS)
class InventoryFailed(Message):
    """Nothing was reserved.

    ``reason``: ``out_of_stock``, ``unknown_product``, ``cancelled`` (released before), and of flash sales ``sold_out``
    and ``already_bought`` (the customer has, or waits for, as many units as one may have).
    """

    order_id: str
    reason: str
    product_ids: list[str]


@message("inventory.released", topics.INVENTORY_EVENTS)
class InventoryReleased(Message):
    """An order holds no stock any more (also answered when it never did)."""

    order_id: str
    reason: str


@message("inventory.fulfilled", topics.INVENTORY_EVENTS)
class InventoryFulfilled(Message):
    """An order's units left the books: quantity and reserved quantity went down together."""

    order_id: str


@message("inventory.hold_expired", topics.INVENTORY_EVENTS)
class InventoryHoldExpired(Message):
    """A hold passed its time. Inventory only says so; whether the order is paid is the saga's knowledge."""

    order_id: str
    expires_at: dt.datetime


@message("inventory.adjusted", topics.INVENTORY_EVENTS)
class InventoryAdjusted(Message):
    """An admin changed a product's stock in one warehouse by ``delta`` units; keyed by product id."""

    product_id: str
    warehouse_id: str
    delta: int
    quantity: int
    reason: str
    actor_id: str


@message("payment.succeeded", topics.PAYMENT_EVENTS)
class PaymentSucceeded(Message):
    """The order's total is captured."""

    order_id: str
    payment_id: str
    provider: str
    amount: int
    currency: str
    attempts: int
    duration_ms: int


@message("payment.failed", topics.PAYMENT_EVENTS)
class PaymentFailed(Message):
    """The provider declined for good. ``reason`` is a decline code such as ``insufficient_funds``."""

    order_id: str
    payment_id: str
    provider: str
    reason: str
    attempts: int
    duration_ms: int


@message("payment.voided", topics.PAYMENT_EVENTS)
class PaymentVoided(Message):
    """Nothing was taken, and nothing can be taken any more for this order."""

    order_id: str
    payment_id: str


@message("payment.refunded", topics.PAYMENT_EVENTS)
class PaymentRefunded(Message):
    """What was captured went back in full."""

    order_id: str
    payment_id: str
    amount: int
    currency: str


@message("payment.disputed", topics.PAYMENT_EVENTS)
class PaymentDisputed(Message):
    """The customer's bank opened or closed a dispute (chargeback) about a captured payment."""

    order_id: str
    payment_id: str
    amount: int
    currency: str
    reason: str
    status: str


class Parcel(Message):
    """One shipment of an order, from one warehouse."""

    shipment_id: str
    warehouse_id: str
    carrier: str
    service_level: str
    tracking_number: str
    estimated_delivery: dt.datetime


@message("shipment.created", topics.SHIPPING_EVENTS)
class ShipmentCreated(Message):
    """Every parcel of the order is booked with a carrier."""

    order_id: str
    parcels: list[Parcel]


@message("shipment.failed", topics.SHIPPING_EVENTS)
class ShipmentFailed(Message):
    """No carrier took the order this time; the saga asks again later."""

    order_id: str
    reason: str


@message("shipment.cancelled", topics.SHIPPING_EVENTS)
class ShipmentCancelled(Message):
    """No parcel of the order left, and none will."""

    order_id: str


@message("shipment.cancel_refused", topics.SHIPPING_EVENTS)
class ShipmentCancelRefused(Message):
    """A parcel had left before the cancellation came."""

    order_id: str


@message("shipment.in_transit", topics.SHIPPING_EVENTS)
class ShipmentInTransit(Message):
    """The order's first parcel was handed to its carrier."""

    order_id: str
    shipment_id: str
    occurred_at: dt.datetime


@message("shipment.delivered", topics.SHIPPING_EVENTS)
class ShipmentDelivered(Message):
    """The order's last parcel arrived."""

    order_id: str
    occurred_at: dt.datetime


@message("shipment.moved", topics.SHIPPING_EVENTS)
class ShipmentMoved(Message):
    """A parcel reached a point of its route, or is late. ``status``: ``in_transit``, ``delayed`` or ``delivered``."""

    order_id: str
    user_id: str
    shipment_id: str
    status: str
    latitude: float
    longitude: float
    estimated_delivery: dt.datetime
    occurred_at: dt.datetime


@message("notification.sent", topics.NOTIFICATION_EVENTS)
class NotificationSent(Message):
    """A message went out over a channel."""

    notification_id: str
    user_id: str
    channel: str
    template: str
    cause_id: str


@message("notification.failed", topics.NOTIFICATION_EVENTS)
class NotificationFailed(Message):
    """A message could not be sent after all its tries."""

    notification_id: str
    user_id: str
    channel: str
    template: str
    cause_id: str
    reason: str


@message("product.changed", topics.CATALOG_EVENTS)
class ProductChanged(Message):
    """A product as it stands now: created, edited, re-priced or (de)activated. ``version`` counts its changes."""

    product_id: str
    version: int
    sku: str
    name: str
    category: str
    unit_price: int
    currency: str
    active: bool


@message("sale.ended", topics.SALE_EVENTS)
class SaleEnded(Message):
    """An admin ended a flash sale before its time. Orders that were accepted before stand."""

    sale_id: str
    product_id: str
    units: int
    units_per_customer: int
    ended_at: dt.datetime
    actor_id: str


@message("account.registered", topics.ACCOUNT_EVENTS)
class AccountRegistered(Message):
    """A customer opened an account."""

    user_id: str
    email: str
    name: str
    phone: str


@message("account.changed", topics.ACCOUNT_EVENTS)
class AccountChanged(Message):
    """A customer's contact data as they stand now."""

    user_id: str
    email: str
    name: str
    phone: str


@message("account.email_changed", topics.ACCOUNT_EVENTS)
class AccountEmailChanged(Message):
    """A customer's login and address for mail is another one from now on; both addresses are told."""

    user_id: str
    name: str
    previous_email: str
    email: str


@message("alert.raised", topics.PLATFORM_EVENTS)
class AlertRaised(Message):
    """The data platform found something that people have to look at.

    ``kind``: ``run_failed``, ``check_failed``, ``cdc_lag`` or ``freshness``. ``details`` are lines of text: what was
    found, and the rows it was found in. ``recipient`` is an email address; ``link`` leads to where it was found.
    """

    alert_id: str
    kind: str
    title: str
    details: list[str]
    recipient: str
    link: str
    raised_at: dt.datetime

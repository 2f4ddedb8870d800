"""What one process asks of another. Imperative; every command is answered by one of the events its docstring names."""

from contracts import topics
from contracts.envelope import Message, message
from contracts.orders import Address, Allocation, CancelReason, OrderStatus, PaymentMethod, SaleTerms, StockLine


@message("order.cancel", topics.ORDER_COMMANDS)
class CancelOrder(Message):
    """Cancel an order if no parcel has left. Answered by ``order.cancelled`` or ``order.cancellation_refused``."""

    order_id: str
    reason: CancelReason
    actor_id: str


@message("order.time_out", topics.ORDER_COMMANDS)
class TimeOutOrder(Message):
    """The order's deadline for ``status`` has passed; stale if the order has moved on since ``sequence``."""

    order_id: str
    status: OrderStatus
    sequence: int


@message("inventory.reserve", topics.INVENTORY_COMMANDS)
class ReserveInventory(Message):
    """Hold all lines or none. Answered by ``inventory.reserved`` or ``inventory.failed``.

    One of a flash sale is taken in the order of the log; the answer waits while it may still get a unit that others
    hold and have not paid.
    """

    order_id: str
    lines: list[StockLine]
    destination: Address
    customer_id: str = ""
    sale: SaleTerms | None = None


@message("inventory.release", topics.INVENTORY_COMMANDS)
class ReleaseInventory(Message):
    """Give back what the order holds, now and for ever. Answered by ``inventory.released``."""

    order_id: str
    reason: str


@message("inventory.fulfil", topics.INVENTORY_COMMANDS)
class FulfilInventory(Message):
    """The order's units have left the warehouse. Answered by ``inventory.fulfilled``."""

    order_id: str


@message("payment.charge", topics.PAYMENT_COMMANDS)
class ChargePayment(Message):
    """Take the order's total once. Answered by ``payment.succeeded`` or ``payment.failed``."""

    order_id: str
    user_id: str
    amount: int
    currency: str
    method: PaymentMethod


@message("payment.void", topics.PAYMENT_COMMANDS)
class VoidPayment(Message):
    """Make sure that nothing stays charged, whatever came of the charge.

    Answered by ``payment.voided``, or by ``payment.refunded`` if money had moved.
    """

    order_id: str


@message("payment.refund", topics.PAYMENT_COMMANDS)
class RefundPayment(Message):
    """Give back what was captured, in full. Answered by ``payment.refunded``."""

    order_id: str


@message("shipping.create", topics.SHIPPING_COMMANDS)
class CreateShipment(Message):
    """Book parcels, one per warehouse. Answered by ``shipment.created`` or ``shipment.failed``."""

    order_id: str
    user_id: str
    allocations: list[Allocation]
    destination: Address
    attempt: int


@message("shipping.cancel", topics.SHIPPING_COMMANDS)
class CancelShipment(Message):
    """Stop the parcels if none has left. Answered by ``shipment.cancelled`` or ``shipment.cancel_refused``."""

    order_id: str

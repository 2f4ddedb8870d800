"""What can be wrong with a request about an order."""

from kit.errors import Conflict, NotFound


class OrderNotFound(NotFound):
    """There is no order with this id among those that the caller may see."""

    type = "order-not-found"
    title = "No such order"

    def __init__(self) -> None:
        super().__init__("There is no order with this id among those that you may see.")


class NotCancellable(Conflict):
    """The order has left the warehouse: it can no longer be cancelled."""

    type = "not-cancellable"
    title = "The order can no longer be cancelled"

    def __init__(self, status: str) -> None:
        super().__init__(f"The order is {status}: an order can be cancelled until it is shipped.", order_status=status)

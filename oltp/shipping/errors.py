"""What can be wrong with a request about shipments."""

from kit.errors import Conflict


class NotShippable(Conflict):
    """The parcels' present state forbids it; ``state`` says where they stand."""

    type = "not-shippable"
    title = "The order's parcels can't be moved so"

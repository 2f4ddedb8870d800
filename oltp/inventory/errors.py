"""What an admin is told when stock can't be changed."""

from kit.errors import Conflict, NotFound, Problem


class UnknownProduct(NotFound):
    """There is no such product, neither in a warehouse nor in the catalog."""

    type = "unknown-product"
    title = "Unknown product"


class UnknownWarehouse(NotFound):
    """There is no warehouse with this id; `GET /api/warehouses` lists them."""

    type = "unknown-warehouse"
    title = "Unknown warehouse"


class BelowReserved(Conflict):
    """Fewer units would lie on the shelf than orders hold."""

    type = "below-reserved"
    title = "Not enough units"


class TooMuchStock(Conflict):
    """More units would lie on the shelf than can be counted."""

    type = "too-much-stock"
    title = "Too many units"


class KeyReused(Problem):
    """This idempotency key was used before, for another change."""

    status_code = 422
    type = "idempotency-key-reused"
    title = "Idempotency key reused"

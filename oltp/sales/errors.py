"""What an admin is told when a sale can't be."""

from kit.errors import Conflict, NotFound


class SaleNotFound(NotFound):
    """There is no sale with this id."""

    type = "sale-not-found"
    title = "No such sale"


class SaleOverlaps(Conflict):
    """The product has a sale in this window already: `sale_id`. `errors` names the window's fields."""

    type = "sale-overlaps"
    title = "The product is on sale already"

    def __init__(self, sale_id: str | None) -> None:
        fields = [{"field": f"body.{name}", "message": "overlaps another sale"} for name in ("starts_at", "ends_at")]
        super().__init__("Another sale of the product overlaps this window.", sale_id=sale_id, errors=fields)

"""What can go wrong with the catalog."""

from kit.errors import Conflict, NotFound


class ProductNotFound(NotFound):
    """There is no product with this id, or it is not for sale."""

    type = "product-not-found"
    title = "No such product"


class SkuTaken(Conflict):
    """Another product has this SKU."""

    type = "sku-taken"
    title = "SKU taken"


class CategoryUnknown(Conflict):
    """There is no category with this slug; add it first."""

    type = "category-unknown"
    title = "No such category"


class CategoryExists(Conflict):
    """There is a category with this slug or name."""

    type = "category-exists"
    title = "Category exists"


class VersionConflict(Conflict):
    """The product has changed since the version that this edit is based on; `current_version` says to which."""

    type = "version-conflict"
    title = "The product has changed"

    def __init__(self, current_version: int) -> None:
        super().__init__(
            f"The product is at version {current_version}; read it again and repeat the edit.",
            current_version=current_version,
        )

"""Settings of the cart. The process that serves its routes reads them beside its own."""

from pydantic import Field

from kit.settings import Settings


class CartSettings(Settings):
    """How much a cart holds, and for how long."""

    cart_max_quantity: int = Field(default=99, ge=1, description="Units of one product in a cart.")
    cart_max_lines: int = Field(default=50, ge=1, description="Products in a cart.")
    cart_idle_seconds: int = Field(
        default=30 * 86_400, ge=1, description="A cart that nobody touched or looked at for so long is emptied."
    )
    cart_low_stock: int = Field(default=10, ge=0, description="Units below which a customer is told how few are left.")

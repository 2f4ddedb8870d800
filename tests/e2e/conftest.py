"""The running shop: see :mod:`tests.shop`."""

from tests.shop import admin, customer, shop, shop_settings

__all__ = ["admin", "customer", "shop", "shop_settings"]

"""The running shop, and a rig on it: see :mod:`tests.shop` and :mod:`tests.rig`."""

from tests.rig import rig
from tests.shop import admin, customer, shop, shop_settings

__all__ = ["admin", "customer", "rig", "shop", "shop_settings"]

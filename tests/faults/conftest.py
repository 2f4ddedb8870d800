"""The running shop, with a rig on it: see :mod:`tests.rig`."""

from tests.rig import rig
from tests.shop import admin, customer, shop, shop_settings

__all__ = ["admin", "customer", "rig", "shop", "shop_settings"]

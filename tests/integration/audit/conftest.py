"""The small shop: see :mod:`tests.small_shop`."""

from tests.small_shop import audit_settings, connection, scratch, scratch_url, seed_settings, seeded

__all__ = ["audit_settings", "connection", "scratch", "scratch_url", "seed_settings", "seeded"]

"""Stores of their own, empty: see :mod:`tests.small_shop`."""

from tests.small_shop import scratch, scratch_url, seed_settings

__all__ = ["scratch", "scratch_url", "seed_settings"]

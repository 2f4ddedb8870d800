"""The payment providers' simulator in process."""

from tests.unit.payments.conftest import simulator, simulator_settings

__all__ = ["simulator", "simulator_settings"]

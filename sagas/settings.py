"""Settings of the order saga's worker."""

from pydantic import Field

from kit.settings import Settings


class SagaSettings(Settings):
    """What the saga's worker needs besides what all processes share."""

    payment_timeout_seconds: int = Field(default=120, ge=1, lt=600, description="Longer payments are undone.")
    saga_clock_seconds: float = Field(default=0.5, gt=0, description="How often due orders are looked for.")

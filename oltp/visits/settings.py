"""Settings of the visits."""

from pydantic import Field

from kit.settings import Settings


class VisitSettings(Settings):
    """How much may wait to be sent."""

    visits_most_waiting: int = Field(
        default=20_000, ge=1, description="Events of visitors that may wait for the broker; further ones are dropped."
    )
    visits_send_seconds: float = Field(default=0.1, gt=0, description="How often events of visitors are sent.")

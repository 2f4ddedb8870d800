"""Settings of flash sales. The process that serves their routes, or sells in them, reads them beside its own."""

from pydantic import Field

from kit.settings import Settings


class SalesSettings(Settings):
    """How soon every process knows of a sale."""

    sales_poll_seconds: float = Field(
        default=0.4, gt=0, le=0.5, description="How often a process looks for sales that were opened or ended."
    )

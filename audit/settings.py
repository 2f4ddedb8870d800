"""Settings of the audit."""

from pydantic import Field, SecretStr

from kit.settings import Settings

_PROVIDERS_PORT = 9


class AuditSettings(Settings):
    """Where the books of others are."""

    port_base: int = Field(default=18000, description="First port of the stack.")
    stripe_api_base: str = Field(default="", description="The simulator of Stripe and PayPal; empty: the local one.")

    stripe_api_key: SecretStr = Field(default=SecretStr(""), description="Opens the simulator's books.")

    @property
    def providers_address(self) -> str:
        """The simulator whose own books are compared."""
        return self.stripe_api_base or f"http://127.0.0.1:{self.port_base + _PROVIDERS_PORT}"

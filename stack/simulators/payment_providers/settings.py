"""Settings of the simulator: the credentials that the shop was given, where it calls back, where its books lie."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SimulatorSettings(BaseSettings):
    """Read from the same ``SURGE_*`` variables as the shop's own settings."""

    model_config = SettingsConfigDict(env_prefix="SURGE_", extra="ignore", frozen=True)

    process: str = "payment-providers"
    host: str = "127.0.0.1"
    port: int = Field(default=18009, ge=1, le=65535)
    log_level: str = "INFO"
    log_json: bool = True

    home: Path = Field(default=Path(".surge"), description="The instance's home.")
    simulator_state: Path | None = Field(default=None, description="SQLite file; default: data/ in the home.")
    simulator_hold_seconds: float = Field(default=30.0, gt=0, description="How long an answer is held that gets lost.")

    payments_failure_rate: float = Field(default=0.0, ge=0, le=1)
    payments_failure_reasons: Annotated[list[str], NoDecode] = [
        "insufficient_funds",
        "card_declined",
        "expired_card",
        "fraudulent",
    ]
    payments_latency_ms: int = Field(default=0, ge=0)
    payments_seed: int = 1

    stripe_api_key: SecretStr = Field(min_length=8)
    stripe_webhook_secret: SecretStr = Field(min_length=8)
    stripe_webhook_url: str = Field(default="", description="Where Stripe's events go; empty: nowhere.")
    paypal_client_id: str = Field(min_length=1)
    paypal_client_secret: SecretStr = Field(min_length=8)
    paypal_webhook_id: str = Field(min_length=1)
    paypal_webhook_secret: SecretStr = Field(min_length=8, description="Signs PayPal's events.")
    paypal_webhook_url: str = Field(default="", description="Where PayPal's events go; empty: nowhere.")

    @field_validator("payments_failure_reasons", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def state_file(self) -> Path:
        """Where the books lie."""
        return self.simulator_state or self.home / "data" / "payment-providers.sqlite3"

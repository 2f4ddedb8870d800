"""Settings of every process, read from ``SURGE_*`` environment variables once, at its start."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Settings(BaseSettings):
    """What all processes share. A process with needs of its own subclasses it.

    Every port of the stack follows from ``port_base``; the addresses are written by whatever starts the process.
    """

    model_config = SettingsConfigDict(env_prefix="SURGE_", extra="ignore", frozen=True)

    instance: str = Field(default="shop", description="Name of this installation, in logs and client ids.")
    process: str = Field(default="surge", description="Name of this process; also its static Kafka group member id.")
    host: str = Field(default="127.0.0.1", description="Address that the process listens on.")
    port: int = Field(default=18000, ge=1, le=65535, description="Port that the process listens on.")
    entrance_port: int | None = Field(
        default=None, ge=1, le=65535, description="One more port, shared with other processes of the same role."
    )

    database_url: SecretStr = Field(description="postgresql+asyncpg:// URL of the shop's database.")
    database_pool_size: int = Field(default=8, ge=1, description="Open connections that a process keeps.")
    redis_url: SecretStr = Field(description="redis:// URL.")
    kafka_bootstrap: str = Field(default="127.0.0.1:18003", description="host:port of a broker.")
    kafka_linger_ms: int = Field(default=1, ge=0, description="How long a message waits for others to go with it.")
    mongo_url: SecretStr = Field(default=SecretStr("mongodb://127.0.0.1:18006"), description="Order history store.")

    jwt_secret: SecretStr = Field(min_length=32, description="HS256 key of access tokens.")
    jwt_issuer: str = "surge"
    jwt_audience: str = "surge-api"
    access_token_seconds: int = Field(default=900, ge=30)

    currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    log_level: str = "INFO"
    log_json: bool = True
    cors_origins: Annotated[list[str], NoDecode] = Field(default_factory=list)
    max_body_bytes: int = Field(default=64 * 1024, ge=1024)

    clock_offset_file: Path | None = Field(
        default=None, description="A file with seconds to add to the clock. Only for tests of wrong clocks."
    )

    batch_size: int = Field(default=500, ge=1, description="Most messages that a consumer takes at once.")
    consumer_attempts: int = Field(default=3, ge=1, description="Tries before a poisonous message is set aside.")

    @classmethod
    def beside(cls, settings: "Settings") -> Self:
        """A service's own settings in a process that several share: what they have in common is the process's."""
        return cls(**settings.model_dump())

    @model_validator(mode="before")
    @classmethod
    def _split_origins(cls, values: dict[str, object]) -> dict[str, object]:
        raw = values.get("cors_origins")
        if isinstance(raw, str):
            values = {**values, "cors_origins": [part.strip() for part in raw.split(",") if part.strip()]}
        return values

    @model_validator(mode="after")
    def _no_default_secret_in_public(self) -> Self:
        if self.host not in _LOOPBACK and "insecure" in self.jwt_secret.get_secret_value():
            raise ValueError("SURGE_JWT_SECRET is a default: set a real secret before listening beyond loopback")
        return self

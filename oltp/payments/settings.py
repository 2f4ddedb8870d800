"""Settings of payments: who serves which method, how the simulated provider behaves, how providers are reached."""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from contracts.orders import PaymentMethodType
from kit.settings import Settings

ProviderName = Literal["simulated", "stripe", "paypal"]

_PROVIDERS_PORT: Final = 9
"""Offset of the local Stripe and PayPal simulator in the stack's ports."""


class PaymentsSettings(Settings):
    """What the payments worker and the webhooks need besides the common settings."""

    port_base: int = Field(default=18000, description="First port of the stack.")

    payments_providers: dict[PaymentMethodType, ProviderName] = Field(
        default={
            PaymentMethodType.CARD: "stripe",
            PaymentMethodType.PAYPAL: "paypal",
            PaymentMethodType.WALLET: "simulated",
        },
        description="Provider of each payment method, as a JSON object.",
    )
    payments_failure_rate: float = Field(default=0.0, ge=0, le=1, description="Share of charges that are declined.")
    payments_failure_reasons: Annotated[list[str], NoDecode] = Field(
        default=["insufficient_funds", "card_declined", "expired_card", "fraudulent"],
        min_length=1,
        description="Reasons of those declines, equally often; separated by commas.",
    )
    payments_latency_ms: int = Field(default=0, ge=0, description="Mean time that the simulated provider takes.")
    payments_seed: int = Field(default=1, description="Fixes which charges are declined, and why.")

    payments_concurrency: int = Field(default=32, ge=1, description="Most calls to one provider at once.")
    payments_timeout_seconds: float = Field(default=5.0, gt=0, description="Time that one provider call may take.")
    payments_batch_seconds: float = Field(
        default=1.0, gt=0, description="Time that a batch waits for its calls; slower ones are concluded by themselves."
    )
    payments_retry_seconds: float = Field(default=0.5, gt=0, description="First pause after an unanswered call.")
    payments_retry_max_seconds: float = Field(default=30.0, gt=0, description="Longest pause between calls.")
    payments_resolver_seconds: float = Field(default=0.25, gt=0, description="How often due payments are looked for.")

    stripe_api_key: SecretStr = Field(default=SecretStr(""), description="Secret key of the Stripe account.")
    stripe_api_base: str = Field(default="", description="Stripe's address; empty: the local simulator.")
    stripe_webhook_secret: SecretStr = Field(default=SecretStr(""), description="Signs Stripe's webhooks.")
    paypal_client_id: str = Field(default="", description="PayPal REST application.")
    paypal_client_secret: SecretStr = Field(default=SecretStr(""), description="Its secret.")
    paypal_api_base: str = Field(default="", description="PayPal's address; empty: the local simulator.")
    paypal_webhook_id: str = Field(default="", description="The webhook that PayPal's messages are verified for.")
    webhook_tolerance_seconds: int = Field(default=300, ge=1, description="Age at which a webhook is no longer taken.")

    @field_validator("payments_failure_reasons", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        missing = [method.value for method in PaymentMethodType if method not in self.payments_providers]
        if missing:
            raise ValueError(f"SURGE_PAYMENTS_PROVIDERS names no provider for {', '.join(missing)}")
        return self

    @property
    def providers_address(self) -> str:
        """The local simulator of Stripe and PayPal."""
        return f"http://127.0.0.1:{self.port_base + _PROVIDERS_PORT}"

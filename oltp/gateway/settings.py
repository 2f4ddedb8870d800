"""Settings of the gateway."""

from typing import Self

from pydantic import Field, model_validator

from kit.settings import Settings


class GatewaySettings(Settings):
    """The gateway's limits and patience."""

    kafka_linger_ms: int = Field(default=4, ge=0, description="How long an order waits for others to go with it.")

    checkout_limit_per_minute: int = Field(
        default=3, ge=0, description="Checkouts that a customer may try in any 60 s; 0 lifts the limit."
    )
    checkout_produce_seconds: float = Field(
        default=3.0, gt=0, description="How long the broker may take to store an order before the answer is 503."
    )
    checkout_wait_seconds: float = Field(
        default=3.0,
        ge=0,
        description="How long a repeated request waits for the first one's answer before it gets 409.",
    )
    checkout_takeover_seconds: float = Field(
        default=5.0, gt=0, description="Age at which a claim without an answer counts as abandoned by its gateway."
    )
    checkout_recovery_wait_seconds: float = Field(
        default=2.0, ge=0, description="How long a checkout waits for Redis to learn the idempotency keys again."
    )
    checkout_doubt_seconds: float = Field(
        default=30.0,
        ge=0,
        description="For how long after Redis learnt the keys again an answer waits until the saga has the order; "
        "0: never.",
    )
    saga_group: str = Field(default="order-saga", description="The consumer group whose progress is the queue's.")
    idempotency_hours: int = Field(default=24, ge=1, description="How long an idempotency key is remembered.")

    checkout_address_limit_per_minute: int = Field(
        default=300, ge=0, description="Checkouts that one address may try in a minute; 0 lifts the limit."
    )
    checkout_limit_of_all_per_minute: int = Field(
        default=600_000, ge=0, description="Checkouts that all customers may try in a minute; 0 lifts the limit."
    )
    checkout_most_waiting: int = Field(
        default=20_000,
        ge=0,
        description="Messages that the saga may be behind before further checkouts get 503; 0 lifts the limit.",
    )
    sale_keeper_seconds: float = Field(
        default=2.0, gt=0, description="How often the flash sales' gate in Redis is compared with their orders."
    )

    user_requests_per_minute: int = Field(
        default=1200, ge=0, description="Requests of one signed-in user in a minute; 0 lifts the limit."
    )
    address_requests_per_minute: int = Field(
        default=600, ge=0, description="Anonymous requests of one address in a minute; 0 lifts the limit."
    )
    limit_loopback: bool = Field(
        default=False, description="Whether anonymous requests from this machine itself are limited too."
    )

    @model_validator(mode="after")
    def _takeover_after_produce(self) -> Self:
        if self.checkout_takeover_seconds <= self.checkout_produce_seconds:
            raise ValueError("SURGE_CHECKOUT_TAKEOVER_SECONDS must be longer than SURGE_CHECKOUT_PRODUCE_SECONDS")
        return self

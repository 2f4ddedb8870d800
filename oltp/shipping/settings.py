"""Settings of the shipping worker."""

from pydantic import Field

from kit.settings import Settings
from oltp.shipping.carriers import CarrierNetwork


class ShippingSettings(Settings):
    """The carriers that are simulated, and the clock that moves their parcels."""

    shipping_seed: int = Field(default=1, description="Other seeds give other carriers, refusals and delays.")
    shipping_failure_rate: float = Field(default=0.02, ge=0, le=1, description="Bookings that no carrier takes.")
    shipping_delay_rate: float = Field(default=0.05, ge=0, le=1, description="Parcels that are held up once.")
    shipping_clock_speed: float = Field(
        default=43_200.0, gt=0, description="Simulated seconds in a second: at 43,200 a day lasts 2 s."
    )
    shipping_legs: int = Field(default=4, ge=1, le=20, description="Legs of a parcel's way; one scan ends each.")
    shipping_clock_seconds: float = Field(default=0.25, gt=0, description="How often due parcels are looked for.")
    shipping_clock_batch: int = Field(default=500, ge=1, description="Most orders moved in one transaction.")

    def carriers(self) -> CarrierNetwork:
        """The carriers as set."""
        return CarrierNetwork(
            seed=self.shipping_seed,
            refusal_rate=self.shipping_failure_rate,
            delay_rate=self.shipping_delay_rate,
            clock_speed=self.shipping_clock_speed,
            legs=self.shipping_legs,
        )

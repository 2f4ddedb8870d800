"""Settings of the demo data."""

import datetime as dt
from pathlib import Path

from pydantic import Field, SecretStr

from kit.settings import Settings
from seed.plan import Plan, demo


class SeedSettings(Settings):
    """Who may sign in to the demo shop, how large it is, and how it is written."""

    home: Path = Field(default=Path(".surge"), description="The instance's folder.")

    admin_email: str = Field(default="admin@surge.example", description="The administrator's login.")
    admin_password: SecretStr = Field(min_length=10, description="The administrator's password.")
    demo_email: str = Field(default="customer1@surge.example", description="The first customer's login.")
    demo_password: SecretStr = Field(min_length=10, description="The password that all demo customers share.")

    demo_seed: int = Field(default=6, ge=0, description="Seed number: the same number makes the same shop.")
    demo_customers: int = Field(default=1_000, ge=1)
    demo_products: int = Field(default=2_000, ge=50)
    demo_orders: int = Field(default=20_000, ge=0)
    demo_recorded_days: int = Field(default=365, ge=0, description="Younger orders have all their records.")

    seed_processes: int = Field(default=2, ge=1, le=32, description="Processes that write a large shop's orders.")

    @property
    def folder(self) -> Path:
        """Where that lies which must not be in the database."""
        return self.home / "data" / "seed"

    def plan(self, now: dt.datetime) -> Plan:
        """The demo shop's plan."""
        return demo(
            now,
            customers=self.demo_customers,
            products=self.demo_products,
            orders=self.demo_orders,
            seed=self.demo_seed,
            recorded=dt.timedelta(days=self.demo_recorded_days),
        )

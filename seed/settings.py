"""Settings of the demo data."""

from pydantic import Field, SecretStr

from kit.settings import Settings


class SeedSettings(Settings):
    """Who may sign in to the demo shop, and how large it is."""

    admin_email: str = Field(default="admin@surge.example", description="The administrator's login.")
    admin_password: SecretStr = Field(min_length=10, description="The administrator's password.")
    demo_email: str = Field(default="customer1@surge.example", description="The first customer's login.")
    demo_password: SecretStr = Field(min_length=10, description="The password that all demo customers share.")

    demo_seed: int = Field(default=6, ge=0, description="Seed number: the same number makes the same shop.")
    demo_customers: int = Field(default=1_000, ge=1)
    demo_products: int = Field(default=2_000, ge=50)
    demo_orders: int = Field(default=20_000, ge=0)

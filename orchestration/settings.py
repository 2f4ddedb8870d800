"""Settings of Dagster's processes and of the runs that they start."""

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr

from kit.settings import Settings


class OrchestrationSettings(Settings):
    """Where Dagster keeps its own, and how the warehouse is reached."""

    home: Path = Field(description="The instance's home; Dagster's own folder lies in it.")
    dagster_code_host: str = "127.0.0.1"
    dagster_code_port: int = Field(default=18164, ge=1, le=65535, description="Of the server that loads the graph.")
    dagster_url: str = Field(default="http://127.0.0.1:18163", description="Dagster's pages, as people reach them.")
    alerts_to: str = Field(
        validation_alias=AliasChoices("SURGE_ALERTS_TO", "SURGE_ADMIN_EMAIL"), description="Who gets the alerts."
    )
    warehouse_host: str = "127.0.0.1"
    warehouse_port: int = 18160
    warehouse_database: str = "warehouse"
    transformer_password: SecretStr
    dagster_password: SecretStr

    @property
    def dagster_home(self) -> Path:
        """What Dagster calls DAGSTER_HOME."""
        return self.home / "dagster"

    @property
    def dbt_folder(self) -> Path:
        """Where dbt writes when Dagster runs it, and where the manifest of the graph lies."""
        return self.dagster_home / "dbt"

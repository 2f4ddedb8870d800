"""``python -m stack.simulators.payment_providers``: serves until SIGTERM."""

import uvicorn

from kit import telemetry
from stack.simulators.payment_providers.app import create_app
from stack.simulators.payment_providers.settings import SimulatorSettings


def main() -> None:
    """Serves the simulator on the settings' address."""
    settings = SimulatorSettings()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        server_header=False,
    )


if __name__ == "__main__":
    main()

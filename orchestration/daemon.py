"""``python -m orchestration.daemon``: Dagster's schedules, sensors and queue, and whether they are alive.

Readiness is Dagster's own measure: each of its daemons has said so lately, without an error.
"""

import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from dagster import DagsterInstance
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import DEFAULT_DAEMON_HEARTBEAT_TOLERANCE_SECONDS as TOLERANCE
from dagster._daemon.controller import daemon_controller_from_instance, get_daemon_statuses
from dagster._utils.interrupts import capture_interrupts, setup_interrupt_handlers

from kit import telemetry
from orchestration import home
from orchestration.settings import OrchestrationSettings


def problems(instance: DagsterInstance) -> list[str]:
    """The daemons that have not beaten lately, or failed in their last round, with what they said."""
    statuses = get_daemon_statuses(instance, instance.get_required_daemon_types())
    found = []
    for name, status in statuses.items():
        errors = status.last_heartbeat.errors if status.last_heartbeat else None
        if not status.healthy:
            found.append(f"{name}: {errors[0].message.strip() if errors else 'no heartbeat'}")
    return found


def _answers(instance: DagsterInstance) -> type[BaseHTTPRequestHandler]:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/readyz", "/healthz"):
                self.send_error(404)
                return
            found = problems(instance) if self.path == "/readyz" else []
            body = json.dumps({"status": "not ready" if found else "ok", "problems": found}).encode()
            self.send_response(503 if found else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes are not worth a line."""

    return Answers


def main() -> None:
    """Runs the daemons until SIGTERM."""
    settings = OrchestrationSettings()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    workspace = home.prepare(settings) / "workspace.yaml"
    setup_interrupt_handlers()
    with capture_interrupts(), DagsterInstance.get() as instance:
        instance.wipe_daemon_heartbeats()  # those of the process before say nothing of this one
        server = ThreadingHTTPServer((settings.host, settings.port), _answers(instance))
        threading.Thread(target=server.serve_forever, name="readiness", daemon=True).start()
        with daemon_controller_from_instance(
            instance,
            workspace_load_target=WorkspaceFileTarget([str(workspace)]),
            heartbeat_tolerance_seconds=TOLERANCE,
        ) as controller:
            logging.getLogger("dagster").handlers.clear()  # its lines go the way of all others, once
            controller.check_daemon_loop()


if __name__ == "__main__":
    main()

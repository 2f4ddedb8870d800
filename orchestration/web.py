"""``python -m orchestration.web``: Dagster's pages."""

import uvicorn
from dagster import DagsterInstance
from dagster import __version__ as version
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kit import telemetry
from orchestration import home
from orchestration.settings import OrchestrationSettings

_POOL_RECYCLE_SECONDS = 3600
_POOL_OVERFLOW = 10
_STATEMENT_MILLISECONDS = 15_000
_POLL_MILLISECONDS = 5_000


def main() -> None:
    """Serves until SIGTERM."""
    settings = OrchestrationSettings()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    workspace = home.prepare(settings) / "workspace.yaml"
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW)
        with WorkspaceProcessContext(
            instance, workspace_load_target=WorkspaceFileTarget([str(workspace)]), version=version
        ) as context:
            app = create_app_from_workspace_process_context(context, "", _POLL_MILLISECONDS)

            def problem() -> str:
                entry = context.create_request_context().get_location_entry(home.LOCATION)
                if entry is None or entry.code_location is None:
                    error = entry.load_error if entry else None
                    return f"the graph is not loaded: {error.message if error else 'not yet'}"
                return ""

            async def readyz(_: Request) -> Response:
                if said := await run_in_threadpool(problem):
                    return JSONResponse({"status": "not ready", "problem": said[:500]}, status_code=503)
                return JSONResponse({"status": "ok"})

            # before the pages' own routes, the last of which takes every path
            app.router.routes.insert(0, Route("/readyz", readyz))
            uvicorn.run(app, host=settings.host, port=settings.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()

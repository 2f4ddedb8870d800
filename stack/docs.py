"""Serves the sites that are written about the data: the models' (`surge dbt docs`), and others that lie beside it.

``python -m stack.docs``
"""

from html import escape
from pathlib import Path
from typing import Final

import uvicorn
from pydantic import Field
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from kit import telemetry
from kit.settings import Settings

FOLDER: Final = "docs"
"""Of an instance's home. Each site is a folder in it with an ``index.html``."""

TITLES: Final = {"dbt": "Models of the warehouse: columns, tests, lineage", "data": "Checks of the raw data"}

_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Surge: data documentation</title>
<style>body {{ font: 1.1rem/1.6 system-ui, sans-serif; margin: 4rem auto; max-width: 40rem }}</style>
<h1>Data documentation</h1>{body}</html>"""


class DocsSettings(Settings):
    """What the server needs besides what all processes share."""

    home: Path = Field(description="The instance's home.")


def create_app(home: Path) -> Starlette:
    """The application: a page that lists the sites, and the sites."""
    folder = home / FOLDER

    async def index(_: Request) -> Response:
        names = sorted(file.parent.name for file in folder.glob("*/index.html"))
        links = "".join(f'<li><a href="{escape(name)}/">{escape(TITLES.get(name, name))}</a>' for name in names)
        nothing = "<p>Nothing has been written yet: the first build does, and <code>surge dbt docs</code>."
        return HTMLResponse(_PAGE.format(body=f"<ul>{links}</ul>" if names else nothing))

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/", index),
            Route("/healthz", healthz),
            Route("/readyz", healthz),
            Mount("/", StaticFiles(directory=folder, html=True, check_dir=False)),
        ]
    )


def main() -> None:
    """Serves until SIGTERM."""
    settings = DocsSettings()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    uvicorn.run(
        create_app(settings.home),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
        server_header=False,
    )


if __name__ == "__main__":
    main()

"""The API's pages, whose scripts come from this process: they render without the internet."""

from importlib import resources as package_files

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

from oltp.gateway.openapi import render


def install(app: FastAPI) -> None:
    """Serves ``/openapi.json``, ``/docs`` (Swagger UI) and ``/redoc``."""
    assets = str(package_files.files("fastapi_offline") / "static")
    app.mount("/docs/assets", StaticFiles(directory=assets), name="docs-assets")
    rendered: list[bytes] = []

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi_document() -> Response:
        if not rendered:
            rendered.append(render(app))
        return Response(rendered[0], media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def swagger_ui() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            swagger_js_url="/docs/assets/swagger-ui-bundle.js",
            swagger_css_url="/docs/assets/swagger-ui.css",
            swagger_favicon_url="/docs/assets/favicon.png",
            swagger_ui_parameters={"persistAuthorization": True, "docExpansion": "list", "tryItOutEnabled": True},
        )

    @app.get("/redoc", include_in_schema=False)
    async def redoc() -> HTMLResponse:
        return get_redoc_html(
            openapi_url="/openapi.json",
            title=f"{app.title} API",
            redoc_js_url="/docs/assets/redoc.standalone.js",
            redoc_favicon_url="/docs/assets/favicon.png",
            with_google_fonts=False,
        )

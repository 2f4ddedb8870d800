"""The FastAPI application that every process serves: problems, health, metrics, tracing, limits."""

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import structlog
import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit import errors, telemetry
from kit.resources import Resources, open_resources
from kit.settings import Settings

log = structlog.get_logger()

Check = Callable[[Resources], Awaitable[None]]
"""A readiness check: raises if what the process needs is away."""


async def database_answers(resources: Resources) -> None:
    """Raises if Postgres is away."""
    await resources.database.ping()


async def redis_answers(resources: Resources) -> None:
    """Raises if Redis is away."""
    await resources.redis.ping()


async def broker_answers(resources: Resources) -> None:
    """Raises if no Kafka broker takes connections."""
    from kit.kafka import wait_for_broker

    await wait_for_broker(resources.settings.kafka_bootstrap, seconds=1)


class Tracing:
    """Gives each request its correlation id and trace, answers with them, measures it, and bounds its body."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id, parent = headers.get(b"x-request-id", b""), headers.get(b"traceparent", b"")
        with telemetry.trace(request_id.decode("latin-1"), parent.decode("latin-1")):
            if scope["type"] == "websocket":
                await self._app(scope, receive, send)
                return
            await self._http(scope, receive, send, headers)

    async def _http(self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes]) -> None:
        started, status = time.perf_counter(), 500
        length = headers.get(b"content-length", b"0")
        seen = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", telemetry.correlation_id().encode()),
                    (b"traceparent", telemetry.traceparent().encode()),
                ]
            await send(message)

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self._max_body_bytes:
                raise _BodyTooLarge
            return message

        async def answer_within_limit(message: Message) -> None:
            # FastAPI makes an error while it reads the body its own 400; that one must not go out
            if seen <= self._max_body_bytes:
                await answer(message)

        try:
            if length.isdigit() and int(length) <= self._max_body_bytes:
                with contextlib.suppress(_BodyTooLarge):
                    await self._app(scope, bounded, answer_within_limit)
            else:
                seen = self._max_body_bytes + 1
            if seen > self._max_body_bytes:
                await self._refuse(scope)(scope, receive, answer)
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            if status >= 500:
                telemetry.HTTP_FAILURES.inc()
            telemetry.http_seconds(scope["method"], route, status).observe(time.perf_counter() - started)

    def _refuse(self, scope: Scope) -> Response:
        document = {
            "type": "payload-too-large",
            "title": "Payload too large",
            "status": 413,
            "detail": f"A request's body may have {self._max_body_bytes} bytes.",
            "instance": scope["path"],
            "trace_id": telemetry.trace_id(),
        }
        return JSONResponse(document, 413, media_type=errors.MEDIA_TYPE)


class _BodyTooLarge(Exception):
    """A request's body passes the limit."""


Lifespan = Callable[[Resources], AbstractAsyncContextManager[dict[str, Any]]]
"""Opens what a process needs besides the common resources; what it yields joins the typed request state."""


def create_app(
    settings: Settings,
    *,
    title: str,
    description: str = "",
    version: str = "1",
    routers: Sequence[APIRouter] = (),
    ready: Sequence[Check] = (),
    lifespan: Lifespan | None = None,
    producer_timeout: float = 10.0,
    docs: bool = False,
) -> FastAPI:
    """An application with problem documents, ``/healthz``, ``/readyz``, ``/metrics``, tracing and body limits.

    ``/healthz`` touches nothing; ``/readyz`` runs ``ready`` and answers 503 naming what is away.
    """

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with open_resources(settings, producer_timeout=producer_timeout) as resources:
            app.state.resources = resources
            if lifespan is None:
                yield {"resources": resources}
            else:
                async with lifespan(resources) as state:
                    yield {"resources": resources, **state}

    app = FastAPI(
        title=title,
        description=description,
        version=version,
        lifespan=run,
        docs_url="/docs" if docs else None,
        redoc_url="/redoc" if docs else None,
        openapi_url="/openapi.json" if docs else None,
        # traces and metrics are kit.telemetry's; whether OpenTelemetry is set up would be asked with each request
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    errors.install(app)
    for router in routers:
        app.include_router(router)

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> Response:
        away: dict[str, str] = {}
        for check in ready:
            try:
                async with asyncio.timeout(3):
                    await check(app.state.resources)
            except Exception as error:
                away[check.__name__] = f"{type(error).__name__}: {error}"
        return JSONResponse({"status": "away" if away else "ok", "away": away}, 503 if away else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return PlainTextResponse(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "X-Request-ID",
                "X-Session-ID",
                "traceparent",
            ],
            expose_headers=["X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy", "Location"],
        )
    app.add_middleware(Tracing, max_body_bytes=settings.max_body_bytes)
    return app


def listening(host: str, port: int, *, together: bool) -> socket.socket:
    """A socket bound to a port: alone, or together with other processes, over which the kernel spreads connections."""
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if together:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _spare_collector() -> None:
    """Has the cyclic collector never look at what was imported."""
    gc.collect()
    gc.freeze()


def serve(app: FastAPI, settings: Settings) -> None:
    """Serves the application until SIGTERM; open requests get 5 s to finish.

    With an entrance port it listens there too, together with the other processes of its role.

    Raises:
        OSError: if a port is taken.
    """
    _spare_collector()
    telemetry.configure(settings.process, level=settings.log_level, json=settings.log_json)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        lifespan="on",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        # longer than clients keep idle connections: the side that closes first loses the other's next request
        timeout_keep_alive=75,
        server_header=False,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        ws_max_size=settings.max_body_bytes,
        # a socket's compression contexts weigh more than all that is ever sent over it
        ws_per_message_deflate=False,
    )
    sockets = None
    if settings.entrance_port is not None:
        own = listening(settings.host, settings.port, together=False)
        sockets = [own, listening(settings.host, settings.entrance_port, together=True)]
    server = uvicorn.Server(config)
    server.run(sockets)
    if not server.started:
        sys.exit(1)

"""The simulator as one application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, PlainTextResponse, Response

from kit.tasks import running
from stack.simulators.payment_providers.control import create_router
from stack.simulators.payment_providers.faults import FaultDesk
from stack.simulators.payment_providers.paypal_api import PayPalApi
from stack.simulators.payment_providers.settings import SimulatorSettings
from stack.simulators.payment_providers.store import Store
from stack.simulators.payment_providers.stripe_api import StripeApi
from stack.simulators.payment_providers.webhooks import Webhooks


def create_app(settings: SimulatorSettings, *, webhook_client: httpx.AsyncClient | None = None) -> FastAPI:
    """Stripe, PayPal and the control routes over one set of books. ``webhook_client`` delivers the webhooks."""
    store = Store(settings.state_file)
    faults = FaultDesk(settings, store)
    client = webhook_client or httpx.AsyncClient()
    webhooks = Webhooks(settings, store, client)
    stripe = StripeApi(settings, store, faults, webhooks)
    paypal = PayPalApi(settings, store, faults, webhooks)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with client, running([webhooks]):
            yield
        store.close()

    app = FastAPI(title="Payment providers, simulated", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(stripe.router())
    app.include_router(paypal.router())
    app.include_router(create_router(settings, store, faults, stripe, paypal, webhooks))

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz() -> dict[str, str]:
        store.totals(limit=1)
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return PlainTextResponse(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.exception_handler(ClientDisconnect)
    async def caller_gave_up(request: object, error: Exception) -> Response:
        return Response(status_code=499)

    @app.exception_handler(404)
    async def unknown_route(request: object, error: Exception) -> Response:
        detail = getattr(error, "detail", "Not Found")
        return JSONResponse({"error": {"type": "invalid_request_error", "message": str(detail)}}, 404)

    return app

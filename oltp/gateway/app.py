"""Puts the public API together. Only here do services meet."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI
from pydantic import SecretStr
from starlette.middleware import Middleware

from kit.app import Lifespan, broker_answers, create_app, redis_answers
from kit.kafka import EventProducer
from kit.resources import Resources
from kit.short_path import ShortPaths
from kit.tasks import Periodic, Task, running
from oltp.accounts import endpoints as accounts
from oltp.accounts.state import lifespan as accounts_lifespan
from oltp.cart import endpoints as cart
from oltp.cart.state import lifespan as cart_lifespan
from oltp.catalog import endpoints as catalog
from oltp.catalog.state import lifespan as catalog_lifespan
from oltp.gateway import docs, openapi
from oltp.gateway import endpoints as checkout_endpoints
from oltp.gateway.admission import Admission
from oltp.gateway.limits import EXCHANGE_SECONDS, RateLimits, Windows
from oltp.gateway.order_log import OrderLog
from oltp.gateway.order_queue import SECONDS as WAITING_SECONDS
from oltp.gateway.order_queue import WaitingLine
from oltp.gateway.queries import refuse_unknown_query
from oltp.gateway.recovery import Recovery
from oltp.gateway.sale_keeper import SaleKeeper
from oltp.gateway.service import Checkout
from oltp.gateway.settings import GatewaySettings
from oltp.inventory import endpoints as inventory
from oltp.inventory.state import lifespan as inventory_lifespan
from oltp.metrics import endpoints as metrics
from oltp.metrics.errors import ErrorReport
from oltp.metrics.store import LiveStore
from oltp.notifications import endpoints as notifications
from oltp.orders import endpoints as orders
from oltp.orders import live
from oltp.payments import endpoints as payments
from oltp.payments.webhooks import lifespan as payments_lifespan
from oltp.sales import endpoints as sales
from oltp.sales.state import lifespan as sales_lifespan
from oltp.shipping import endpoints as shipping
from oltp.visits import endpoints as visits
from oltp.visits.recorder import Recorder
from oltp.visits.settings import VisitSettings

ERROR_SECONDS: Final = 1.0

SERVICES: Final[Sequence[APIRouter]] = (
    cart.router,
    catalog.router,
    orders.router,
    accounts.router,
    orders.admin_router,
    live.router,
    inventory.router,
    payments.router,
    shipping.router,
    notifications.router,
    sales.router,
    visits.router,
    metrics.router,
)
"""What is asked for most comes first: they are looked through in this order."""
SHORT_PATHS: Final = (*checkout_endpoints.SHORT_PATHS, *cart.SHORT_PATHS)

LIFESPANS: Final[Sequence[Lifespan]] = (
    accounts_lifespan,
    catalog_lifespan,
    cart_lifespan,
    live.lifespan,
    payments_lifespan,
    sales_lifespan,
    inventory_lifespan,
)


def create(settings: GatewaySettings, *, lifespans: Sequence[Lifespan] = LIFESPANS) -> FastAPI:
    """The gateway's application. ``lifespans`` open what the services need; their states are merged.

    In the request state: ``resources``, ``queue`` (:class:`contracts.admission.OrderQueue`), ``products``
    (:class:`contracts.products.ProductDirectory`), ``sales`` (:class:`contracts.sales.SaleBoard`), ``visits``
    (:class:`contracts.storefront.Visits`), and what the services' own lifespans give.
    """

    @asynccontextmanager
    async def lifespan(resources: Resources) -> AsyncIterator[dict[str, Any]]:
        windows = Windows(resources.shared_redis)
        order_log = OrderLog(settings)
        admission = Admission(resources.shared_redis, settings)
        state: dict[str, Any] = {"limits": windows}
        async with AsyncExitStack() as stack:
            for opened in lifespans:
                state |= await stack.enter_async_context(opened(resources))
            sale_keeper = SaleKeeper(resources, state["sales"], order_log)
            recovery = Recovery(resources, settings, admission, order_log, sale_keeper)
            checkout = Checkout(settings, admission, order_log, recovery, resources.producer, resources.clock)
            limits = Periodic("rate-limits", windows.exchange, EXCHANGE_SECONDS)
            keeping = Periodic("sale-keeper", sale_keeper.round, settings.sale_keeper_seconds)
            line = WaitingLine(order_log, state["sale_books"], state["sales"], resources.clock)
            reading = Periodic("waiting-line", line.refresh, WAITING_SECONDS)
            beside = EventProducer(settings)
            stack.push_async_callback(beside.stop)
            recorder = Recorder(VisitSettings.beside(settings), beside, resources.clock)
            errors = ErrorReport(LiveStore(resources.redis), resources.clock)
            telling = Periodic("error-report", errors.tell, ERROR_SECONDS)
            tasks: list[Task] = [order_log, recovery, checkout, limits, keeping, reading, recorder, telling]
            await stack.enter_async_context(running(tasks))
            yield {**state, "checkout": checkout, "queue": line, "visits": recorder}

    app = create_app(
        settings,
        title="Surge",
        description=openapi.DESCRIPTION.strip(),
        version="1",
        routers=[checkout_endpoints.router, checkout_endpoints.other_methods_router],
        ready=[redis_answers, broker_answers],
        lifespan=lifespan,
        producer_timeout=settings.checkout_produce_seconds,
    )
    for router in SERVICES:
        # one by one: a router that holds them all would have each request look for its route twice as often
        app.include_router(router, dependencies=[Depends(refuse_unknown_query)])
    app.user_middleware += [Middleware(RateLimits, settings=settings), Middleware(ShortPaths, paths=SHORT_PATHS)]
    docs.install(app)
    return app


def describing_settings() -> GatewaySettings:
    """Settings that suffice to describe the API; nothing can be connected with them."""
    return GatewaySettings(
        database_url=SecretStr("postgresql+asyncpg://localhost/none"),
        redis_url=SecretStr("redis://localhost"),
        jwt_secret=SecretStr("only-describes-the-api-insecure-secret"),
    )

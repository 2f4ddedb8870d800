"""Past routing and dependency resolution for what is asked for most.

FastAPI's own way through a request is more than half of what a short one costs. A route may have a short path besides:
it takes those requests that are plainly right, and answers them with the same functions as the route. Any other request
goes the usual way, and gets the usual errors.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from kit.auth import Principal, verify_access_token
from kit.errors import AWAY, BadRequest, Problem, Unauthorized, on_problem, on_unexpected

_WITHOUT_BODY: Final = "GET"


@dataclass(frozen=True, slots=True)
class ShortPath:
    """A route's short path.

    ``plain`` gets the request and its body (empty for a GET) and says what ``serve`` takes besides the request. For
    what is not plainly right it raises a Problem or a ValidationError, and nothing has happened. ``serve`` may find
    that, too, as long as nothing has: it says None.
    """

    route: APIRoute
    plain: Callable[[Request, bytes], tuple[Any, ...]]
    serve: Callable[..., Awaitable[Response | None]]


def route_of(router: APIRouter, endpoint: Callable[..., object]) -> APIRoute:
    """The router's route to an endpoint."""
    return next(route for route in router.routes if isinstance(route, APIRoute) and route.endpoint is endpoint)


def plainly_signed_in(request: Request) -> Principal:
    """Who asks.

    Raises:
        Unauthorized: if that is not plain.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer":
        raise Unauthorized("Not plainly signed in.")
    return verify_access_token(request.state.resources.settings, token)


def demand_json(request: Request) -> None:
    """Raises BadRequest if the body is not plainly JSON."""
    if request.headers.get("content-type") != "application/json":
        raise BadRequest("Not plainly JSON.")


class ShortPaths:
    """ASGI middleware: takes requests along their short path."""

    def __init__(self, app: ASGIApp, paths: Iterable[ShortPath]) -> None:
        self._app = app
        self._paths = {(method, path.route.path): path for path in paths for method in path.route.methods or ()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        path = self._paths.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if path is None or scope["query_string"]:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        body = b"" if scope["method"] == _WITHOUT_BODY else await request.body()
        response = await self._response(path, request, body)
        if response is not None:
            await response(scope, receive, send)
        else:
            again = receive if scope["method"] == _WITHOUT_BODY else _again(body, receive)
            await self._app(scope, again, send)

    async def _response(self, path: ShortPath, request: Request, body: bytes) -> Response | None:
        """The answer; None for a request that is not plainly right."""
        try:
            plain = path.plain(request, body)
        except (Problem, ValidationError):
            return None
        request.scope["route"] = path.route
        try:
            return await path.serve(request, *plain)
        except Problem as problem:
            return await on_problem(request, problem)
        except AWAY as error:
            return await on_unexpected(request, error)


def _again(body: bytes, receive: Receive) -> Receive:
    """What ``receive`` said, for the next reader."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

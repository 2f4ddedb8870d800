"""Business errors and their one rendering, ``application/problem+json`` (RFC 9457)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
import sqlalchemy.exc
import structlog
from aiokafka.errors import KafkaError
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from kit import telemetry
from kit.transient import TRANSIENT, is_transient

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An error that a client is told about. Subclasses set ``status_code``, a stable ``type`` and a ``title``.

    ``detail`` says what is wrong with this request and what would be right; ``extra`` members join the document.
    """

    status_code: ClassVar[int] = 500
    type: ClassVar[str] = "about:blank"
    title: ClassVar[str] = "Internal Server Error"

    def __init__(self, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = extra


class BadRequest(Problem):
    """The request can't be understood, for a reason outside its payload's schema."""

    status_code = 400
    type = "bad-request"
    title = "Bad request"


class Unauthorized(Problem):
    """No valid credentials."""

    status_code = 401
    type = "unauthorized"
    title = "Not signed in"

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"}, **extra)


class Forbidden(Problem):
    """Signed in, and not allowed."""

    status_code = 403
    type = "forbidden"
    title = "Not allowed"


class NotFound(Problem):
    """No such thing, or none that the caller may see."""

    status_code = 404
    type = "not-found"
    title = "Not found"


class Conflict(Problem):
    """The thing's present state forbids it."""

    status_code = 409
    type = "conflict"
    title = "Conflict with the present state"


class Invalid(Problem):
    """The payload is well-formed, and wrong. ``errors`` lists the fields as request validation does."""

    status_code = 422
    type = "validation-error"
    title = "The request is not valid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", errors=[{"field": field, "message": message}])


class TooManyRequests(Problem):
    """A limit was reached; ``Retry-After`` says when to come back."""

    status_code = 429
    type = "rate-limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: int, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after), **(headers or {})})


class Unavailable(Problem):
    """Something that the request needs is away for a moment; nothing was done, and trying again is safe."""

    status_code = 503
    type = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str = Field(description="Path of the field, dots between levels.", examples=["body.quantity"])
    message: str = Field(description="What would be right.", examples=["Input should be greater than 0"])


class ProblemDocument(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Stable identifier of the kind of problem.", examples=["not-found"])
    title: str = Field(description="The kind of problem in words.", examples=["Not found"])
    status: int = Field(description="HTTP status.", examples=[404])
    detail: str = Field(description="What is wrong here.", examples=["There is no order with this id."])
    instance: str = Field(description="Path of the request.", examples=["/api/orders/0198c5f0"])
    trace_id: str = Field(description="W3C trace id; quote it when you ask for help.")
    errors: list[FieldError] | None = Field(default=None, description="Fields that are wrong, on 422.")


def responses(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route that can answer with these problems."""
    documented: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        entry = documented.setdefault(
            problem.status_code,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}, "examples": {}}},
            },
        )
        entry["description"] = "; ".join(filter(None, [entry["description"], problem.title]))
        entry["content"][MEDIA_TYPE]["examples"][problem.type] = {
            "value": {
                "type": problem.type,
                "title": problem.title,
                "status": problem.status_code,
                "detail": (problem.__doc__ or problem.title).split("\n")[0],
                "instance": "/api",
                "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            }
        }
    return documented


def _render(
    request: Request,
    status: int,
    type_: str,
    title: str,
    detail: str,
    extra: Mapping[str, Any],
    headers: Mapping[str, str],
) -> Response:
    document = {
        "type": type_,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": request.scope["path"],
        "trace_id": telemetry.trace_id(),
        **extra,
    }
    return Response(msgspec.json.encode(document), status, headers=dict(headers), media_type=MEDIA_TYPE)


def _field_path(location: Sequence[Any]) -> str:
    return ".".join(str(part) for part in location)


_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


def _allowed(request: Request) -> list[str]:
    """The methods that some route of the path takes; Starlette names those of its first route alone."""
    scopes = [{**request.scope, "method": method} for method in _METHODS]
    routes = request.app.router.routes
    return [s["method"] for s in scopes if any(route.matches(s)[0] is Match.FULL for route in routes)]


AWAY: Final = (*TRANSIENT, sqlalchemy.exc.DBAPIError, KafkaError)
"""What is raised where a part of the shop is away, and sometimes where it is not: see :func:`on_unexpected`."""


async def on_problem(request: Request, error: Exception) -> Response:
    """The problem document of a business error."""
    assert isinstance(error, Problem)
    return _render(request, error.status_code, error.type, error.title, error.detail, error.extra, error.headers)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """503 where a part of the shop is away for a moment, 500 for everything else that nobody foresaw."""
    if is_transient(error):
        log.warning("http.unavailable", path=request.scope["path"], error=repr(error))
        problem = Unavailable("A part of the shop is away for a moment; please try again.")
        return await on_problem(request, problem)
    log.error("http.failed", path=request.scope["path"], exc_info=error)
    return _render(request, 500, "internal", "Internal Server Error", "This is our fault; it was logged.", {}, {})


def install(app: FastAPI) -> None:
    """Makes every error of the application a problem document."""

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        errors = [{"field": _field_path(e["loc"]), "message": e["msg"]} for e in error.errors()]
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
        return _render(request, 422, Invalid.type, Invalid.title, detail, {"errors": errors}, {})

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        phrase = HTTPStatus(error.status_code).phrase
        type_ = phrase.lower().replace(" ", "-")
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_allowed(request))
        return _render(request, error.status_code, type_, phrase, str(error.detail), {}, headers)

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(Exception, on_unexpected)
    for kind in AWAY:
        # answered inside the tracing; what only Exception matches is answered outside it, and raised on
        app.add_exception_handler(kind, on_unexpected)

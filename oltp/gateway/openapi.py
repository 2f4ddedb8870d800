"""The API's description: what FastAPI derives from the routes, completed by what holds for all of them.

``python -m oltp.gateway.openapi > docs/reference/openapi.json`` writes the committed copy.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

import orjson
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from kit.errors import (
    BadRequest,
    FieldError,
    Forbidden,
    Invalid,
    Problem,
    ProblemDocument,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    responses,
)

DESCRIPTION: Final = """
A shop's API: browse, fill a cart, check out, follow the order.

**Signing in.** `POST /api/auth/login` gives a short-lived access token; send it as `Authorization: Bearer …`.
A route's security shows the role that it asks for: `customer` is anyone signed in, `admin` admins only.

**Errors** are [problem documents](https://www.rfc-editor.org/rfc/rfc9457) (`application/problem+json`) with a stable
`type` and a `trace_id` to quote.

**Money** is integer minor units with an ISO 4217 currency. **Times** are RFC 3339 in UTC. **Lists** come in pages:
send `next_cursor` back as `cursor`.

**Limits.** `RateLimit-Policy` and `RateLimit`
([draft](https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/)) say where a caller stands; past a
limit the answer is 429 with `Retry-After`.

**Repeating is safe.** `POST /api/orders/checkout` takes an `Idempotency-Key`: the same key gets the same order.

**Visits.** What visitors look at, search for and put into their carts is noted by session: the `X-Session-ID` header or
the `session_id` cookie, a UUID that the client makes up for a visit. Without one, a signed-in visitor has a session a
day, and of anyone else nothing is noted.
"""

TAGS: Final = (
    {"name": "auth", "description": "Registration, sign-in and its tokens."},
    {"name": "account", "description": "The signed-in user's profile and addresses."},
    {"name": "catalog", "description": "Products, categories, prices."},
    {"name": "cart", "description": "What a customer is about to buy."},
    {"name": "checkout", "description": "The cart becomes an order."},
    {"name": "orders", "description": "Orders and their history."},
    {"name": "orders (admin)", "description": "Everybody's orders."},
    {"name": "inventory", "description": "Stock by warehouse."},
    {"name": "sales", "description": "Flash sales."},
    {"name": "payments", "description": "Payments, refunds and the providers' webhooks."},
    {"name": "shipping", "description": "Parcels and where they are."},
    {"name": "notifications", "description": "What customers are told, and how."},
    {"name": "live", "description": "What the shop does right now."},
    {"name": "visits", "description": "What visitors do before they buy."},
)

_RATE_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "The limits that apply.",
        "schema": {"type": "string"},
        "example": '"user";q=1200;w=60',
    },
    "RateLimit": {
        "description": "What is left of them.",
        "schema": {"type": "string"},
        "example": '"user";r=1199;t=42',
    },
}
_RETRY_AFTER: Final = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}


class PayloadTooLarge(Problem):
    """The body is larger than the shop takes."""

    status_code = 413
    type = "payload-too-large"
    title = "Payload too large"


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete", "patch", "head", "options"):
                yield operation


def roles(operation: dict[str, Any]) -> frozenset[str] | None:
    """The roles that may call an operation with an access token; None if it takes none."""
    required = [entry["bearer"] for entry in operation.get("security", ()) if "bearer" in entry]
    return frozenset(role for scopes in required for role in scopes) if required else None


def _complete(operation: dict[str, Any]) -> None:
    documented: dict[str, Any] = operation["responses"]
    general: list[type[Problem]] = [TooManyRequests, Unavailable]
    allowed = roles(operation)
    if allowed is not None:
        general.append(Unauthorized)
        if "admin" in allowed:
            general.append(Forbidden)
    if "requestBody" in operation:
        general += [BadRequest, PayloadTooLarge]
    if "application/json" in documented.get("422", {}).get("content", {}):
        del documented["422"]
    if "requestBody" in operation or operation.get("parameters"):
        general.append(Invalid)
    for problem in general:
        for status, entry in responses(problem).items():
            present = documented.setdefault(str(status), entry)
            for kind, content in entry["content"].items():
                offered = present.setdefault("content", {}).setdefault(kind, content)
                offered.setdefault("examples", {}).update(content["examples"])
    for status in ("429", "503"):
        documented[status].setdefault("headers", {})["Retry-After"] = _RETRY_AFTER
    for status, entry in documented.items():
        if status.startswith("2"):
            entry["headers"] = {**_RATE_HEADERS, **entry.get("headers", {})}
    operation["responses"] = dict(sorted(documented.items()))


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of the application."""
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes, tags=list(TAGS)
    )
    document["paths"] = dict(sorted(document["paths"].items()))
    for operation in _operations(document):
        _complete(operation)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    _, problems = models_json_schema(
        [(ProblemDocument, "serialization"), (FieldError, "serialization")],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(problems["$defs"])
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def render(app: FastAPI) -> bytes:
    """The document as the committed file has it."""
    return orjson.dumps(describe(app), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    from oltp.gateway.app import create, describing_settings

    sys.stdout.buffer.write(render(create(describing_settings())))

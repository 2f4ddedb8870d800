"""Unknown query parameters are refused, as unknown fields of a body are."""

from collections.abc import Iterator
from inspect import isclass
from typing import Final

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import HTTPConnection

_by_route: Final[dict[str, frozenset[str]]] = {}


def _names(dependant: Dependant) -> Iterator[str]:
    for field in dependant.query_params:
        annotation = field.field_info.annotation
        if isclass(annotation) and issubclass(annotation, BaseModel):
            yield from (inner.alias or name for name, inner in annotation.model_fields.items())
        else:
            yield field.alias
    for needed in dependant.dependencies:
        yield from _names(needed)


def _known(route: APIRoute) -> frozenset[str]:
    known = _by_route.get(route.unique_id)
    if known is None:
        known = _by_route[route.unique_id] = frozenset(_names(route.dependant))
    return known


async def refuse_unknown_query(connection: HTTPConnection) -> None:
    """Dependency of every route.

    Raises:
        RequestValidationError: if the request has a query parameter that its route does not know.
    """
    if connection.scope["type"] != "http" or not connection.scope["query_string"]:
        return
    route = connection.scope["route"]
    assert isinstance(route, APIRoute)
    unknown = sorted(set(connection.query_params) - _known(route))
    if unknown:
        message = "Extra inputs are not permitted"
        raise RequestValidationError(
            [{"type": "extra_forbidden", "loc": ("query", name), "msg": message, "input": None} for name in unknown]
        )

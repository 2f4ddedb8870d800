"""How the public API is put together."""

from collections.abc import Iterator
from inspect import isasyncgenfunction, iscoroutinefunction, isfunction

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from oltp.gateway.app import SERVICES, SHORT_PATHS, create, describing_settings


def _calls(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for needed in dependant.dependencies:
        yield from _calls(needed)


def test_nothing_runs_in_a_thread() -> None:
    """FastAPI gives a plain function to a thread pool, which costs more than all that such a one does here."""
    for router in SERVICES:
        for route in router.routes:
            if isinstance(route, APIRoute):
                for needed in _calls(route.dependant):
                    call = needed.call if isfunction(needed.call) else type(needed.call).__call__
                    waits = iscoroutinefunction(call) or isasyncgenfunction(call)
                    assert waits, f"{route.path} needs {needed.call}, which is a plain function"


def test_a_short_path_leads_where_its_route_is_found() -> None:
    app: FastAPI = create(describing_settings())
    for path in SHORT_PATHS:
        [method] = path.route.methods or ()
        assert method.lower() in app.openapi()["paths"][path.route.path]
        assert path.route.dependant.path_params == []
        assert path.route.dependant.query_params == []

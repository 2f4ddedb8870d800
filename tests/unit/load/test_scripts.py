"""The load scripts ask for what the API has: routes, bodies, and the fields that they read."""

import json
import re
import uuid
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from starlette.routing import WebSocketRoute

from contracts.envelope import registry
from contracts.events import OrderTransition
from oltp.gateway.app import create, describing_settings
from stack.instance import ROOT

LOAD: Final = ROOT / "tests" / "load"
K6: Final = sorted((LOAD / "k6").glob("*.js"))
SCENARIOS: Final = {"sustained", "peak", "flash-sale", "payment-storm"}
REQUESTS: Final[dict[str, dict[str, Any]]] = json.loads((LOAD / "requests.json").read_text())
OPENAPI: Final[dict[str, Any]] = json.loads((ROOT / "docs" / "reference" / "openapi.json").read_text())
SAMPLES: Final = {
    "$product_id": str(uuid.uuid4()),
    "$warehouse_id": str(uuid.uuid4()),
    "$payment_token": "tok_ok",
    "$sku": "FLASH-1764230400000",
    "$category": "kitchen",
    "$units": 100,
    "$starts_at": "2026-11-27T18:00:00Z",
    "$ends_at": "2026-11-27T18:10:00Z",
}


def _operation(request: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = OPENAPI["paths"][request["path"]][request["method"].lower()]
    return operation


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _filled(inner) for key, inner in value.items()}
    return SAMPLES.get(value, value) if isinstance(value, str) else value


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = OPENAPI["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    return schema


def _field(schema: dict[str, Any], path: list[str]) -> bool:
    """Whether an answer has a field; lists are walked through."""
    schema = _resolved(schema)
    while schema.get("type") == "array":
        schema = _resolved(schema["items"])
    if not path:
        return True
    return path[0] in schema.get("properties", {}) and _field(schema["properties"][path[0]], path[1:])


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_is_one_of_the_apis(name: str) -> None:
    request = REQUESTS[name]
    parameters = {(entry["in"], entry["name"]) for entry in _operation(request).get("parameters", [])}

    assert {("query", key) for key in request.get("query", {})} <= parameters
    assert {("header", key) for key in request.get("headers", [])} <= parameters


@pytest.mark.parametrize("name", [name for name, request in REQUESTS.items() if "body" in request])
def test_a_body_is_what_the_route_takes(name: str) -> None:
    schema = _operation(REQUESTS[name])["requestBody"]["content"]["application/json"]["schema"]
    document = {"components": OPENAPI["components"], **schema}
    body = _filled(REQUESTS[name]["body"])

    assert "$" not in json.dumps(body)
    jsonschema.validate(body, document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**body, "unknown_field": 1}, document)


@pytest.mark.parametrize("name", REQUESTS)
def test_what_is_read_is_in_the_answer(name: str) -> None:
    answers = _operation(REQUESTS[name])["responses"]
    [answer] = [content for status, content in answers.items() if status in ("200", "201", "202")]
    schema = answer["content"]["application/json"]["schema"]

    for path in REQUESTS[name].get("reads", []):
        assert _field(schema, path.split(".")), path


def test_there_is_a_script_for_each_scenario() -> None:
    assert {file.stem for file in K6} == {*SCENARIOS, "shop"}


@pytest.mark.parametrize("file", K6, ids=lambda file: file.stem)
def test_scripts_ask_for_known_requests_and_read_known_fields(file: Path) -> None:
    text = file.read_text()
    asked = set(re.findall(r'\b(?:call|request|admin)\("(\w+)"', text))
    read = {re.sub(r"\.?(#|\d+)", "", path).lstrip(".") for path in re.findall(r'\.json\("([^"]+)"\)', text)}

    assert asked <= REQUESTS.keys()
    assert read <= {path for request in REQUESTS.values() for path in request.get("reads", [])}
    assert "/api/" not in text, "routes belong into requests.json"


def test_every_request_is_used() -> None:
    texts = "".join(file.read_text() for file in K6)

    assert {name for name in REQUESTS if f'"{name}"' not in texts} == set()


def test_the_sockets_are_the_apis() -> None:
    script = yaml.safe_load((LOAD / "artillery" / "tracking.yml").read_text())
    [flow] = [scenario["flow"] for scenario in script["scenarios"]]
    paths = [step["connect"].removeprefix("{{ target }}") for step in flow if "connect" in step]
    routes = create(describing_settings()).routes

    def sockets(found: list[Any]) -> set[str]:
        inner = [route for entry in found for route in getattr(getattr(entry, "original_router", None), "routes", [])]
        return {r.path for r in found if isinstance(r, WebSocketRoute) or "websocket" in type(r).__name__.lower()} | (
            sockets(inner) if inner else set()
        )

    assert paths
    assert set(paths) <= sockets(list(routes))
    assert {"send": {"type": "auth", "token": "{{ token }}"}} in flow


def test_the_listener_counts_what_the_shop_sends() -> None:
    text = (LOAD / "artillery" / "tracking.cjs").read_text()
    transitions = [name for name, cls in registry.types().items() if issubclass(cls, OrderTransition)]

    assert 'startsWith("order.")' in text
    assert all(name.startswith("order.") for name in transitions)
    assert "occurred_at" in OrderTransition.__struct_fields__
    assert "message.occurred_at" in text

"""The API's description is complete, and the committed copy is up to date."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from oltp.gateway import openapi
from oltp.gateway.app import create, describing_settings

COMMITTED = Path(__file__).parents[3] / "docs" / "reference" / "openapi.json"


@pytest.fixture(scope="module")
def app() -> FastAPI:
    return create(describing_settings())


@pytest.fixture(scope="module")
def document(app: FastAPI) -> dict[str, Any]:
    return openapi.describe(app)


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def test_the_committed_copy_is_current(app: FastAPI) -> None:
    message = "run: python -m oltp.gateway.openapi > docs/reference/openapi.json"
    assert COMMITTED.read_bytes() == openapi.render(app), message


def test_every_error_is_a_problem_document(document: dict[str, Any]) -> None:
    reference = {"$ref": "#/components/schemas/ProblemDocument"}
    for name, operation in _operations(document):
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert list(answer["content"]) == ["application/problem+json"], (name, status)
                assert answer["content"]["application/problem+json"]["schema"] == reference, (name, status)
                assert answer["content"]["application/problem+json"]["examples"], (name, status)


def test_every_operation_says_what_can_happen_to_it(document: dict[str, Any]) -> None:
    for name, operation in _operations(document):
        documented = set(operation["responses"])
        assert {"429", "503"} <= documented, name
        allowed = openapi.roles(operation)
        assert ("401" in documented) or allowed is None, name
        assert allowed is None or allowed <= {"customer", "admin"}, name
        assert allowed is None or ("403" in documented) or "admin" not in allowed, name
        assert "422" in documented or not (operation.get("parameters") or "requestBody" in operation), name
        assert {"400", "413"} <= documented or "requestBody" not in operation, name


def test_every_operation_has_a_summary_and_known_tags(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in openapi.TAGS}
    for name, operation in _operations(document):
        assert operation.get("summary"), name
        assert operation.get("tags"), name
        assert set(operation["tags"]) <= tags, name
    identifiers = [operation["operationId"] for _, operation in _operations(document)]
    assert len(identifiers) == len(set(identifiers))


def test_unknown_fields_are_refused_in_every_body(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def objects(schema: dict[str, Any], seen: frozenset[str] = frozenset()) -> Iterator[tuple[str, dict[str, Any]]]:
        reference = schema.get("$ref", "").rsplit("/", 1)[-1]
        if reference:
            if reference not in seen:
                yield from objects(schemas[reference] | {"title": reference}, seen | {reference})
            return
        if schema.get("type") == "object" and "properties" in schema:
            yield schema.get("title", ""), schema
        children = [*schema.get("properties", {}).values(), *schema.get("anyOf", ()), *schema.get("oneOf", ())]
        if isinstance(schema.get("items"), dict):
            children.append(schema["items"])
        for child in children:
            yield from objects(child, seen)

    for name, operation in _operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for title, schema in objects(content["schema"]):
                assert schema.get("additionalProperties") is False, f"{name}: {title} takes unknown fields"


def test_every_schema_says_what_its_fields_mean(document: dict[str, Any]) -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in document["components"]["schemas"].items()
        for field, value in schema.get("properties", {}).items()
        if "description" not in value and "$ref" not in value
    ]
    assert silent == []

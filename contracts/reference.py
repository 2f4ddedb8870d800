"""The reference of all messages, generated: AsyncAPI 3.0 with a JSON Schema each, and a page to read.

``python -m contracts.reference`` writes both to ``docs/reference/``; a test fails when they differ.
"""

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from contracts import commands, events  # noqa: F401 (importing registers the message types)
from contracts.envelope import Envelope, Message, registry
from contracts.storefront import StorefrontEvent
from contracts.topics import STOREFRONT_EVENTS, TOPICS

FOLDER: Final = Path(__file__).parent.parent / "docs" / "reference"
_ROLE: Final = re.compile(r":class:`(?:[\w.]*\.)?(\w+)`")
_REF: Final = "#/components/schemas/{name}"

PLAIN: Final[dict[str, type[msgspec.Struct]]] = {STOREFRONT_EVENTS: StorefrontEvent}
"""Topics whose messages are plain JSON without an envelope, and what they hold."""


def _summary(cls: type[msgspec.Struct]) -> str:
    text = " ".join((inspect.getdoc(cls) or "").split())
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def _by_topic() -> dict[str, list[tuple[str, type[Message]]]]:
    found: dict[str, list[tuple[str, type[Message]]]] = {topic.name: [] for topic in TOPICS}
    for name, cls in sorted(registry.types().items()):
        found[registry.topic_of(cls)].append((name, cls))
    return found


def _names(topic: str) -> list[str]:
    return [PLAIN[topic].__name__] if topic in PLAIN else [name for name, _ in _by_topic()[topic]]


def _decimals_as_numbers(schema: Any) -> None:
    """Says of decimals what :func:`contracts.storefront.encode` makes of them; msgspec would write text."""
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            schema["type"] = "number"
        for part in schema.values():
            _decimals_as_numbers(part)
    elif isinstance(schema, list):
        for part in schema:
            _decimals_as_numbers(part)


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI document (https://www.asyncapi.com/docs/reference/specification/v3.0.0)."""
    types = registry.types()
    _, schemas = msgspec.json.schema_components([*types.values(), *PLAIN.values(), Envelope], ref_template=_REF)
    _decimals_as_numbers(schemas)
    messages = {
        name: {
            "name": name,
            "title": name,
            "summary": _summary(cls),
            "contentType": "application/cloudevents+json",
            "payload": {
                "allOf": [
                    {"$ref": _REF.format(name="Envelope")},
                    {
                        "type": "object",
                        "properties": {"type": {"const": name}, "data": {"$ref": _REF.format(name=cls.__name__)}},
                    },
                ]
            },
        }
        for name, cls in sorted(types.items())
    }
    for cls in PLAIN.values():
        messages[cls.__name__] = {
            "name": cls.__name__,
            "title": cls.__name__,
            "summary": _summary(cls),
            "contentType": "application/json",
            "payload": {"$ref": _REF.format(name=cls.__name__)},
        }
    channels = {
        topic.name: {
            "address": topic.name,
            "description": f"{topic.purpose[0].upper()}{topic.purpose[1:]}. Keyed by {topic.key}.",
            "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in _names(topic.name)},
            "bindings": {"kafka": {"partitions": topic.partitions}},
        }
        for topic in TOPICS
    }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Surge messages",
            "version": "1.0.0",
            "description": "Every event and command that crosses a process: CloudEvents 1.0, structured JSON mode. "
            f"Only {', '.join(PLAIN)} carries plain JSON.",
        },
        "defaultContentType": "application/cloudevents+json",
        "channels": channels,
        "components": {"messages": messages, "schemas": dict(sorted(schemas.items()))},
    }


def _type_name(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type_name(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type_name(schema['items'])}"
    return str(schema.get("format") or schema.get("type") or "any")


def _fields(schema: dict[str, Any]) -> list[str]:
    required = set(schema.get("required", []))
    return [
        "| field | type | |",
        "| --- | --- | --- |",
        *(
            f"| `{field}` | {_type_name(shape)} | {'' if field in required else 'optional'} |"
            for field, shape in schema.get("properties", {}).items()
        ),
    ]


def page() -> str:
    """The reference as Markdown."""
    document = asyncapi()
    schemas = document["components"]["schemas"]
    lines = [
        "# Events and commands",
        "",
        "Generated by `python -m contracts.reference`; the machine-readable form is `asyncapi.json` beside this page.",
        "Every message is a CloudEvents 1.0 envelope in structured JSON mode; its `data` is described here. Money is",
        "in minor units. Types without a list below are strings, numbers and times as JSON has them.",
        f"Only {', '.join(PLAIN)} carries plain JSON without an envelope.",
    ]
    for topic in TOPICS:
        lines += ["", f"## {topic.name}", "", f"{topic.purpose[0].upper()}{topic.purpose[1:]}. Keyed by {topic.key}."]
        for name, cls in _by_topic()[topic.name]:
            lines += ["", f"### `{name}`", "", _summary(cls), "", *_fields(schemas[cls.__name__])]
        if topic.name in PLAIN:
            plain = PLAIN[topic.name]
            lines += ["", f"### {plain.__name__}", "", _summary(plain), "", *_fields(schemas[plain.__name__])]
    lines += ["", "## Shared values"]
    carried: list[type[msgspec.Struct]] = [*registry.types().values(), *PLAIN.values(), Envelope]
    payloads = {cls.__name__ for cls in carried}
    for name, schema in sorted(schemas.items()):
        if name in payloads:
            continue
        lines += ["", f"### `{name}`", "", " ".join(str(schema.get("description", "")).split())]
        if "enum" in schema:
            lines += ["", ", ".join(f"`{value}`" for value in schema["enum"])]
            continue
        lines += ["", *_fields(schema)]
    return "\n".join(lines) + "\n"


def files() -> dict[str, str]:
    """What the reference folder has to hold, by file name."""
    return {"asyncapi.json": json.dumps(asyncapi(), indent=2) + "\n", "messages.md": page()}


def write() -> None:
    """Writes the reference."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(content)


if __name__ == "__main__":
    write()
    sys.stdout.write(f"wrote {', '.join(files())}\n")

"""What the runbooks tell somebody in trouble to type is there: commands, options, routes, pages."""

import itertools
import pkgutil
import re
from pathlib import Path

import pytest
from typer.main import get_command

from oltp.gateway import openapi
from oltp.gateway.app import create, describing_settings
from stack.cli import DELEGATES
from stack.cli import app as surge

FOLDER = Path(__file__).parents[2] / "docs" / "runbooks"
PAGES = sorted(FOLDER.glob("*.md"))


def named(pattern: str) -> list[tuple[str, str]]:
    """Each page with what it names."""
    found = [(page.name, match) for page in PAGES for match in re.findall(pattern, page.read_text())]
    assert found
    return found


@pytest.mark.parametrize(("page", "line"), named(r"\./surge ([a-z][^`\n|);]*)"))
def test_a_command_is_there_with_its_options(page: str, line: str) -> None:
    words = line.split()
    command = get_command(surge)
    if elsewhere := {delegate.name: delegate.target for delegate in DELEGATES}.get(words[0]):
        command, words = get_command(pkgutil.resolve_name(elsewhere)), words[1:]
    while (children := getattr(command, "commands", None)) and words:
        assert words[0] in children, line
        command, words = children[words[0]], words[1:]
    if {"ignore_unknown_options", "allow_extra_args"} & set(command.context_settings):
        return
    words = list(itertools.takewhile(lambda word: word != ">", words))
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("-")} <= options, line


@pytest.mark.parametrize(("page", "route"), named(r"(?:GET|POST|PUT) /api/[a-z{}/_-]+"))
def test_a_route_is_there(page: str, route: str) -> None:
    method, path = route.split(" ")
    shape = re.sub(r"{\w+}", "{}", path)
    paths = openapi.describe(create(describing_settings()))["paths"]
    assert method.lower() in {re.sub(r"{\w+}", "{}", known): ops for known, ops in paths.items()}[shape]


@pytest.mark.parametrize(("page", "target"), named(r"\]\(([^)#]+)\)"))
def test_a_page_is_there(page: str, target: str) -> None:
    assert (FOLDER / target).exists(), target

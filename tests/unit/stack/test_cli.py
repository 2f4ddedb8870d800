"""Every command explains itself, and asking costs little."""

import subprocess
import sys
import time

import pytest

from stack.instance import ROOT

COMMANDS = ["up", "down", "status", "logs", "restart", "reset", "psql", "token", "migrate", "test", "chaos"]


def _surge(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stack", *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = _surge(command, "--help")

    assert result.returncode == 0, result.stderr
    assert f"surge {command}" in result.stdout


def test_help_lists_every_command_without_importing_the_services() -> None:
    heavy = "{'sqlalchemy', 'fastapi', 'aiokafka', 'oltp'}"
    probe = f"import sys, stack.cli; sys.exit(len({heavy} & set(sys.modules)))"
    began = time.monotonic()

    listed = _surge("--help").stdout

    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=False).returncode == 0
    assert all(f" {command} " in listed for command in [*COMMANDS, "audit", "saga", "seed", "bench"])
    assert time.monotonic() - began < 20


def test_an_unknown_process_is_answered_with_those_that_exist() -> None:
    result = _surge("logs", "nonsense")

    assert result.returncode == 1
    assert "there is no process nonsense" in result.stderr
    assert "gateway" in result.stderr

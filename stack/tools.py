"""The programs that the servers run on: found on this machine, or named with how to get them."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from stack.errors import StackError

_T = TypeVar("_T")

OLDEST_POSTGRES: Final = 15
OLDEST_JAVA: Final = 17


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that must be on the machine. ``packages`` are Debian's that bring it, the first one there is."""

    name: str
    packages: tuple[str, ...]
    find: Callable[[], object | None]


def _version(command: list[str], pattern: str) -> int:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return 0
    match = re.search(pattern, result.stdout + result.stderr)
    return int(match.group(1)) if match else 0


@cache
def postgres_bin() -> Path | None:
    """The folder with ``initdb`` and ``postgres``, newest version first."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: _number(p.parent.name), reverse=True)
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).resolve().parent)
    for folder in folders:
        if (folder / "initdb").exists() and _postgres_version(folder) >= OLDEST_POSTGRES:
            return folder
    return None


def _postgres_version(folder: Path) -> int:
    return _version([str(folder / "postgres"), "--version"], r"PostgreSQL\) (\d+)")


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


@cache
def redis_server() -> Path | None:
    """The Redis server's program."""
    found = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/bin:/usr/local/bin")
    return Path(found) if found else None


@cache
def java_home() -> Path | None:
    """A JDK, 17 or newer, with its compiler; ``JAVA_HOME`` first."""
    candidates = [Path(home) for home in (os.environ.get("JAVA_HOME"),) if home]
    if on_path := shutil.which("javac"):
        candidates.append(Path(on_path).resolve().parent.parent)
    candidates += sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    for home in candidates:
        if (home / "bin" / "javac").exists() and _java_version(home) >= OLDEST_JAVA:
            return home
    return None


@cache
def _java_version(home: Path) -> int:
    release = home / "release"
    text = release.read_text() if release.exists() else ""
    match = re.search(r'JAVA_VERSION="(\d+)', text)
    return int(match.group(1)) if match else _version([str(home / "bin" / "java"), "-version"], r'version "(\d+)')


def java_version() -> int:
    """The major version of the JDK in use."""
    return _java_version(need(java_home(), "a JDK"))


def java_build() -> str:
    """Which build the JDK in use is, as it says of itself."""
    release = need(java_home(), "a JDK") / "release"
    return release.read_text() if release.exists() else str(release)


@cache
def maven() -> Path | None:
    """Maven's program."""
    found = shutil.which("mvn")
    return Path(found) if found else None


TOOLS: Final = (
    Tool(f"PostgreSQL {OLDEST_POSTGRES} or newer (server)", ("postgresql",), postgres_bin),
    Tool("Redis 7 (server)", ("redis-server",), redis_server),
    Tool(
        f"a JDK, {OLDEST_JAVA} or newer",
        ("openjdk-21-jdk-headless", "openjdk-17-jdk-headless", "default-jdk-headless"),
        java_home,
    ),
    Tool("Maven", ("maven",), maven),
)


def need(found: _T | None, name: str) -> _T:
    """What was found.

    Raises:
        StackError: if it was not.
    """
    if found is None:
        raise StackError(f"{name} is missing: `surge up` says how to install it")
    return found


def missing() -> list[Tool]:
    """The tools that this machine lacks."""
    return [tool for tool in TOOLS if tool.find() is None]


def forget() -> None:
    """Looks again at the next call: something was installed."""
    for finder in (postgres_bin, redis_server, java_home, maven, _java_version):
        finder.cache_clear()

"""System packages: installed through apt where that is possible, named exactly where it is not."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stack import tools
from stack.errors import StackError
from stack.instance import SHARED

_POLICY: Final = Path("/usr/sbin/policy-rc.d")
_CLUSTER_CONF: Final = Path("/etc/postgresql-common/createcluster.conf")

_ELSEWHERE: Final = {
    "brew": "brew install postgresql@17 redis openjdk@21 maven",
    "dnf": "sudo dnf install postgresql-server redis java-21-openjdk-devel maven",
    "pacman": "sudo pacman -S postgresql redis jdk21-openjdk maven",
}


def _privileged() -> list[str] | None:
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False)
    return ["sudo", "-n"] if asked.returncode == 0 else None


def ensure() -> str:
    """Installs what is missing; returns what was done in a few words.

    A server that this installs is not started by its package on its default port, and no default Postgres cluster is
    created. Services that ran before are not touched.

    Raises:
        StackError: if something is missing that can't be installed here; its message is the command to run.
    """
    absent = tools.missing()
    if not absent:
        return "present"
    packages = [tool.packages[-1] for tool in absent]
    names = ", ".join(tool.name for tool in absent)
    prefix = _privileged()
    if shutil.which("apt-get") is None or prefix is None:
        raise StackError(f"missing on this machine: {names}", f"Install it and run this again:\n  {_advice(packages)}")
    with _servers_stay_down(prefix):
        _run([*prefix, "apt-get", "update", "-qq"])
        packages = [next(filter(_offered, tool.packages), tool.packages[-1]) for tool in absent]
        _run(
            [
                *prefix,
                "env",
                "DEBIAN_FRONTEND=noninteractive",
                "apt-get",
                "install",
                "-y",
                "-qq",
                "--no-install-recommends",
                *packages,
            ]
        )
    tools.forget()
    if still := tools.missing():
        raise StackError(
            f"still missing after installing {' '.join(packages)}: {', '.join(tool.name for tool in still)}",
            "This distribution's packages are too old; install newer ones by hand.",
        )
    return f"installed {', '.join(packages)}"


def _offered(package: str) -> bool:
    """Whether this distribution has the package."""
    answer = subprocess.run(["apt-cache", "policy", package], capture_output=True, text=True, check=False)
    return "Candidate:" in answer.stdout and "Candidate: (none)" not in answer.stdout


def _advice(packages: list[str]) -> str:
    if shutil.which("apt-get"):
        return f"sudo apt-get install {' '.join(packages)}"
    for manager, command in _ELSEWHERE.items():
        if shutil.which(manager):
            return command
    return f"the equivalents of Debian's {' '.join(packages)}, with your system's package manager"


@contextlib.contextmanager
def _servers_stay_down(prefix: list[str]) -> Iterator[None]:
    """While packages are set up: invoke-rc.d refuses to start services, postgresql-common creates no cluster."""
    planted: list[Path] = []
    SHARED.mkdir(exist_ok=True)
    for target, text, mode in (
        (_POLICY, "#!/bin/sh\nexit 101\n", "755"),
        (_CLUSTER_CONF, "create_main_cluster = false\n", "644"),
    ):
        if target.exists():
            continue
        source = SHARED / target.name
        source.write_text(text)
        _run([*prefix, "install", "-D", "-m", mode, str(source), str(target)])
        source.unlink()
        planted.append(target)
    try:
        yield
    finally:
        if _POLICY in planted:
            _run([*prefix, "rm", "-f", str(_POLICY)])


def _run(command: list[str]) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        output = (result.stdout + result.stderr).strip().splitlines()
        raise StackError(f"`{' '.join(command)}` failed", "\n".join(output[-15:]))

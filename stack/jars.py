"""Kafka, Connect with Debezium, and the document store: fetched by Maven once, compiled, kept in `.surge/jars`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stack import tools
from stack.errors import StackError
from stack.instance import ROOT, SHARED

INFRA: Final = ROOT / "stack" / "infra"
JARS: Final = SHARED / "jars"
CDS: Final = SHARED / "cds"
_STAMP: Final = JARS / ".fetched"


def _wanted() -> str:
    digest = hashlib.sha256()
    for file in sorted([*INFRA.rglob("pom.xml"), *INFRA.rglob("*.java")]):
        digest.update(file.relative_to(INFRA).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


@contextmanager
def _alone() -> Iterator[None]:
    SHARED.mkdir(exist_ok=True)
    with (SHARED / "jars.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def ensure() -> str:
    """Fetches and compiles when the poms or the sources changed; returns what was done.

    Raises:
        StackError: if Maven or the compiler failed.
    """
    if _STAMP.exists() and _STAMP.read_text() == _wanted():
        return "present"
    with _alone():
        if _STAMP.exists() and _STAMP.read_text() == _wanted():
            return "present"
        shutil.rmtree(JARS, ignore_errors=True)
        shutil.rmtree(CDS, ignore_errors=True)
        java = tools.need(tools.java_home(), "a JDK")
        maven = str(tools.need(tools.maven(), "Maven"))
        _run([maven, "-B", "-q", "-f", str(INFRA / "pom.xml"), "package", f"-Djars={JARS}"], java)
        classes = JARS / "docstore" / "classes"
        _run(
            [
                str(java / "bin" / "javac"),
                *("-cp", f"{JARS}/docstore/*", "-d", str(classes), "--release", str(tools.OLDEST_JAVA)),
                str(INFRA / "docstore" / "Main.java"),
            ],
            java,
        )
        _STAMP.write_text(_wanted())
    return f"fetched {sum(1 for _ in JARS.rglob('*.jar'))} jars"


def _run(command: list[str], java: Path) -> None:

    result = subprocess.run(
        command,
        env={**os.environ, "JAVA_HOME": str(java)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StackError(
            f"`{Path(command[0]).name}` failed", "\n".join((result.stdout + result.stderr).strip().splitlines()[-15:])
        )


def classpath(server: str) -> str:
    """The class path, in an order that a class-data archive can rely on."""
    folder = JARS / ("docstore" if server == "docstore" else "kafka")
    entries = [folder / "classes"] if server == "docstore" else []
    return ":".join(str(entry) for entry in (*entries, *sorted(folder.glob("*.jar"))))


def archive_options(server: str) -> list[str]:
    """JVM options that keep loaded classes in an archive, for faster starts.

    From Java 19 the JVM keeps it up to date by itself. Before that, the first start that finds none writes it when it
    ends, and the later ones read it.
    """
    CDS.mkdir(exist_ok=True)
    version = tools.java_version()
    archive = CDS / f"{server}-{version}.jsa"
    if version >= 19:
        return ["-XX:+AutoCreateSharedArchive", f"-XX:SharedArchiveFile={archive}"]
    if archive.exists():
        return [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:class+path=off"]
    return [f"-XX:ArchiveClassesAtExit={archive}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+path=off"]

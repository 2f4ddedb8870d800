"""Kafka, Connect with Debezium, and the document store: fetched by Maven once, compiled, kept in `.surge/jars`."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stack import tools
from stack.definitions import CONNECT, DOCSTORE, KAFKA, SINK
from stack.errors import StackError
from stack.instance import ROOT, SHARED

INFRA: Final = ROOT / "stack" / "infra"
JARS: Final = SHARED / "jars"
CDS: Final = SHARED / "cds"
_STAMP: Final = JARS / ".fetched"
_LAYOUT: Final = b"docstore/main.jar plugins/surge-connect"
_WHOLE_START_SECONDS: Final = 8


def _wanted() -> str:
    digest = hashlib.sha256(_LAYOUT)
    for file in sorted([*INFRA.rglob("pom.xml"), *INFRA.rglob("*.java"), *INFRA.rglob("build.sh")]):
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
        fresh = SHARED / "jars.new"
        shutil.rmtree(fresh, ignore_errors=True)
        java = tools.need(tools.java_home(), "a JDK")
        maven = str(tools.need(tools.maven(), "Maven"))
        _run([maven, "-B", "-q", "-f", str(INFRA / "pom.xml"), "package", f"-Djars={fresh}"], java)
        with tempfile.TemporaryDirectory(dir=SHARED) as classes:
            _run(
                [
                    str(java / "bin" / "javac"),
                    *("-cp", f"{fresh}/docstore/*", "-d", classes, "--release", str(tools.OLDEST_JAVA)),
                    str(INFRA / "docstore" / "Main.java"),
                ],
                java,
            )
            # a jar, since a class path with a folder on it can't have a class-data archive
            _run([str(java / "bin" / "jar"), "--create", f"--file={fresh}/docstore/main.jar", "-C", classes, "."], java)
        _run(["sh", str(INFRA / "connect" / "build.sh"), str(INFRA / "connect"), str(fresh)], java)
        (fresh / _STAMP.name).write_text(_wanted())
        shutil.rmtree(JARS, ignore_errors=True)
        shutil.rmtree(CDS, ignore_errors=True)
        fresh.rename(JARS)
    return f"fetched {sum(1 for _ in JARS.rglob('*.jar'))} jars"


def fetched_at() -> float:
    """When what lies in ``JARS`` came there, in seconds since the epoch."""
    return _STAMP.stat().st_mtime if _STAMP.exists() else 0.0


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
    return ":".join(str(jar) for jar in sorted((JARS / ("docstore" if server == DOCSTORE else KAFKA)).glob("*.jar")))


def _role(server: str) -> str:
    """Both Connect workers run the same classes."""
    return CONNECT if server == SINK else server


def _archive(server: str) -> Path:
    """Named after what the JVM holds an archive against: it uses none that was made by another build or of other jars.

    It would say nothing of it, and take twice the CPU to start, for good (Kafka by itself 2.9 s instead of 1.5).
    """
    digest = hashlib.sha256(tools.java_build().encode())
    for jar in classpath(server).split(":"):
        state = Path(jar).stat()
        digest.update(f"{jar} {state.st_size} {state.st_mtime_ns}\n".encode())
    return CDS / f"{_role(server)}-{digest.hexdigest()[:16]}.jsa"


def archive_options(server: str, fresh: Path) -> list[str]:
    """JVM options that keep loaded classes in an archive, for faster starts.

    From Java 19 the JVM keeps it up to date by itself. Before that, a start that finds none writes it to ``fresh``
    when it ends, for ``keep_archive``. Archives that no start can use any more are removed.
    """
    CDS.mkdir(exist_ok=True)
    archive = _archive(server)
    for other in CDS.glob(f"{_role(server)}-*.jsa"):
        if other != archive:
            other.unlink(missing_ok=True)
    if tools.java_version() >= 19:
        return ["-XX:+AutoCreateSharedArchive", f"-XX:SharedArchiveFile={archive}"]
    if archive.exists():
        return [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off", "-Xlog:class+path=off"]
    return [f"-XX:ArchiveClassesAtExit={fresh}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off", "-Xlog:class+path=off"]


def keep_archive(server: str, fresh: Path, *, uptime: float) -> None:
    """Has the next starts use the archive that an ended process left; not one that ended while it was starting."""
    if fresh.exists():
        if uptime > _WHOLE_START_SECONDS and not _archive(server).exists():
            fresh.replace(_archive(server))
        else:
            fresh.unlink()

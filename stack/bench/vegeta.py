"""The load generator: vegeta, an open-loop HTTP client.

Requests go out at a constant rate whatever becomes of those before them. What a request waited for because the
generator itself was late counts as part of its latency: it is measured from the moment at which its turn was.
"""

import asyncio
import csv
import os
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stack.errors import StackError
from stack.instance import SHARED

MODULE: Final = "github.com/tsenart/vegeta/v12"
VERSION: Final = "v12.13.0"
OLDEST_GO: Final = (1, 22)

_TIMEOUT_SECONDS: Final = 30
_WORKERS: Final = 64
_MOST_WORKERS: Final = 8_000
_PROBLEM_BYTES: Final = 160
"""What is kept of an answer: enough for the type of a problem document."""

_TYPE: Final = re.compile(rb'"type":\s*"([^"]{1,80})"')


@dataclass(frozen=True, slots=True)
class Shot:
    """One request. ``due`` and ``sent`` are Unix seconds; ``latency`` counts from ``due``, in seconds.

    ``number`` is the place of its target in the file. ``code`` is 0 where no answer came; ``problem`` is then the
    error, otherwise the type of the problem that the answer names.
    """

    number: int
    due: float
    sent: float
    latency: float
    code: int
    problem: str

    @property
    def late(self) -> float:
        """Seconds by which the generator sent it late."""
        return self.sent - self.due


@dataclass(frozen=True, slots=True)
class Attack:
    """What came of one load. ``cpu_seconds`` is what the generator itself took."""

    shots: Sequence[Shot]
    cpu_seconds: float

    @property
    def cpu_ms_per_request(self) -> float:
        """The generator's CPU time for one request, in milliseconds."""
        return self.cpu_seconds / len(self.shots) * 1000 if self.shots else 0.0


def _go() -> str | None:
    return shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin:/usr/lib/go/bin")


def _go_version(go: str) -> tuple[int, int]:
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"go(\d+)\.(\d+)", answer)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def ensure(note: Callable[[str], None]) -> Path:
    """The program: an installed one, or one built once into ``.surge/tools``.

    Raises:
        StackError: if it is not there and can't be built; says what to install.
    """
    place = SHARED / "tools" / f"vegeta-{VERSION}"
    if place.exists():
        return place
    go = _go()
    oldest = ".".join(map(str, OLDEST_GO))
    if go is None or _go_version(go) < OLDEST_GO:
        found = "is missing" if go is None else "is too old"
        raise StackError(
            f"the load generator, vegeta, has to be built once, and Go {found}",
            f"Install Go {oldest} or newer: go.dev/dl, or on Debian 13 and Ubuntu 24.04 apt-get install golang-go",
        )
    note("building vegeta, once")
    folder = SHARED / "tools" / "build"
    folder.mkdir(parents=True, exist_ok=True)
    built = subprocess.run(
        [go, "install", "-ldflags=-s -w", f"{MODULE}@{VERSION}"],
        env={**os.environ, "GOBIN": str(folder), "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        check=False,
    )
    if built.returncode != 0:
        raise StackError(f"vegeta {VERSION} could not be built with {go}", built.stderr)
    (folder / "vegeta").replace(place)
    shutil.rmtree(folder)
    return place


async def attack(
    program: Path,
    targets: Path,
    *,
    rate: float,
    seconds: float,
    began: Callable[[], None] = lambda: None,
    connections: int = 0,
) -> Attack:
    """Sends the targets of a file (vegeta's JSON format, one a line) at a constant rate.

    The file needs a target for each request. ``began`` is called when the generator starts. Requests share so many
    ``connections`` (0: each that finds none free opens one); what they wait for one is part of their latency.

    Raises:
        StackError: if the generator fails.
    """
    options = [
        "-lazy", f"-rate={rate * 10:.0f}/10s", f"-workers={_WORKERS}", f"-max-workers={_MOST_WORKERS}",
        f"-max-connections={connections}",
    ]  # fmt: skip
    return await _attack(program, targets, options, seconds, rate, began)


async def flood(program: Path, targets: Path, *, connections: int, seconds: float) -> Attack:
    """Sends the targets of a file over and over, as fast as they are answered.

    Raises:
        StackError: if the generator fails.
    """
    options = ["-rate=0", f"-workers={connections}", f"-max-workers={connections}"]
    return await _attack(program, targets, options, seconds, None, lambda: None)


async def _attack(
    program: Path, targets: Path, options: list[str], seconds: float, rate: float | None, began: Callable[[], None]
) -> Attack:
    results = targets.with_suffix(".results")
    command = [
        str(program), "-cpus=1", "attack", "-format=json", f"-targets={targets}", f"-output={results}",
        f"-duration={seconds:.3f}s", f"-timeout={_TIMEOUT_SECONDS}s", f"-max-body={_PROBLEM_BYTES}", "-redirects=-1",
        "-http2=false", *options,
    ]  # fmt: skip
    generator = subprocess.Popen(  # noqa: ASYNC220  it is waited for in a thread, which learns its CPU time
        command,
        env={**os.environ, "GOGC": "off", "GOMEMLIMIT": "400MiB"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    began()
    try:
        spent = await asyncio.shield(asyncio.to_thread(_wait, generator))
        return Attack(await asyncio.to_thread(read, program, results, rate), spent)
    except asyncio.CancelledError:
        generator.terminate()
        raise
    finally:
        results.unlink(missing_ok=True)


def _wait(generator: "subprocess.Popen[bytes]") -> float:
    """The CPU seconds that the generator took, once it has ended."""
    assert generator.stdout is not None
    with generator.stdout:
        complaint = generator.stdout.read()
    _, status, usage = os.wait4(generator.pid, 0)
    generator.returncode = os.waitstatus_to_exitcode(status)
    if generator.returncode != 0:
        raise StackError("vegeta failed", complaint.decode(errors="replace"))
    return usage.ru_utime + usage.ru_stime


def read(program: Path, results: Path, rate: float | None) -> list[Shot]:
    """What a results file tells, in the order in which the requests were due.

    Raises:
        StackError: if it can't be read.
    """
    rows: list[tuple[int, float, float, int, str, int]] = []
    with subprocess.Popen(
        [str(program), "encode", "--to=csv", str(results)], stdout=subprocess.PIPE, text=True
    ) as encoding:
        assert encoding.stdout is not None
        for moment, code, latency, _, _, error, body, _, sequence, _, url, *_ in csv.reader(encoding.stdout):
            problem = "" if code.startswith("2") else _problem(error, b64decode(body))
            number = int(url.partition("#")[2] or 0)
            rows.append((int(sequence), int(moment) / 1e9, int(latency) / 1e9, int(code), problem, number))
    if encoding.returncode != 0:
        raise StackError("vegeta's results can't be read")
    return shots(rows, rate)


def shots(rows: Sequence[tuple[int, float, float, int, str, int]], rate: float | None) -> list[Shot]:
    """Requests (sequence, sent, seconds from there, code, problem, number) with the moments at which they were due.

    The generator's ``n``-th request is due ``n / rate`` after its first one; without a rate, when it was sent.
    """
    ranked = sorted(rows)
    if not ranked:
        return []
    first = ranked[0][1] - (ranked[0][0] / rate if rate else 0.0)
    found = []
    for sequence, sent, latency, code, problem, number in ranked:
        due = min(first + sequence / rate, sent) if rate else sent
        found.append(Shot(number, due, sent, latency + sent - due, code, problem))
    return found


def _problem(error: str, body: bytes) -> str:
    match = _TYPE.search(body)
    return match[1].decode(errors="replace") if match else (error.rpartition(": ")[2] or "no answer")[:80]

"""Toxiproxy between the processes: each port that somebody connects to has a proxy that can be shut."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from stack.chaos.schedule import TARGETS, Kind
from stack.definitions import KAFKA, PROCESSES
from stack.errors import StackError
from stack.instance import PORTS_IN_USE, ROOT, SHARED, Instance
from stack.supervision import tail

VERSION: Final = "v2.12.0"
_SOURCE: Final = f"github.com/Shopify/toxiproxy/v2/cmd/server@{VERSION}"
_FOLDER: Final = SHARED / f"toxiproxy-{VERSION}"
_PROGRAM: Final = _FOLDER / "server"
_NO_PROXY: Final = {(KAFKA, "controller")}
_START_SECONDS: Final = 10.0
_ANSWER_SECONDS: Final = 120.0


def go() -> str | None:
    """The Go program, if there is one."""
    return shutil.which("go", path=f"{os.environ.get('PATH', '')}:/usr/local/go/bin")


def ensure() -> str:
    """Builds Toxiproxy from its sources, once; returns what was done.

    Raises:
        StackError: if Go is missing or the build failed.
    """
    if _PROGRAM.exists():
        return "present"
    compiler = go()
    if compiler is None:
        raise StackError(
            "Go is missing: Toxiproxy, which cuts connections, is built with it", "Install Go 1.23 or newer."
        )
    result = subprocess.run(
        [compiler, "install", _SOURCE],
        env={**os.environ, "GOBIN": str(_FOLDER)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise StackError(f"`go install {_SOURCE}` failed", result.stderr.strip()[-2000:])
    return f"built {VERSION}"


def addresses(instance: Instance) -> dict[str, tuple[int, int]]:
    """A proxy's name, ``process.role``, with the port that it listens on and the one that it passes on to."""
    return {
        f"{name}.{role}": (instance.dial_base + offset, instance.port(offset))
        for name in TARGETS[Kind.CUT]
        for role, offset in PROCESSES[name].ports.items()
        if (name, role) not in _NO_PROXY
    }


class Proxies:
    """A running Toxiproxy. A process's proxies are shut and opened together."""

    def __init__(self, client: httpx.AsyncClient, instance: Instance) -> None:
        self._client = client
        self._addresses = addresses(instance)

    async def create(self) -> None:
        """Opens a proxy for each port that others connect to."""
        for name, (listen, upstream) in self._addresses.items():
            await self._post(
                "/proxies",
                name=name,
                listen=f"127.0.0.1:{listen}",
                upstream=f"127.0.0.1:{upstream}",
                enabled=True,
            )

    async def shut(self, process: str) -> None:
        """Drops every connection to a process and refuses new ones."""
        await self._switch(process, on=False)

    async def open(self, process: str) -> None:
        """Lets connections to a process through again."""
        await self._switch(process, on=True)

    async def _switch(self, process: str, *, on: bool) -> None:
        for name in self._addresses:
            if name.startswith(f"{process}."):
                await self._post(f"/proxies/{name}", enabled=on)

    async def _post(self, path: str, **body: object) -> None:
        """Asks until there is an answer: a cut that is not undone would hurt to the end of the run."""
        deadline = asyncio.get_running_loop().time() + _ANSWER_SECONDS
        while True:
            try:
                answer = await self._client.post(path, json=body)
                break
            except httpx.HTTPError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise StackError(f"Toxiproxy does not answer: {error!r}") from error
            await asyncio.sleep(0.2)
        if not answer.is_success:
            raise StackError(f"Toxiproxy refused {path}: {answer.status_code} {answer.text}")


@asynccontextmanager
async def running(instance: Instance) -> AsyncIterator[Proxies]:
    """Toxiproxy with its proxies for as long as the block runs; it ends with this process, however that ends.

    Raises:
        StackError: if it does not start.
    """
    port = instance.dial_base + PORTS_IN_USE
    wrapper = [sys.executable, "-I", str(ROOT / "stack" / "run.py"), "--signal", "TERM", "--"]
    command = [*wrapper, str(_PROGRAM), "-host", "127.0.0.1", "-port", str(port)]
    with instance.log_file("toxiproxy").open("ab") as output:
        server = await asyncio.create_subprocess_exec(
            *command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "LOG_LEVEL": "error"},
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            await _answers(client, server, instance)
            proxies = Proxies(client, instance)
            await proxies.create()
            yield proxies
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.terminate()
        await server.wait()


async def _answers(client: httpx.AsyncClient, server: asyncio.subprocess.Process, instance: Instance) -> None:
    deadline = asyncio.get_running_loop().time() + _START_SECONDS
    while True:
        with contextlib.suppress(httpx.HTTPError):
            (await client.get("/version")).raise_for_status()
            return
        if server.returncode is not None or asyncio.get_running_loop().time() > deadline:
            raise StackError("Toxiproxy does not start", tail(instance, "toxiproxy"))
        await asyncio.sleep(0.05)

"""Postgres' own benchmark on this machine, so that a result can be read as a share of what the machine can do."""

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table

from stack import tools
from stack.bench.figures import meaning
from stack.database import Server
from stack.errors import StackError

SCALE: Final = 20
CLIENTS: Final = 8

_DATABASE: Final = "pgbench"
_TPS: Final = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")
_LATENCY: Final = re.compile(r"latency average = ([\d.]+) ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgbench:
    """What pgbench says of this server with its settings."""

    scale: int = field(metadata=meaning("Scale factor: 100,000 accounts each."))
    clients: int = field(metadata=meaning("Connections at once."))
    seconds: float = field(metadata=meaning("How long each mode ran."))
    tpcb_per_second: float = field(
        metadata=meaning("TPC-B-like transactions (3 updates, 1 select, 1 insert, commit to disk) a second.")
    )
    tpcb_latency_ms: float = field(metadata=meaning("Their average latency."))
    select_per_second: float = field(metadata=meaning("Lookups by primary key a second."))
    select_latency_ms: float = field(metadata=meaning("Their average latency."))

    def document(self) -> dict[str, Any]:
        """The figures as flat JSON."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self)}

    def render(self) -> RenderableType:
        """The figures as a table."""
        table = Table(box=None, pad_edge=False, header_style="bold dim")
        table.add_column(f"pgbench, scale {self.scale}, {self.clients} clients, {self.seconds:.0f} s")
        table.add_column("a second", justify="right")
        table.add_column("ms", justify="right")
        table.add_row("TPC-B-like transactions", f"{self.tpcb_per_second:,.0f}", f"{self.tpcb_latency_ms:.2f}")
        table.add_row("lookups by primary key", f"{self.select_per_second:,.0f}", f"{self.select_latency_ms:.2f}")
        return table


async def pgbench(server: Server, seconds: float, note: Callable[[str], None]) -> Pgbench:
    """Runs pgbench in a database of its own, which is gone afterwards.

    Raises:
        StackError: if pgbench is missing or fails.
    """
    program = tools.need(tools.postgres_bin(), "PostgreSQL") / "pgbench"
    if not program.exists():
        raise StackError("pgbench is missing: it comes with PostgreSQL's server or contrib package")
    async with server.superuser() as connection:
        await connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE}")
        await connection.execute(f"CREATE DATABASE {_DATABASE}")
    try:
        note(f"filling {SCALE * 100_000:,} accounts")
        await _run(server, [str(program), "-i", "-q", "-s", str(SCALE)])
        note("TPC-B-like transactions")
        load = [str(program), "-n", "-c", str(CLIENTS), "-j", "2", "-T", str(round(seconds)), "-M", "prepared"]
        writing = await _run(server, load)
        note("lookups by primary key")
        reading = await _run(server, [*load, "-S"])
    finally:
        async with server.superuser() as connection:
            await connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE}")
    return Pgbench(
        scale=SCALE,
        clients=CLIENTS,
        seconds=seconds,
        tpcb_per_second=parse(_TPS, writing),
        tpcb_latency_ms=parse(_LATENCY, writing),
        select_per_second=parse(_TPS, reading),
        select_latency_ms=parse(_LATENCY, reading),
    )


async def _run(server: Server, command: list[str]) -> str:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={
            **os.environ,
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGDATABASE": _DATABASE,
            "PGPASSWORD": server.secret["SURGE_POSTGRES_PASSWORD"],
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await process.communicate()
    except BaseException:
        process.terminate()
        raise
    text = output.decode(errors="replace")
    if process.returncode != 0:
        raise StackError("pgbench failed", text)
    return text


def parse(pattern: re.Pattern[str], output: str) -> float:
    """A figure of pgbench's output.

    Raises:
        StackError: if it is not there.
    """
    match = pattern.search(output)
    if match is None:
        raise StackError("pgbench's output is not as expected", output)
    return float(match[1])

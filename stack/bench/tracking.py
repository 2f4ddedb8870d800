"""Thousands of customers who watch their orders while orders come in."""

import asyncio
import resource
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from kit.auth import Principal, Role, issue_access_token
from kit.clock import SystemClock
from stack.bench.figures import Figures, Goal, percentile
from stack.bench.prepare import TOKEN_SECONDS
from stack.bench.run import SPARE_TARGETS, Bench, Load
from stack.bench.scenarios import safe, served
from stack.errors import StackError
from stack.instance import ROOT

SOCKETS: Final = 5_000
DELIVERY_P99_MS: Final = 500.0

_OPEN_SECONDS: Final = 300.0
_LISTEN_SECONDS: Final = 3_600.0
_SPARE_FILES: Final = 200


@dataclass(slots=True)
class Watchers:
    """The watching customers' process. ``heard`` is there once it has ended."""

    process: asyncio.subprocess.Process
    result: Path
    open: int
    heard: dict[str, Any]

    async def end(self) -> None:
        """Has it close its sockets and tell what it heard."""
        await self.process.communicate(b"\n")
        self.heard = orjson.loads(self.result.read_bytes())


async def tracking(
    bench: Bench, rate: float, seconds: float, sockets: int, *, audited: bool = True
) -> tuple[Figures, Load]:
    """Orders of watching customers at a constant rate; every transition has to reach its customer soon."""
    await bench.preparation.customers(sockets)  # so many that nobody has to watch twice
    targets = await bench.preparation.checkouts(int(rate * seconds) + SPARE_TARGETS)
    others = await bench.preparation.customers(max(0, sockets - len(targets.customers)))
    watching = [*targets.customers, *others][:sockets]
    async with _watchers(bench, watching) as watchers:
        load = await bench.send(targets, rate, seconds)
        await bench.drain(load)
        await watchers.end()
    figures = await bench.figures("tracking", load, audited=audited)
    heard = watchers.heard
    delays = [delay * 1000 for delay in heard["delays"]]
    figures.sockets, figures.sockets_lost = watchers.open, heard["lost"]
    figures.socket_messages = len(delays)
    figures.socket_p50_ms, figures.socket_p99_ms = percentile(delays, 0.5), percentile(delays, 0.99)
    figures.socket_max_ms = max(delays, default=None)
    figures.socket_client_cpu_share = heard["cpu_seconds"] / load.seconds
    watched = set(watching)
    expected = {
        fate.order_id
        for fate in await bench.fates(load)
        if fate.processing is not None and load.targets.customers[fate.number] in watched
    }
    figures.socket_missed = len(expected - set(heard["processing"]))
    p99 = figures.socket_p99_ms
    goals = [
        Goal(
            key="sockets",
            promise=f"{sockets:,} sockets stay open",
            measured=f"{watchers.open:,} opened, {figures.sockets_lost:,} lost",
            kept=watchers.open == sockets and figures.sockets_lost == 0,
        ),
        Goal(
            key="delivery",
            promise=f"transition to client p99 < {DELIVERY_P99_MS:.0f} ms",
            measured="nothing arrived" if p99 is None else f"{p99:.0f} ms, {len(delays):,} messages",
            kept=p99 is not None and p99 < DELIVERY_P99_MS,
        ),
        Goal(
            key="delivered",
            promise="every customer hears of their order's PROCESSING",
            measured=f"{figures.socket_missed:,} of {len(expected):,} did not",
            kept=figures.socket_missed == 0 and bool(expected),
        ),
    ]
    figures.judge([*goals, *served(figures, rate), *safe(figures, audited=audited)])
    return figures, load


@asynccontextmanager
async def _watchers(bench: Bench, customers: list[str]) -> AsyncIterator[Watchers]:
    _allow_files(len(customers) + _SPARE_FILES)
    name = bench.instance.run / "bench" / f"watchers-{uuid.uuid4().hex[:8]}"
    tokens, result = name.with_suffix(".tokens"), name.with_suffix(".json")
    signing = bench.settings.model_copy(update={"access_token_seconds": TOKEN_SECONDS})
    now = SystemClock().now()
    lines = [issue_access_token(signing, Principal(customer, Role.CUSTOMER), now) for customer in customers]
    tokens.write_text("\n".join([bench.settings.url("gateway").replace("http", "ws", 1), *lines]))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stack.bench.sockets", str(tokens), str(_LISTEN_SECONDS), str(result),
        cwd=ROOT, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        bench.note(f"opening {len(customers):,} WebSockets")
        async with asyncio.timeout(_OPEN_SECONDS):
            ready = (await process.stdout.readline()).split()
        if not ready:
            raise StackError("the watching customers could not start")
        yield Watchers(process, result, int(ready[1]), {})
    except TimeoutError:
        raise StackError(f"{len(customers):,} WebSockets were not open within {_OPEN_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
        tokens.unlink(missing_ok=True)
        result.unlink(missing_ok=True)


def _allow_files(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            raise StackError(f"a process may have {hard:,} files open, {count:,} are needed: see ulimit -n")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))

"""Does what the schedule says, undoes it, and watches how long its target takes to serve again."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import psutil
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from stack import probes
from stack.chaos.again import deliver_again
from stack.chaos.disks import Disks
from stack.chaos.proxies import Proxies
from stack.chaos.schedule import Fault, Kind
from stack.definitions import PROCESSES, REDIS
from stack.environment import ensure_secrets
from stack.errors import StackError
from stack.instance import Instance
from stack.supervision import Supervisor

_ALIVE_SECONDS: Final = 10.0
"""How long a fault waits for its target to run at all: the fault before may have left it starting."""

_GONE_SECONDS: Final = 5.0
_READY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5


@dataclass(slots=True)
class Injected:
    """A fault as it happened; moments are seconds from the start of the run.

    ``failed`` says why it could not be injected; it does not count then. ``ready_at`` is when its target served again,
    None if another fault struck first or it was not watched to its end.
    """

    fault: Fault
    began: float
    ended: float | None = None
    ready_at: float | None = None
    failed: str = ""

    @property
    def recovery(self) -> float | None:
        """Seconds from the end of the fault until its target served."""
        return None if self.ready_at is None or self.ended is None else self.ready_at - self.ended


class _NotNowError(Exception):
    """The fault can't be injected at this moment; ``str()`` is the reason."""


class Nemesis:
    """Injects planned faults into a running instance."""

    def __init__(
        self, instance: Instance, proxies: Proxies, disks: Disks | None, now: Callable[[], float], bootstrap: str
    ) -> None:
        self._instance = instance
        self._proxies = proxies
        self._disks = disks
        self._now = now
        self._bootstrap = bootstrap
        self._supervisor = Supervisor(instance)
        self._watches: set[asyncio.Task[None]] = set()
        self.injected: list[Injected] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """Injects all of them, each at its time, and returns when the last is undone."""
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, fault.at - self._now()))
                group.create_task(self._inject(fault), name=f"{fault.kind} {fault.target}")

    async def watched(self) -> None:
        """Returns when every target that is being watched serves again."""
        while self._watches:
            await asyncio.wait(set(self._watches))

    @property
    def holding(self) -> list[Injected]:
        """The faults that hold now."""
        return [one for one in self.injected if one.ended is None]

    async def _inject(self, fault: Fault) -> None:
        record = Injected(fault, self._now())
        self.injected.append(record)
        try:
            async with self._holding(fault):
                await asyncio.sleep(fault.seconds)
        except (_NotNowError, StackError, OSError, KafkaError, RedisError, psutil.Error, TimeoutError) as error:
            record.failed = f"{type(error).__name__}: {error}".removeprefix("_NotNowError: ")
        record.ended = self._now()
        if not record.failed:
            watch = asyncio.create_task(self._watch(record))
            self._watches.add(watch)
            watch.add_done_callback(self._watches.discard)

    @asynccontextmanager
    async def _holding(self, fault: Fault) -> AsyncIterator[None]:
        """Hurts, and heals at the end of the block, whatever happens in it."""
        target = fault.target
        match fault.kind:
            case Kind.KILL:
                killed = psutil.Process(await self._pid(target))
                killed.kill()
                # until it is gone its socket still takes connections, which would pass for having recovered
                await asyncio.to_thread(psutil.wait_procs, [killed], _GONE_SECONDS)
                yield
            case Kind.PAUSE:
                stopped = _family(await self._pid(target))
                try:
                    for process in stopped:
                        process.suspend()
                    yield
                finally:
                    for process in stopped:
                        with contextlib.suppress(psutil.NoSuchProcess):
                            process.resume()
            case Kind.RESTART:
                await self._pid(target)
                try:
                    await asyncio.to_thread(self._supervisor.stop, [target])
                finally:
                    await asyncio.to_thread(self._supervisor.start, target)
                yield
            case Kind.CUT:
                try:
                    await self._proxies.shut(target)
                    yield
                finally:
                    await self._proxies.open(target)
            case Kind.FLUSH:
                async with self._redis() as redis:
                    await redis.flushall()
                yield
            case Kind.FULL_DISK:
                assert self._disks is not None
                try:
                    await asyncio.to_thread(self._disks.fill, target)
                    yield
                finally:
                    await asyncio.to_thread(self._disks.empty, target)
            case Kind.SKEW:
                file = self._instance.clock_file(target)
                try:
                    file.write_text(f"{fault.amount:g}")
                    yield
                finally:
                    file.write_text("0")
            case Kind.TWICE:
                async with asyncio.timeout(30):
                    if not await deliver_again(self._bootstrap, PROCESSES[target].groups, fault.amount):
                        raise _NotNowError("there was no message to deliver again")
                yield

    @asynccontextmanager
    async def _redis(self) -> AsyncIterator[Redis]:
        password = ensure_secrets(self._instance)["SURGE_REDIS_PASSWORD"]
        redis = Redis(port=self._instance.port(PROCESSES[REDIS].port), password=password, socket_timeout=5)
        try:
            yield redis
        finally:
            await redis.aclose()

    async def _pid(self, name: str) -> int:
        """The process's id, waited for if it is just being started."""
        deadline = time.monotonic() + _ALIVE_SECONDS
        while True:
            state = (await asyncio.to_thread(self._supervisor.states))[name]
            if state.pid and state.running:
                return state.pid
            if time.monotonic() > deadline:
                raise _NotNowError(f"{name} did not run ({state.state.lower()})")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _watch(self, record: Injected) -> None:
        """Notes when the target serves again, unless it is hurt anew meanwhile."""
        target, deadline = record.fault.target, time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(probes.NotReadyError):
                await probes.ask(self._instance, target)
                record.ready_at = self._now()
                return
            await asyncio.sleep(_LOOK_SECONDS)
            if any(one is not record and one.fault.target == target for one in self.holding):
                return


def _family(pid: int) -> list[psutil.Process]:
    """A process and its descendants, itself first."""
    parent = psutil.Process(pid)
    return [parent, *parent.children(recursive=True)]

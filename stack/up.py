"""`surge up`: brings an instance from whatever state it is in to running, as a graph of steps."""

import asyncio
import importlib
import shutil
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cdc.connect import ConnectClient, ConnectError
from cdc.source import CONNECTOR, connector
from stack import database, environment, jars, kafka, packages, ports, probes, render, servers, warehouse
from stack.definitions import (
    CONNECT,
    GATEWAY,
    HEAPS,
    KAFKA,
    MIGRATIONS,
    POSTGRES,
    POSTGRES_LOADING,
    PROCESSES,
    RAW,
    REDIS,
    SEED,
    SINK,
    TOPICS,
    WAREHOUSE,
)
from stack.display import Progress
from stack.environment import ensure_secrets
from stack.errors import StackError
from stack.instance import Instance
from stack.supervision import ProcessState, Supervisor, end_leftovers, tail

READY_SECONDS: Final = 90
_STARTS_BEFORE_GIVING_UP: Final = 3
_STATES_SECONDS: Final = 0.3

_ROLES = "database"
_CONNECTORS = "connectors"
_WAREHOUSE_ROLES = "warehouse database"

_PREPARATIONS: Final[dict[str, Callable[[Instance], None]]] = {
    "postgres": lambda instance: servers.prepare_postgres(instance, ensure_secrets(instance)),
    "redis": lambda instance: servers.prepare_redis(instance, ensure_secrets(instance)),
    "kafka": servers.prepare_kafka,
    "connect": servers.prepare_connect,
    "docstore": servers.prepare_docstore,
    "warehouse": lambda instance: servers.prepare_warehouse(instance, ensure_secrets(instance)),
    "sink": lambda instance: servers.prepare_connect(instance, SINK),
}


class StepFailedError(StackError):
    """A step of the start failed; the message names it."""


@dataclass(frozen=True, slots=True)
class _Step:
    key: str
    title: str
    action: Callable[[], Awaitable[str]]
    after: tuple[str, ...] = ()


class Start:
    """One run of `surge up` over an instance."""

    def __init__(
        self,
        instance: Instance,
        progress: Progress,
        names: Sequence[str] | None = None,
        *,
        seeded: bool = True,
        loading: bool = False,
    ) -> None:
        """``seeded``: with the demo shop. ``loading``: Postgres is started to be filled, not to serve."""
        self.instance = instance
        self.loading = loading
        self.seeded = seeded
        self.progress = progress
        self.processes = instance.processes
        self.names = tuple(self.processes) if names is None else tuple(names)
        self.supervisor = Supervisor(instance)
        self.before: dict[str, ProcessState] = {}
        self.launched = False
        self.started: list[str] = []
        self._asking = asyncio.Lock()
        self._asked_at = 0.0
        self._known: dict[str, ProcessState] = {}

    @property
    def server(self) -> database.Server:
        """The instance's Postgres."""
        return database.Server.of(self.instance)

    async def run(self) -> None:
        """Starts what does not run, and returns once everything is ready.

        Raises:
            StackError: if anything failed; what this call started has been stopped again.
        """
        try:
            await self._set_up()
            await self._run_graph(self._steps())
        except BaseException:
            await asyncio.to_thread(self._take_back)
            raise

    async def start_one(self, name: str) -> None:
        """Starts one process under the supervisor that runs already, with fresh settings, and waits until it serves."""
        render.write_environment(self.instance)
        await self._run_graph([_Step(name, name, lambda: self._start(name))])

    async def _set_up(self) -> None:
        self.progress.expect(
            [
                ("ports", "ports"),
                ("packages", "system packages"),
                ("jars", "Kafka and friends"),
                ("supervisor", "supervisor"),
            ]
        )
        await self._step("ports", self._check_ports)
        await self._step("packages", packages.ensure)
        await self._step("jars", jars.ensure)
        await self._step("supervisor", self._supervise)

    async def _step(self, key: str, action: Callable[[], str]) -> None:
        self.progress.begin(key)
        try:
            self.progress.finish(key, await asyncio.to_thread(action))
        except StackError as error:
            self.progress.finish(key, str(error), "failed")
            raise

    def _serving(self) -> bool:
        """Whether every service ran already when this call began, so that the shop was seeded before."""
        return all(self.before[name].pid for name in self.names if name in self.before) and bool(self.before)

    def _check_ports(self) -> str:
        alive = self.supervisor.alive()
        states = self.before = self.supervisor.states() if alive else {}
        ended = [] if alive else end_leftovers(self.instance)
        needed = {
            instance_port: name
            for name in self.names
            if name not in states or not states[name].pid
            for instance_port in (self.instance.port(offset) for offset in self.processes[name].ports.values())
        }
        gateways = [name for name in self.names if self.processes[name].role == GATEWAY]
        entrance = self.processes[GATEWAY].entrance
        if entrance is not None and gateways and not any(name in states and states[name].pid for name in gateways):
            needed[self.instance.port(entrance)] = GATEWAY
        if taken := ports.holders(list(needed)):
            raise StackError(
                "ports of this stack are in use; nothing was started",
                "\n".join(f"{holder} (wanted by {needed[holder.port]})" for holder in taken)
                + "\nStop it, or choose other ports with SURGE_PORT_BASE.",
            )
        return f"free, after ending {', '.join(ended)}" if ended else "free"

    def _supervise(self) -> str:
        self.instance.create()
        ensure_secrets(self.instance)
        render.write_environment(self.instance)
        render.write_supervisor(self.instance)
        if self.supervisor.alive():
            self.supervisor.apply_configuration()
            return "running"
        self.supervisor.launch()
        self.launched = True
        return "started"

    def _steps(self) -> list[_Step]:
        bootstrap = f"127.0.0.1:{self.instance.port(PROCESSES[KAFKA].port)}"
        processes = [
            _Step(
                name,
                name,
                lambda name=name: self._start(name),  # type: ignore[misc]
                self.processes[name].after,
            )
            for name in self.names
        ]
        seed = (
            [_Step(SEED, "demo shop", self._seed, (POSTGRES, REDIS, MIGRATIONS))]
            if self.seeded and not self._serving()
            else []
        )
        between = [
            _Step(_ROLES, "database", lambda: database.ensure_roles(self.server), (POSTGRES,)),
            _Step(MIGRATIONS, "migrations", self._migrate, (POSTGRES, _ROLES)),
            _Step(TOPICS, "topics", lambda: kafka.ensure_topics(bootstrap), (KAFKA,)),
            _Step(_CONNECTORS, "connectors", self._connectors, (POSTGRES, CONNECT, MIGRATIONS, TOPICS)),
            *seed,
            _Step(
                _WAREHOUSE_ROLES,
                _WAREHOUSE_ROLES,
                lambda: warehouse.ensure_roles(warehouse.Warehouse.of(self.instance)),
                (WAREHOUSE,),
            ),
            _Step(RAW, "raw tables", self._raw, (WAREHOUSE, SINK, _WAREHOUSE_ROLES, _CONNECTORS, SEED)),
        ]
        between = [step for step in between if self._concerned(step)]
        steps = [
            *[step for step in processes if not PROCESSES[self.processes[step.key].role].is_service],
            *between,
            *[step for step in processes if PROCESSES[self.processes[step.key].role].is_service],
        ]
        known = {step.key for step in steps}
        return [
            _Step(step.key, step.title, step.action, tuple(key for key in step.after if key in known)) for step in steps
        ]

    def _concerned(self, step: _Step) -> bool:
        """Whether this start brings about all the processes that the step needs."""
        return {key for key in step.after if key in PROCESSES} <= set(self.names)

    async def _run_graph(self, steps: list[_Step]) -> None:
        self.progress.expect((step.key, step.title) for step in steps)
        done = {step.key: asyncio.Event() for step in steps}

        async def run(step: _Step) -> None:
            for key in step.after:
                await done[key].wait()
            self.progress.begin(step.key)
            try:
                detail = await step.action()
            except Exception as error:
                self.progress.finish(step.key, str(error), "failed")
                if isinstance(error, StackError):
                    raise
                raise StepFailedError(f"{step.title}: {type(error).__name__}: {error}") from error
            self.progress.finish(step.key, detail)
            done[step.key].set()

        try:
            async with asyncio.TaskGroup() as group:
                for step in steps:
                    group.create_task(run(step), name=step.key)
        except BaseExceptionGroup as failures:
            raise _first(failures) from None

    async def _start(self, name: str) -> str:
        state = (await asyncio.to_thread(self.supervisor.states))[name]
        if state.pid and name in HEAPS and state.started < jars.fetched_at():
            # it runs on jars that have been replaced under it
            await asyncio.to_thread(self.supervisor.stop, [name])
            state = (await asyncio.to_thread(self.supervisor.states))[name]
        fresh = not state.pid
        if fresh:
            if name == POSTGRES and self.loading:
                secret = ensure_secrets(self.instance)
                await asyncio.to_thread(servers.prepare_postgres, self.instance, secret, POSTGRES_LOADING)
            elif prepare := _PREPARATIONS.get(name):
                await asyncio.to_thread(prepare, self.instance)
            if state.state != "BACKOFF":
                await asyncio.to_thread(self.supervisor.start, name)
                self.started.append(name)
        await self._ready(name)
        return "ready" if fresh else "running"

    async def _states(self, since: float) -> dict[str, ProcessState]:
        """What the supervisor said of all processes a moment ago, but after ``since``.

        Some twenty processes are waited for at a time: each asking for itself took a tenth of the machine.
        """
        async with self._asking:
            now = time.monotonic()
            if self._asked_at < max(since, now - _STATES_SECONDS):
                self._known = await asyncio.to_thread(self.supervisor.states)
                self._asked_at = now
            return self._known

    async def _ready(self, name: str) -> None:
        began, pause, said = time.monotonic(), 0.05, ""
        while True:
            try:
                await probes.ask(self.instance, name)
                return
            except probes.NotReadyError as error:
                said = str(error)
            self.progress.note(name, "" if "refused" in said else said)
            state = (await self._states(began))[name]
            if state.restarts >= _STARTS_BEFORE_GIVING_UP or state.state in ("FATAL", "STOPPED"):
                raise StepFailedError(
                    f"{name} does not start ({state.last_exit or state.state.lower()})", tail(self.instance, name)
                )
            if time.monotonic() > began + READY_SECONDS:
                raise StepFailedError(f"{name} is not ready after {READY_SECONDS} s: {said}", tail(self.instance, name))
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, 0.3)

    async def _seed(self) -> str:
        environment.apply(self.instance)
        # a second's work, beside which the servers are waited for
        demo = await asyncio.to_thread(importlib.import_module, "stack.demo")
        telemetry = await asyncio.to_thread(importlib.import_module, "kit.telemetry")
        telemetry.configure("surge", level="ERROR", json=False)
        return str(await demo.seed(lambda text: self.progress.note(SEED, text)))

    async def _migrate(self) -> str:
        """Sinks that run already are held until the raw tables have followed (``_raw``)."""
        if self.instance.platform and not await database.migrated(self.server):
            environment.apply(self.instance)
            from cdc.migration import hold
            from cdc.settings import CdcSettings

            await hold(CdcSettings())
        return await database.migrate(self.server)

    async def _connectors(self) -> str:
        source = connector(self.server.source)
        async with ConnectClient(f"http://127.0.0.1:{self.instance.port(PROCESSES[CONNECT].port)}") as client:
            try:
                changed = await client.put(CONNECTOR, source)
                await client.wait_healthy(CONNECTOR)
                await database.wait_streaming(self.server)
            except (ConnectError, StackError) as error:
                raise StepFailedError(
                    "the outbox connector does not run", f"{error}\n{tail(self.instance, CONNECT)}"
                ) from error
        return f"{CONNECTOR} {'registered' if changed else 'running'}"

    async def _raw(self) -> str:
        environment.apply(self.instance)
        from cdc.run import ensure
        from cdc.settings import CdcSettings
        from stack import demo

        said = await ensure(CdcSettings(), lambda progress: self.progress.note(RAW, str(progress)))
        told = await demo.tell_visits()
        return f"{said}; {told:,} events of visitors" if told else said

    def _take_back(self) -> None:
        if not self.supervisor.alive():
            return
        if self.launched:
            self.supervisor.stop_all()
            self.supervisor.shut_down()
            end_leftovers(self.instance)
        elif self.started:
            self.supervisor.stop_all(self.started)


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    error = failures.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def down(instance: Instance) -> list[str]:
    """Stops everything, in order, then supervisord; nothing of the instance runs afterwards.

    Returns what did not stop by itself.
    """
    supervisor = Supervisor(instance)
    if supervisor.alive():
        uptimes = {name: state.uptime for name, state in supervisor.states().items()}
        try:
            supervisor.stop_all()
        finally:
            supervisor.shut_down()
        for server in HEAPS:
            jars.keep_archive(server, servers.archive_left(instance, server), uptime=uptimes.get(server, 0.0))
    return end_leftovers(instance)


def wipe(instance: Instance) -> None:
    """Deletes an instance's data, logs and configuration; nothing of it may run. Secrets stay."""
    servers.remove_postgres(instance)
    for folder in (instance.data, instance.logs, instance.run, instance.conf):
        shutil.rmtree(folder, ignore_errors=True)

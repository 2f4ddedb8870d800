"""Kafka Connect's REST interface: connectors are put in place, watched, and their failed tasks restarted."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import httpx


class ConnectError(Exception):
    """Connect answered with an error, or did not answer."""


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """A connector and its tasks."""

    name: str
    state: str
    tasks: tuple[str, ...]
    trace: str

    @property
    def healthy(self) -> bool:
        return self.state == "RUNNING" and bool(self.tasks) and all(task == "RUNNING" for task in self.tasks)

    @property
    def failed(self) -> bool:
        return "FAILED" in (self.state, *self.tasks)


class ConnectClient:
    """A client of one Connect worker."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        # Connect looks at the database before it takes a connector: more than 15 s on a machine that starts two stacks
        self._http = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False, transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, **options: Any) -> Any:
        try:
            response = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ConnectError(f"{method} {path}: {error!r}") from error
        if response.status_code >= 400:
            raise ConnectError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response.json() if response.content else None

    async def put(self, name: str, configuration: dict[str, str]) -> bool:
        """Creates the connector or changes it; false if it is as wanted already.

        A worker that rebalances refuses for a moment (409); that is waited out.

        Raises:
            ConnectError: if Connect refuses the configuration or does not answer.
        """
        wanted = {**configuration, "name": name}
        known = name in await self._patiently("GET", "/connectors")
        if known and await self._ask("GET", f"/connectors/{name}/config") == wanted:
            return False
        await self._patiently("PUT", f"/connectors/{name}/config", json=wanted)
        return True

    async def names(self) -> list[str]:
        """The connectors that exist."""
        return list(await self._ask("GET", "/connectors"))

    async def prepare(self, name: str, configuration: dict[str, str]) -> None:
        """Has the connector there with this configuration, and stopped: its offsets can be set before it runs.

        Raises:
            ConnectError: if Connect refuses the configuration or does not answer.
        """
        if name in await self.names():
            await self.put(name, configuration)
            await self.stop(name)
        else:
            body = {"name": name, "config": configuration, "initial_state": "STOPPED"}
            await self._patiently("POST", "/connectors", json=body)
            await self._until(name, "STOPPED")

    async def stop(self, name: str) -> None:
        """Ends the connector's tasks, and waits until they have ended; it stays known."""
        await self._patiently("PUT", f"/connectors/{name}/stop")
        await self._until(name, "STOPPED")

    async def pause(self, name: str) -> None:
        """Has the connector's tasks wait."""
        await self._patiently("PUT", f"/connectors/{name}/pause")

    async def resume(self, name: str) -> None:
        """Has a paused or stopped connector go on."""
        await self._patiently("PUT", f"/connectors/{name}/resume")

    async def seek(self, name: str, offsets: Mapping[str, int]) -> None:
        """Sets where a stopped sink goes on: topic → offset in its only partition."""
        entries = [
            {"partition": {"kafka_topic": topic, "kafka_partition": 0}, "offset": {"kafka_offset": offset}}
            for topic, offset in offsets.items()
        ]
        if entries:
            await self._patiently("PATCH", f"/connectors/{name}/offsets", json={"offsets": entries})

    async def _patiently(self, method: str, path: str, **options: Any) -> Any:
        """Asks again while the worker rebalances or a connector's tasks are still ending."""
        for attempt in range(80):
            try:
                return await self._ask(method, path, **options)
            except ConnectError as error:
                waits = ": 409 " in str(error) or "zombie" in str(error) or "Try again" in str(error)
                if not waits or attempt == 79:
                    raise
                await asyncio.sleep(0.25)
        raise AssertionError("unreachable")

    async def _until(self, name: str, state: str, *, seconds: float = 60) -> None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for status in await self.statuses():
                        if status.name == name and status.state == state and not status.tasks:
                            return
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ConnectError(f"connector {name} is not {state.lower()} after {seconds:.0f} s") from None

    async def statuses(self) -> list[ConnectorStatus]:
        """Every connector's status."""
        answer = await self._ask("GET", "/connectors", params={"expand": "status"})
        return [
            ConnectorStatus(
                name=name,
                state=entry["status"]["connector"]["state"],
                tasks=tuple(task["state"] for task in entry["status"]["tasks"]),
                trace=next((task["trace"] for task in entry["status"]["tasks"] if task.get("trace")), ""),
            )
            for name, entry in sorted(answer.items())
        ]

    async def heal(self) -> list[str]:
        """Restarts what failed, and returns the names of the connectors concerned."""
        failed = [status.name for status in await self.statuses() if status.failed]
        for name in failed:
            which = {"includeTasks": "true", "onlyFailed": "true"}
            await self._ask("POST", f"/connectors/{name}/restart", params=which)
        return failed

    async def wait_healthy(self, name: str, *, seconds: float = 60) -> None:
        """Waits until the connector and its tasks run, restarting what fails meanwhile.

        Raises:
            ConnectError: if they don't in time; says why.
        """
        trace = "has no task yet"
        try:
            async with asyncio.timeout(seconds):
                while True:
                    for status in await self.statuses():
                        if status.name == name:
                            if status.healthy:
                                return
                            trace = status.trace or trace
                            if status.failed:
                                await self.heal()
                                await asyncio.sleep(1)
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise ConnectError(f"connector {name} does not run: {trace[:2000]}") from None

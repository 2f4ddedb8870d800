"""Connect's client against an imitated worker: what fails is restarted, and only that."""

from typing import Any

import httpx
import pytest

from cdc.connect import ConnectClient, ConnectError
from cdc.source import OUTBOX_TABLE, PUBLICATION, SLOT, SourceDatabase, connector
from cdc.tables import CAPTURED

SOURCE = connector(SourceDatabase(host="db", port=5432, name="surge", user="debezium", password="p"))


class Worker:
    def __init__(self, connector: str = "RUNNING", task: str = "RUNNING") -> None:
        self.states = {"outbox-source": (connector, task)}
        self.configuration: dict[str, Any] = {}
        self.busy = 0
        self.requests: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(f"{request.method} {request.url.path}")
        if self.busy:
            self.busy -= 1
            return httpx.Response(409, json={"message": "rebalancing"})
        match request.method, request.url.path:
            case "GET", "/connectors" if request.url.query:
                return httpx.Response(200, json={name: self._status(name) for name in self.states})
            case "GET", "/connectors":
                return httpx.Response(200, json=[*self.configuration])
            case "GET", path if path.endswith("/config"):
                return httpx.Response(200, json=self.configuration["outbox-source"])
            case "PUT", _:
                self.configuration["outbox-source"] = httpx.Response(200, content=request.content).json()
                return httpx.Response(201, json={})
            case "POST", _:
                self.states["outbox-source"] = ("RUNNING", "RUNNING")
                return httpx.Response(202)
        return httpx.Response(404)

    def _status(self, name: str) -> dict[str, Any]:
        connector, task = self.states[name]
        return {
            "status": {
                "name": name,
                "connector": {"state": connector, "worker_id": "one"},
                "tasks": [{"id": 0, "state": task, "worker_id": "one", "trace": "it broke"}],
            }
        }


def _client(worker: Worker) -> ConnectClient:
    return ConnectClient("http://connect", transport=httpx.MockTransport(worker))


async def test_a_failed_task_is_restarted() -> None:
    worker = Worker(task="FAILED")

    async with _client(worker) as client:
        assert await client.heal() == ["outbox-source"]
        assert await client.heal() == []

    assert worker.requests.count("POST /connectors/outbox-source/restart") == 1


async def test_what_runs_is_left_alone() -> None:
    worker = Worker()

    async with _client(worker) as client:
        assert await client.heal() == []
        [status] = await client.statuses()

    assert status.healthy


async def test_the_same_configuration_is_not_put_twice() -> None:
    async with _client(Worker()) as client:
        assert await client.put("outbox-source", SOURCE)
        assert not await client.put("outbox-source", SOURCE)
        assert await client.put("outbox-source", {**SOURCE, "poll.interval.ms": "500"})


async def test_a_rebalance_is_waited_out() -> None:
    worker = Worker()
    worker.busy = 2

    async with _client(worker) as client:
        assert await client.put("outbox-source", SOURCE)


async def test_a_connector_that_stays_broken_says_why() -> None:
    worker = Worker(connector="UNASSIGNED", task="UNASSIGNED")

    async with _client(worker) as client:
        with pytest.raises(ConnectError, match="it broke"):
            await client.wait_healthy("outbox-source", seconds=0.3)


async def test_a_worker_that_is_away_is_an_error() -> None:
    async with ConnectClient("http://127.0.0.1:1") as client:
        with pytest.raises(ConnectError):
            await client.statuses()


def test_the_source_reads_outbox_and_tables_from_one_slot_and_keeps_no_log_back() -> None:
    included = SOURCE["table.include.list"].replace("\\", "").split(",")
    assert included == [OUTBOX_TABLE, *(table.name for table in CAPTURED)]
    assert (SOURCE["slot.name"], SOURCE["publication.name"]) == (SLOT, PUBLICATION)
    assert SOURCE["publication.autocreate.mode"] == "disabled"
    assert SOURCE["lsn.flush.mode"] == "connector_and_driver"
    assert int(SOURCE["heartbeat.interval.ms"]) > 0
    assert SOURCE["transforms.outbox.route.topic.replacement"] == "${routedByValue}"

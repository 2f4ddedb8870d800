"""compose.yml says the same as the native definitions: services, commands, settings, ports, order, topics."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from contracts.topics import TOPICS
from stack import environment, render, setup
from stack.definitions import (
    DOCSTORE,
    HEAPS,
    POSTGRES_SETTINGS,
    PROCESSES,
    REDIS_SETTINGS,
    WAREHOUSE_SETTINGS,
    KafkaListen,
    Part,
    Process,
    connect_settings,
    kafka_settings,
)
from stack.instance import ROOT, SHOP_PORT_BASE, Instance
from stack.servers import KAFKA_ROOM_MB

BASE = SHOP_PORT_BASE
SERVICES = [process for process in PROCESSES.values() if process.is_service]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yml").read_text())
    return document


def _properties(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if line)


def _container(name: str) -> str:
    return name


def test_same_processes(compose: dict[str, Any]) -> None:
    assert set(compose["services"]) == {*PROCESSES, "setup"}


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda process: process.name)
def test_same_ports_and_only_on_loopback(compose: dict[str, Any], process: Process) -> None:
    published = [f"127.0.0.1:{BASE + port}:{BASE + port}" for port in process.ports.values()]

    assert compose["services"][process.name]["ports"] == published


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_same_command(compose: dict[str, Any], process: Process, tmp_path: Path) -> None:
    instance = Instance(name="shop", home=tmp_path, port_base=BASE)
    native = render.command(instance, process)
    command = native[native.index("--") + 1 :]

    assert compose["services"][process.name]["command"] == ["python", *command[1:]]


@pytest.mark.parametrize("process", SERVICES, ids=lambda process: process.name)
def test_same_settings(compose: dict[str, Any], process: Process) -> None:
    asked = {name: f"${{{name}:?}}" for name in environment.SECRETS}
    wanted = {
        **environment.shared(name="shop", home="/var/lib/surge", port_base=BASE, secret=asked, host=_container),
        **(
            environment.platform(port_base=BASE, secret=asked, host=_container) if process.part is Part.PLATFORM else {}
        ),
        **environment.of_process(process, port_base=BASE, listen="0.0.0.0"),
    }

    assert compose["services"][process.name]["environment"] == wanted


@pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda process: process.name)
def test_same_order(compose: dict[str, Any], process: Process) -> None:
    wanted = {name: {"condition": "service_healthy"} for name in process.after if name in PROCESSES}
    if any(name not in PROCESSES for name in process.after):
        wanted["setup"] = {"condition": "service_completed_successfully"}

    assert compose["services"][process.name].get("depends_on", {}) == wanted


@pytest.mark.parametrize("name", [*PROCESSES])
def test_every_process_has_a_health_check_and_comes_back(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]

    assert service["healthcheck"]["test"]
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize(("name", "wanted"), [("postgres", POSTGRES_SETTINGS), ("warehouse", WAREHOUSE_SETTINGS)])
def test_postgres_has_the_native_settings(compose: dict[str, Any], name: str, wanted: dict[str, str]) -> None:
    program, port, *settings = compose["services"][name]["command"]

    assert (program, port) == ("postgres", f"--port={BASE + PROCESSES[name].port}")
    assert dict(setting.removeprefix("--").split("=", 1) for setting in settings) == dict(wanted)


def test_kafka_waits_for_the_native_room() -> None:
    script = (ROOT / "stack" / "infra" / "start-java.sh").read_text()

    assert re.findall(r"-ge (\d+)|for (\d+) MB", script) == [(str(KAFKA_ROOM_MB), ""), ("", str(KAFKA_ROOM_MB))]


def test_redis_has_the_native_settings(compose: dict[str, Any]) -> None:
    program, *arguments = compose["services"]["redis"]["command"]
    settings = dict(zip((name.removeprefix("--") for name in arguments[::2]), arguments[1::2], strict=True))

    assert program == "redis-server"
    assert settings == {
        "port": str(BASE + PROCESSES["redis"].port),
        "requirepass": "${SURGE_REDIS_PASSWORD:?}",
        **REDIS_SETTINGS,
    }


def test_kafka_has_the_native_settings(compose: dict[str, Any]) -> None:
    ports = PROCESSES["kafka"].ports
    listen = KafkaListen(
        bind="0.0.0.0",
        host="kafka",
        port=BASE + ports["kafka"],
        controller_port=BASE + ports["controller"],
        data="/var/lib/kafka/log",
    )

    assert _properties(compose["configs"]["kafka"]["content"]) == kafka_settings(listen)


@pytest.mark.parametrize("worker", ["connect", "sink"])
def test_connect_has_the_native_settings(compose: dict[str, Any], worker: str) -> None:
    wanted = connect_settings(
        group=worker,
        bind="0.0.0.0",
        host=worker,
        port=BASE + PROCESSES[worker].port,
        bootstrap=f"kafka:{BASE + PROCESSES['kafka'].port}",
        plugins="/opt/surge/jars/plugins",
    )

    assert _properties(compose["configs"][worker]["content"]) == wanted


@pytest.mark.parametrize("name", [name for name in HEAPS if name != DOCSTORE])
def test_java_servers_have_the_native_memory(compose: dict[str, Any], name: str) -> None:
    options = [f"-Xmx{HEAPS[name].maximum_mb}m", *HEAPS[name].options]

    assert compose["services"][name]["environment"]["JAVA_OPTS"] == " ".join(options)


def test_docstore_listens_where_the_services_look(compose: dict[str, Any]) -> None:
    command = compose["services"][DOCSTORE]["command"]

    assert command[command.index("--port") + 1] == str(BASE + PROCESSES[DOCSTORE].port)


def test_setup_job_brings_about_what_up_does_natively(compose: dict[str, Any]) -> None:
    job = compose["services"]["setup"]
    given = {key.removeprefix("SURGE_").lower() for key in job["environment"]}
    needed = {name for name, field in setup.SetupSettings.model_fields.items() if field.is_required()}

    assert job["command"] == ["python", "-m", "stack.setup"]
    assert needed <= given


def test_topics_come_from_one_table_and_never_by_accident(compose: dict[str, Any]) -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    assert _properties(compose["configs"]["kafka"]["content"])["auto.create.topics.enable"] == "false"


def test_no_secret_is_written_down(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for key, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|API_KEY|AUTH$", key):
                assert re.fullmatch(r"\$\{SURGE_[A-Z_]+:\?\}", value), f"{name}.{key} holds a secret"


def test_image_has_every_package_that_runs() -> None:
    copied = set(re.findall(r"^COPY (\w+) \1$", (ROOT / "Dockerfile").read_text(), re.MULTILINE))

    assert {process.module.split(".")[0] for process in SERVICES if process.module} <= copied
    assert {"contracts", "kit"} <= copied

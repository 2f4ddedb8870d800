"""The Kubernetes manifests: valid by the API's own schemas, and the same shop as stack/definitions.py describes."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import kubernetes_validate
import pytest
import yaml

from contracts.topics import DEAD_LETTERS, PLATFORM_EVENTS, TOPICS
from stack import environment, setup
from stack.definitions import PROCESSES, SCALABLE, Process
from stack.instance import ROOT, SHOP_PORT_BASE

MANIFESTS: Final = ROOT / "deploy" / "kubernetes"
KUBERNETES: Final = "1.31"
SCALED_OBJECT: Final = json.loads((Path(__file__).parent / "scaledobject.schema.json").read_text())

CONSUMERS: Final = [PROCESSES[name] for name in SCALABLE if PROCESSES[name].groups]
WORKLOADS: Final = [PROCESSES[name] for name in (*SCALABLE, "watchdog")]

ONLY_FOR_DEMOS: Final = frozenset(
    {
        "SURGE_HOME",
        "SURGE_PORT_BASE",
        "SURGE_MAILSINK_URL",
        "SURGE_STRIPE_WEBHOOK_URL",
        "SURGE_PAYPAL_WEBHOOK_URL",
        "SURGE_PAYPAL_WEBHOOK_SECRET",
        "SURGE_SINK_URL",
        "SURGE_ADMIN_EMAIL",
        "SURGE_ADMIN_PASSWORD",
        "SURGE_DEMO_EMAIL",
        "SURGE_DEMO_PASSWORD",
    }
)
"""What only the simulators, the demo's seed and the native stack read."""

ELSEWHERE: Final = frozenset({"SURGE_SMTP_HOST", "SURGE_STRIPE_API_BASE", "SURGE_PAYPAL_API_BASE"})
"""Addresses that the simulators have natively and the real services have here."""


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(MANIFESTS.rglob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            yield str(file.relative_to(MANIFESTS)), document


DOCUMENTS: Final = list(_documents())
OBJECTS: Final = [(file, document) for file, document in DOCUMENTS if document["kind"] != "Kustomization"]


def _one(kind: str, name: str) -> dict[str, Any]:
    [found] = [document for _, document in OBJECTS if (document["kind"], document["metadata"]["name"]) == (kind, name)]
    return found


def _workload(name: str) -> dict[str, Any]:
    [found] = [
        document
        for _, document in OBJECTS
        if document["kind"] in ("Deployment", "StatefulSet") and document["metadata"]["name"] == name
    ]
    return found


def _container(name: str) -> dict[str, Any]:
    [container] = _workload(name)["spec"]["template"]["spec"]["containers"]
    assert isinstance(container, dict)
    return container


def _secrets() -> tuple[set[str], set[str]]:
    """Names in the README's two commands that make the secrets."""
    text = (MANIFESTS / "README.md").read_text()
    found = {
        name: set(re.findall(r"--from-literal=(SURGE_\w+)=", command))
        for name, command in re.findall(r"create secret generic (\S+)((?:.*\\\n)+.*)", text)
    }
    return found["surge-secrets"], found["surge-setup-secrets"]


@pytest.mark.parametrize(
    ("file", "document"), OBJECTS, ids=[f"{f}-{d['kind']}-{d['metadata']['name']}" for f, d in OBJECTS]
)
def test_every_object_is_valid(file: str, document: dict[str, Any]) -> None:
    if document["kind"] == "ScaledObject":
        jsonschema.validate(document, SCALED_OBJECT)
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_validator_refuses_what_is_wrong() -> None:
    misspelt = json.loads(json.dumps(_workload("saga")))
    misspelt["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    unknown = json.loads(json.dumps(_one("ScaledObject", "saga")))
    unknown["spec"]["maxReplicas"] = 3

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(misspelt, KUBERNETES, strict=True)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(unknown, SCALED_OBJECT)


def test_kustomizations_name_every_file() -> None:
    listed = {
        str(Path(file).parent / resource)
        for file, document in DOCUMENTS
        if document["kind"] == "Kustomization"
        for resource in document["resources"]
    }

    assert listed == {file for file, _ in OBJECTS}


def test_every_service_of_ours_is_deployed() -> None:
    deployed = {d["metadata"]["name"] for _, d in OBJECTS if d["kind"] in ("Deployment", "StatefulSet")}

    assert deployed == {process.name for process in WORKLOADS}


@pytest.mark.parametrize("process", WORKLOADS, ids=lambda process: process.name)
def test_a_process_is_started_asked_and_stopped_as_natively(process: Process) -> None:
    container = _container(process.name)
    port = SHOP_PORT_BASE + process.port
    variables = {entry["name"]: entry for entry in container["env"]}
    pod = _workload(process.name)["spec"]["template"]["spec"]

    assert container["command"] == ["python", "-m", process.module]
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert variables["SURGE_PORT"]["value"] == str(port)
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert pod["terminationGracePeriodSeconds"] >= process.stop_seconds
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("process", WORKLOADS, ids=lambda process: process.name)
def test_every_pod_is_a_group_member_of_its_own(process: Process) -> None:
    [name] = [entry for entry in _container(process.name)["env"] if entry["name"] == "SURGE_PROCESS"]

    assert name["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


@pytest.mark.parametrize("process", CONSUMERS, ids=lambda process: process.name)
def test_consumers_keep_their_names_and_scale_on_their_own_lag(process: Process) -> None:
    scaled = _one("ScaledObject", process.name)["spec"]
    partitions = min(topic.partitions for topic in TOPICS if topic.name not in (DEAD_LETTERS, PLATFORM_EVENTS))
    workload = _workload(process.name)

    assert workload["kind"] == "StatefulSet"
    assert workload["spec"]["serviceName"] == _one("Service", process.name)["metadata"]["name"]
    assert {trigger["metadata"]["consumerGroup"] for trigger in scaled["triggers"]} == set(process.groups)
    assert {t["metadata"]["bootstrapServers"] for t in scaled["triggers"]} == {_settings()["SURGE_KAFKA_BOOTSTRAP"]}
    assert scaled["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": process.name}
    assert scaled["maxReplicaCount"] == partitions


def test_the_gateway_scales_on_its_cpu() -> None:
    scaler = _one("HorizontalPodAutoscaler", "gateway")["spec"]

    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}
    assert [metric["resource"]["name"] for metric in scaler["metrics"]] == ["cpu"]


@pytest.mark.parametrize("name", SCALABLE)
def test_a_drain_takes_one_pod_of_a_role_at_a_time(name: str) -> None:
    budget = _one("PodDisruptionBudget", name)["spec"]

    assert budget["maxUnavailable"] == 1
    assert (
        budget["selector"]["matchLabels"].items() <= _workload(name)["spec"]["template"]["metadata"]["labels"].items()
    )


@pytest.mark.parametrize("name", SCALABLE)
def test_a_service_leads_to_its_pods(name: str) -> None:
    service = _one("Service", name)["spec"]

    assert service["selector"].items() <= _workload(name)["spec"]["template"]["metadata"]["labels"].items()
    assert service["ports"] == [{"name": "http", "port": SHOP_PORT_BASE + PROCESSES[name].port, "targetPort": "http"}]


def _settings() -> dict[str, str]:
    data = _one("ConfigMap", "surge-settings")["data"]
    assert isinstance(data, dict)
    return data


def test_settings_are_the_native_ones() -> None:
    native = environment.shared(
        name="shop",
        home="",
        port_base=SHOP_PORT_BASE,
        secret=defaultdict(str),
        host=lambda process: {"mailsink": "mail"}.get(process, process),
    )
    secrets, _ = _secrets()
    settings = _settings()

    assert settings.keys() | secrets == native.keys() - ONLY_FOR_DEMOS
    assert not settings.keys() & secrets
    assert {k: v for k, v in settings.items() if k not in ELSEWHERE} == {
        k: native[k] for k in settings.keys() - ELSEWHERE
    }


def test_nothing_secret_is_written_down() -> None:
    assert not {name for name in _settings() if name in environment.SECRETS}
    assert not [document for _, document in OBJECTS if document["kind"] == "Secret"]


def test_the_job_has_what_it_needs_and_makes_no_demo() -> None:
    [container] = _one("Job", "setup")["spec"]["template"]["spec"]["containers"]
    own = {entry["name"]: entry["value"] for entry in container["env"]}
    secrets, setup_secrets = _secrets()
    given = {*own, *_settings(), *secrets, *setup_secrets}
    needed = {
        f"SURGE_{name.upper()}" for name, field in setup.SetupSettings.model_fields.items() if field.is_required()
    }

    assert container["command"] == ["python", "-m", "stack.setup"]
    assert needed <= given
    assert own["SURGE_SETUP_DEMO"] == "false"
    assert int(own["SURGE_KAFKA_REPLICATION"]) == 3
    assert not setup_secrets & secrets


def test_pods_reach_the_stores_and_nothing_else_by_default() -> None:
    policies = {d["metadata"]["name"]: d["spec"] for _, d in OBJECTS if d["kind"] == "NetworkPolicy"}
    ports = {
        port["port"] for spec in policies.values() for rule in spec.get("egress", []) for port in rule.get("ports", [])
    }
    stores = {SHOP_PORT_BASE + PROCESSES[name].port for name in ("postgres", "redis", "kafka", "docstore", "connect")}
    mail = SHOP_PORT_BASE + PROCESSES["mailsink"].ports["smtp"]

    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert ports == {53, 443, mail, *stores}

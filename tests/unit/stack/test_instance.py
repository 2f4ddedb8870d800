"""Instances: where they live, and what keeps two of them apart."""

import os
from pathlib import Path

import pytest

from stack import instance as instances
from stack.errors import StackError


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SURGE_HOME", "SURGE_PORT_BASE", "SURGE_TEST_HOME", "SURGE_TEST_PORT_BASE", instances.REPLICAS):
        monkeypatch.delenv(name, raising=False)


def test_the_shop_lives_in_the_checkout() -> None:
    shop = instances.current()

    assert shop.name == "shop"
    assert shop.home == instances.ROOT / ".surge"


def test_an_instance_remembers_its_ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("SURGE_PORT_BASE", "23000")
    instances.current().create()
    monkeypatch.delenv("SURGE_PORT_BASE")

    again = instances.current()

    assert (again.name, again.port_base) == ("other", 23000)


def test_an_instance_remembers_how_many_processes_a_role_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_HOME", str(tmp_path))
    monkeypatch.setenv(instances.REPLICAS, "gateway=2, saga=3,shipping=1")
    instances.current().create()
    monkeypatch.delenv(instances.REPLICAS)

    again = instances.current()

    assert again.replicas == {"gateway": 2, "saga": 3}
    assert {"gateway", "gateway-2", "saga", "saga-2", "saga-3", "shipping"} <= set(again.processes)
    monkeypatch.setenv(instances.REPLICAS, "saga=1")
    assert instances.current().replicas == {}


@pytest.mark.parametrize("text", ["postgres=2", "saga", "saga=0", "saga=9", "saga=two", "sagas=2"])
def test_what_can_not_be_replicated_is_refused(text: str) -> None:
    with pytest.raises(StackError, match=instances.REPLICAS):
        instances.parse_replicas(text)


@pytest.mark.parametrize("base", ["80", "65530"])
def test_ports_that_can_not_be_had_are_refused(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_HOME", str(tmp_path))
    monkeypatch.setenv("SURGE_PORT_BASE", base)

    with pytest.raises(StackError, match="SURGE_PORT_BASE"):
        instances.current()


def test_two_commands_do_not_change_one_instance_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "SHARED", tmp_path)
    instance = instances.Instance(name="shop", home=tmp_path / "shop", port_base=23000)
    other = instances.Instance(name="other", home=tmp_path / "other", port_base=24000)

    with instance.alone(), other.alone(), pytest.raises(StackError, match=f"pid {os.getpid()}"), instance.alone():
        pass
    with instance.alone():
        pass


def test_tests_never_share_a_directory_or_port_with_the_shop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGE_HOME", "/somewhere/else")
    monkeypatch.setenv("SURGE_PORT_BASE", "18000")
    shop, tests = instances.current(), instances.test_instance()

    assert tests.home != shop.home
    assert abs(tests.port_base - shop.port_base) >= instances.PORTS_IN_USE
    assert tests.mark != shop.mark


def test_an_instance_for_faults_is_reached_through_proxies_and_remembers_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chaos = instances.Instance(name="chaos", home=tmp_path, port_base=23000, faults=True)
    chaos.create()
    monkeypatch.setenv("SURGE_HOME", str(tmp_path))

    again = instances.current()

    assert again.faults
    assert again.port_base == 23000
    assert again.dial_base == 23000 + instances.PORTS_IN_USE
    assert instances.Instance(name="shop", home=tmp_path, port_base=23000).dial_base == 23000

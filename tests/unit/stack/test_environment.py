"""Settings and secrets."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from kit.settings import Settings
from stack import environment
from stack.instance import Instance


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    for name in environment.SECRETS:
        monkeypatch.delenv(name, raising=False)
    return Instance(name="shop", home=tmp_path, port_base=23000)


def test_secrets_are_made_once_and_for_the_owner_alone(instance: Instance) -> None:
    first = environment.ensure_secrets(instance)
    second = environment.ensure_secrets(instance)

    assert first == second
    assert set(first) == set(environment.SECRETS)
    assert len(set(first.values())) == len(first)
    assert stat.S_IMODE(instance.secrets_file.stat().st_mode) == 0o600


def test_a_secret_that_came_later_is_added(instance: Instance) -> None:
    instance.secrets_file.write_text("SURGE_JWT_SECRET=kept-as-it-was\n")

    secret = environment.ensure_secrets(instance)

    assert secret["SURGE_JWT_SECRET"] == "kept-as-it-was"
    assert set(secret) == set(environment.SECRETS)


def test_the_services_settings_can_be_read_from_it(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.build(instance).items():
        monkeypatch.setenv(name, value)

    settings = Settings()

    assert settings.instance == "shop"
    assert settings.kafka_bootstrap == "127.0.0.1:23003"
    assert settings.database_url.get_secret_value().endswith("@127.0.0.1:23001/surge")


def test_servers_passwords_stay_with_the_servers(instance: Instance) -> None:
    services, commands = environment.for_services(instance), environment.build(instance)

    assert not {"SURGE_POSTGRES_PASSWORD", "SURGE_WAREHOUSE_PASSWORD"} & commands.keys()
    assert not set(environment.PLATFORM_SECRETS) & services.keys()
    assert set(environment.PLATFORM_SECRETS) <= commands.keys() - services.keys()


def test_the_callers_settings_count_but_never_its_addresses(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SURGE_PAYMENTS_FAILURE_RATE", "0.3")
    monkeypatch.setenv("SURGE_DATABASE_URL", "postgresql+asyncpg://other@127.0.0.1:1/other")
    monkeypatch.setenv("SURGE_JWT_SECRET", "of-another-instance")
    (instance.home / "settings.env").write_text("SURGE_SHIPPING_CLOCK_SPEED=5\nSURGE_PAYMENTS_FAILURE_RATE=0.1\n")

    given = environment.build(instance)

    assert given["SURGE_PAYMENTS_FAILURE_RATE"] == "0.3"
    assert given["SURGE_SHIPPING_CLOCK_SPEED"] == "5"
    assert "other" not in given["SURGE_DATABASE_URL"]
    assert given["SURGE_JWT_SECRET"] != "of-another-instance"


def test_where_faults_are_injected_processes_reach_each_other_through_proxies(instance: Instance) -> None:
    given = environment.build(replace(instance, faults=True))

    assert given["SURGE_PORT_BASE"] == "23000"
    assert given["SURGE_KAFKA_BOOTSTRAP"] == "127.0.0.1:23183"
    assert "@127.0.0.1:23181/" in given["SURGE_DATABASE_URL"]
    assert given["SURGE_STRIPE_API_BASE"] == "http://127.0.0.1:23189"

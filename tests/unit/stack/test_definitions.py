"""The table of processes is consistent in itself."""

from pathlib import Path

import pytest

from stack import environment
from stack.definitions import (
    HEAPS,
    MIGRATIONS,
    MOST_REPLICAS,
    PLATFORM,
    PLATFORM_PORTS,
    PORT_SPAN,
    PROCESSES,
    RAW,
    SCALABLE,
    SEED,
    SERVERS,
    SHOP,
    TOPICS,
    replicated,
    stop_waves,
)
from stack.instance import PORTS_IN_USE, Instance
from stack.servers import command


def test_no_port_is_given_twice() -> None:
    ports = [port for process in PROCESSES.values() for port in process.ports.values()]

    assert len(set(ports)) == len(ports)
    assert all(0 <= port < PORT_SPAN for name in SHOP for port in PROCESSES[name].ports.values())
    assert all(port in PLATFORM_PORTS for name in PLATFORM for port in PROCESSES[name].ports.values())
    assert PLATFORM_PORTS.start == PORT_SPAN * MOST_REPLICAS


def test_replicas_have_names_and_ports_of_their_own_and_share_the_gateways() -> None:
    processes = replicated(dict.fromkeys(SCALABLE, MOST_REPLICAS))
    ports = [port for process in processes.values() for port in process.ports.values()]
    gateways = [process for process in processes.values() if process.role == "gateway"]

    assert len(processes) == len(PROCESSES) + (MOST_REPLICAS - 1) * len(SCALABLE)
    assert len(set(ports)) == len(ports)
    assert all(0 < port < PORTS_IN_USE for port in ports)
    assert {gateway.entrance for gateway in gateways} == {PROCESSES["gateway"].port}
    assert replicated({}) == dict(PROCESSES)


def test_every_replica_is_a_group_member_of_its_own() -> None:
    own = [
        environment.of_process(process, port_base=18000, listen="127.0.0.1")
        for process in replicated({"saga": 2, "gateway": 2}).values()
        if process.is_service
    ]

    assert len({variables["SURGE_PROCESS"] for variables in own}) == len(own)
    assert {v["SURGE_PROCESS"] for v in own if v.get("SURGE_ENTRANCE_PORT") == "18000"} == {"gateway", "gateway-2"}


def test_everything_waited_for_exists() -> None:
    for process in PROCESSES.values():
        assert set(process.after) <= {*PROCESSES, MIGRATIONS, TOPICS, SEED, RAW}


def test_servers_are_started_by_us_and_services_by_python() -> None:
    assert {name for name in SHOP if not PROCESSES[name].is_service} == set(SERVERS)
    assert all(not PROCESSES[name].is_service for name in HEAPS)


def test_the_shop_needs_nothing_of_the_platform() -> None:
    assert not {needed for name in SHOP for needed in PROCESSES[name].after} & {*PLATFORM, RAW}


def test_what_depends_on_a_process_stops_before_it() -> None:
    wave = {name: index for index, names in enumerate(stop_waves()) for name in names}

    assert set(wave) == set(PROCESSES)
    for process in PROCESSES.values():
        for needed in process.after:
            if needed in PROCESSES:
                assert wave[process.name] < wave[needed]
    for name in ("gateway", "saga", "projector"):
        assert wave[name] < wave["postgres"]
        assert wave[name] < wave["kafka"]


def test_every_service_knows_its_own_port() -> None:
    for process in PROCESSES.values():
        if process.is_service:
            own = environment.of_process(process, port_base=18000, listen="127.0.0.1")
            assert own["SURGE_PORT"] == str(18000 + process.port)
            assert own["SURGE_PROCESS"] == process.name


def test_an_unknown_server_has_no_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a server"):
        command(Instance(name="shop", home=tmp_path, port_base=23000), "nothing")


def test_consumer_groups_are_those_that_the_services_read_in() -> None:
    from cdc import sink
    from oltp.inventory import __main__ as inventory
    from oltp.notifications import __main__ as notifications
    from oltp.orders import projector
    from oltp.payments import __main__ as payments
    from oltp.shipping import __main__ as shipping
    from sagas import worker as saga

    assert set(PROCESSES["saga"].groups) == {saga.GROUP}
    assert set(PROCESSES["inventory"].groups) == {inventory.COMMAND_GROUP, inventory.EVENT_GROUP}
    assert set(PROCESSES["payments"].groups) == {payments.GROUP}
    assert set(PROCESSES["shipping"].groups) == {shipping.GROUP}
    assert set(PROCESSES["notifications"].groups) == {notifications.GROUP}
    assert set(PROCESSES["projector"].groups) == {projector.GROUP, projector.PARCELS_GROUP}
    assert set(PROCESSES["sink"].groups) == {f"connect-{name}" for name in (sink.TABLES, sink.EVENTS)}

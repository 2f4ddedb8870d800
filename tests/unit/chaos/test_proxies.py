"""Every address that a process is given where faults are injected has a proxy behind it."""

import re
from pathlib import Path

from stack import environment
from stack.chaos.proxies import addresses
from stack.instance import Instance


def test_whatever_is_reached_through_a_proxy_has_one(tmp_path: Path) -> None:
    instance = Instance(name="chaos", home=tmp_path, port_base=23000, faults=True)
    given = environment.for_services(instance)
    del given["SURGE_SINK_URL"]  # such an instance has no data platform
    asked = {
        int(port)
        for name, value in given.items()
        if "URL" in name or "BASE" in name or "BOOTSTRAP" in name
        for port in re.findall(r"127\.0\.0\.1:(\d+)", value)
    } | {int(given["SURGE_SMTP_PORT"])}

    listening = {listen for listen, _ in addresses(instance).values()}

    assert asked <= listening
    assert all(
        upstream == listen - (instance.dial_base - instance.port_base)
        for listen, upstream in addresses(instance).values()
    )

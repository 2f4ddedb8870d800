"""A port in use is named with its owner."""

import os
import socket

from stack import ports


def test_the_owner_of_a_port_is_named() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]

        [holder] = ports.holders([port])

    assert (holder.port, holder.pid) == (port, os.getpid())
    assert f"port {port} is in use by pid {os.getpid()}" in str(holder)


def test_a_free_port_has_no_owner() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]

    assert ports.holders([port]) == []


def test_an_owner_that_the_system_hides_is_told_so() -> None:
    assert "another user" in str(ports.Holder(port=1, pid=0, command=""))

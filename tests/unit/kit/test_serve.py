"""Where a process listens."""

import socket

import pytest

from kit.app import listening


def test_processes_of_a_role_share_their_entrance_and_nobody_else_gets_it() -> None:
    with (
        listening("127.0.0.1", 0, together=True) as first,
        listening("127.0.0.1", first.getsockname()[1], together=True) as second,
    ):
        port = second.getsockname()[1]
        assert port == first.getsockname()[1]
        first.listen()
        with pytest.raises(OSError, match="in use"), listening("127.0.0.1", port, together=False):
            pass


def test_a_copy_that_is_not_ready_gets_no_connections() -> None:
    with (
        listening("127.0.0.1", 0, together=True) as ready,
        listening("127.0.0.1", ready.getsockname()[1], together=True),
    ):
        ready.listen()
        for _ in range(20):
            with socket.create_connection(ready.getsockname(), timeout=5):
                ready.settimeout(5)
                ready.accept()[0].close()

"""Ports: whether they are free, and who has them if not."""

import contextlib
import socket
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port. ``pid`` is 0 where the system does not tell."""

    port: int
    pid: int
    command: str

    def __str__(self) -> str:
        who = f"pid {self.pid}: {self.command}" if self.pid else "a process of another user"
        return f"port {self.port} is in use by {who}"


def in_use(port: int) -> bool:
    """Whether something listens on the port of any local address that we would bind."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def holders(ports: list[int]) -> list[Holder]:
    """Who holds each of the ports that are taken."""
    taken = [port for port in ports if in_use(port)]
    if not taken:
        return []
    owners: dict[int, int] = {}
    with contextlib.suppress(psutil.AccessDenied):
        for connection in psutil.net_connections("inet"):
            if not connection.laddr or connection.laddr.port not in taken or not connection.pid:
                continue
            if connection.status == psutil.CONN_LISTEN or connection.laddr.port not in owners:
                owners[connection.laddr.port] = connection.pid
    return [Holder(port, owners.get(port, 0), _command(owners.get(port, 0))) for port in taken]


def _command(pid: int) -> str:
    if not pid:
        return ""
    try:
        return " ".join(psutil.Process(pid).cmdline())[:160] or psutil.Process(pid).name()
    except psutil.Error:
        return "(gone)"

"""Readiness: one question to each kind of process, answered or not within a second or two."""

import asyncio
import socket
from http.client import HTTPConnection, HTTPException

from stack.definitions import WAREHOUSE, Probe
from stack.environment import ensure_secrets
from stack.instance import Instance


class NotReadyError(Exception):
    """The process does not serve yet; ``str()`` is what it said."""


def _http(port: int, path: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=4)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read(300).decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise NotReadyError(str(error)) from None
    finally:
        connection.close()
    if response.status != 200:
        raise NotReadyError(f"{response.status} {body}")


def _tcp(port: int) -> None:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError as error:
        raise NotReadyError(str(error)) from None


def _redis(port: int, password: str) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.sendall(f"AUTH {password}\r\nPING\r\n".encode())
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := link.recv(256)):
                answer += part
    except OSError as error:
        raise NotReadyError(str(error)) from None
    if answer != b"+OK\r\n+PONG\r\n":
        raise NotReadyError(answer.decode(errors="replace").strip())


async def _postgres(port: int, password: str) -> None:
    import asyncpg

    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user="postgres", password=password, database="postgres", timeout=3
        )
        try:
            await connection.fetchval("SELECT 1")
        finally:
            await connection.close()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise NotReadyError(str(error)) from None


async def _kafka(port: int) -> None:
    from stack import kafka

    try:
        async with asyncio.timeout(4), kafka.admin(f"127.0.0.1:{port}") as client:
            await client.list_topics()
    except (OSError, TimeoutError, kafka.KafkaError) as error:
        raise NotReadyError(repr(error)) from None


async def ask(instance: Instance, name: str) -> None:
    """Returns if the process serves.

    Raises:
        NotReadyError: if it does not, with its reason.
    """
    process = instance.processes[name]
    port = instance.port(process.port)
    match process.probe:
        case Probe.POSTGRES:
            superuser = "SURGE_WAREHOUSE_PASSWORD" if name == WAREHOUSE else "SURGE_POSTGRES_PASSWORD"
            await _postgres(port, ensure_secrets(instance)[superuser])
        case Probe.REDIS:
            await asyncio.to_thread(_redis, port, ensure_secrets(instance)["SURGE_REDIS_PASSWORD"])
        case Probe.KAFKA:
            await asyncio.to_thread(_tcp, port)
            await _kafka(port)
        case Probe.CONNECT:
            await asyncio.to_thread(_http, port, "/health")
        case Probe.TCP:
            await asyncio.to_thread(_tcp, port)
        case Probe.HTTP:
            await asyncio.to_thread(_http, port, "/readyz")

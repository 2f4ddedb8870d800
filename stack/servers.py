"""The servers, natively: their data directories, configuration files and commands."""

import base64
import os
import pwd
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from stack import jars, start_kafka, start_redis, tools
from stack.definitions import (
    CONNECT,
    DOCSTORE,
    HEAPS,
    KAFKA,
    POSTGRES,
    POSTGRES_SETTINGS,
    PROCESSES,
    REDIS,
    REDIS_SETTINGS,
    WAREHOUSE,
    WAREHOUSE_SETTINGS,
    KafkaListen,
    connect_settings,
    kafka_settings,
)
from stack.errors import StackError
from stack.instance import Instance
from stack.variables import write_private

_POSTGRES_USER: Final = "postgres"

KAFKA_ROOM_MB: Final = 128
"""Free megabytes below which Kafka is not started. Going through 200 logs after a kill takes it a few."""


def postgres_user() -> str | None:
    """The user that Postgres runs as, when that is not the caller: it refuses to run as root."""
    return _POSTGRES_USER if os.geteuid() == 0 else None


def _enterable(directory: Path, user: str) -> bool:
    """Whether another user can reach a directory: search permission on it and everything above it."""
    entry = pwd.getpwnam(user)
    groups = set(os.getgrouplist(user, entry.pw_gid))
    for part in (directory, *directory.parents):
        state = part.stat()
        if state.st_uid == entry.pw_uid:
            allowed = state.st_mode & 0o100
        elif state.st_gid in groups:
            allowed = state.st_mode & 0o010
        else:
            allowed = state.st_mode & 0o001
        if not allowed:
            return False
    return True


def postgres_place(instance: Instance) -> Path:
    """The folder that holds Postgres's data and socket: the instance's, or one that its user can enter."""
    user = postgres_user()
    if user is None or _enterable(instance.data, user):
        return instance.data
    return Path("/var/lib") / f"surge-{instance.mark}"


def postgres_socket_directory(instance: Instance, server: str = POSTGRES) -> Path:
    """Where a Postgres server puts its socket; a socket's whole path may have 107 bytes."""
    directory = postgres_place(instance) / f"{server}-socket"
    if len(str(directory)) < 85:
        return directory
    return Path("/tmp") / f"surge-{instance.mark}{'' if server == POSTGRES else f'-{server}'}"  # noqa: S108


def _owned(directory: Path, user: str | None) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    if user:
        shutil.chown(directory, user, user)


def prepare_postgres(instance: Instance, secret: Mapping[str, str], tuned: Mapping[str, str] | None = None) -> None:
    """The shop's server; ``tuned`` are settings that differ this time."""
    settings = {**POSTGRES_SETTINGS, **(tuned or {})}
    _prepare_cluster(instance, POSTGRES, settings, secret["SURGE_POSTGRES_PASSWORD"])


def prepare_warehouse(instance: Instance, secret: Mapping[str, str]) -> None:
    """The warehouse's server."""
    _prepare_cluster(instance, WAREHOUSE, WAREHOUSE_SETTINGS, secret["SURGE_WAREHOUSE_PASSWORD"])


def _prepare_cluster(instance: Instance, server: str, settings: Mapping[str, str], password: str) -> None:
    """Creates a Postgres cluster at its first start, and writes its configuration at every one."""
    user = postgres_user()
    place = postgres_place(instance)
    link = instance.data / server
    data = place / server
    if place != instance.data:
        place.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(data)
    _owned(data, user)
    sockets = postgres_socket_directory(instance, server)
    _owned(sockets, user)
    if user is None or place == instance.data:
        sockets.chmod(0o755)
    if not (data / "PG_VERSION").exists():
        password_file = sockets / "initial-password"
        write_private(password_file, password + "\n")
        if user:
            shutil.chown(password_file, user, user)
        try:
            _as(
                user,
                [
                    str(tools.need(tools.postgres_bin(), "PostgreSQL") / "initdb"),
                    *("-D", str(data), "-U", "postgres", "--encoding=UTF8", "--locale=C.UTF-8"),
                    *("--auth=scram-sha-256", f"--pwfile={password_file}", "--no-instructions", "--no-sync"),
                ],
            )
        finally:
            password_file.unlink()
    lines = {
        **settings,
        "listen_addresses": "127.0.0.1",
        "port": str(instance.port(PROCESSES[server].port)),
        "unix_socket_directories": str(sockets),
        "cluster_name": f"surge-{instance.name}{'' if server == POSTGRES else f'-{server}'}",
    }
    file = data / "postgresql.auto.conf"
    file.write_text("".join(f"{key} = '{value}'\n" for key, value in lines.items()))
    if user:
        shutil.chown(file, user, user)


def _as(user: str | None, command: list[str]) -> None:
    options: dict[str, object] = {"user": user, "group": user, "extra_groups": []} if user else {}
    result = subprocess.run(  # type: ignore[call-overload]
        command, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options
    )
    if result.returncode != 0:
        raise StackError(f"{Path(command[0]).name} failed", (result.stdout + result.stderr).strip())


def remove_postgres(instance: Instance) -> None:
    """Deletes the Postgres clusters, wherever they lie."""
    if not instance.data.exists():
        return
    place = postgres_place(instance)
    for server in (POSTGRES, WAREHOUSE):
        shutil.rmtree(postgres_socket_directory(instance, server), ignore_errors=True)
        link = instance.data / server
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
            link.unlink()
        elif link.exists():
            shutil.rmtree(link)
    if place != instance.data:
        shutil.rmtree(place, ignore_errors=True)


def prepare_redis(instance: Instance, secret: Mapping[str, str]) -> None:
    """Writes Redis's configuration."""
    folder = instance.data / "redis"
    folder.mkdir(exist_ok=True)
    settings = {
        **REDIS_SETTINGS,
        "bind": "127.0.0.1",
        "port": str(instance.port(PROCESSES[REDIS].port)),
        "dir": str(folder),
        "daemonize": "no",
        "requirepass": secret["SURGE_REDIS_PASSWORD"],
    }
    write_private(
        instance.conf / "redis.conf",
        "".join(f'{key} "{value}"\n' for key, value in settings.items()),
    )


def _properties(settings: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def _java_options(instance: Instance, server: str, *extra: str) -> None:
    """Writes the JVM's options into a file of their own, so that a new archive does not change the command."""
    heap = HEAPS[server]
    scratch = instance.run / f"{server}-scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    options = [
        f"-Xmx{heap.maximum_mb}m",
        *heap.options,
        "-XX:+ExitOnOutOfMemoryError",
        # unpacked native libraries and performance counters would stay behind in the system's temporary folder
        f"-Djava.io.tmpdir={scratch}",
        "-XX:-UsePerfData",
        *jars.archive_options(server, archive_left(instance, server)),
        *extra,
        f'-cp "{jars.classpath(server)}"',
    ]
    (instance.conf / f"{server}.java").write_text("\n".join(options) + "\n")


def archive_left(instance: Instance, server: str) -> Path:
    """The class-data archive that a server writes when it ends, if it was asked to."""
    return instance.run / f"{server}.jsa"


def _log4j() -> str:
    return f"-Dlog4j2.configurationFile={(jars.INFRA / 'log4j2.xml').as_uri()}"


def prepare_kafka(instance: Instance) -> None:
    """Writes the broker's configuration, and formats its log directory at the first start."""
    kafka = PROCESSES[KAFKA]
    data = instance.data / "kafka"
    file = instance.conf / "kafka.properties"
    listen = KafkaListen(
        bind="127.0.0.1",
        host="127.0.0.1",
        port=instance.port(kafka.ports["kafka"]),
        controller_port=instance.port(kafka.ports["controller"]),
        data=str(data),
        dialled=instance.dial_base + kafka.ports["kafka"],
    )
    file.write_text(_properties(kafka_settings(listen)))
    _java_options(instance, KAFKA, _log4j())
    if (data / "meta.properties").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
    while cluster.startswith("-"):
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
    options = [
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        "-Dlog.level=WARN",
        _log4j(),
    ]
    command = [java(), *options, "-cp", jars.classpath(KAFKA), "kafka.tools.StorageTool", "format", "--standalone"]
    _as(None, [*command, "-t", cluster, "-c", str(file)])


def prepare_connect(instance: Instance, worker: str = CONNECT) -> None:
    """Writes a Connect worker's configuration."""
    settings = connect_settings(
        group=worker,
        bind="127.0.0.1",
        host="127.0.0.1",
        port=instance.port(PROCESSES[worker].port),
        bootstrap=f"127.0.0.1:{instance.dial_base + PROCESSES[KAFKA].port}",
        plugins=str(jars.JARS / "plugins"),
    )
    (instance.conf / f"{worker}.properties").write_text(_properties(settings))
    _java_options(instance, worker, _log4j())


def prepare_docstore(instance: Instance) -> None:
    """Creates the document store's folder."""
    (instance.data / "docstore").mkdir(exist_ok=True)
    _java_options(instance, DOCSTORE)


def java() -> str:
    """The JVM's program."""
    return str(tools.need(tools.java_home(), "a JDK") / "bin" / "java")


def command(instance: Instance, server: str) -> list[str]:
    """The command of a server."""
    options = f"@{instance.conf / server}.java"
    match server:
        case "postgres" | "warehouse":
            postgres = str(tools.need(tools.postgres_bin(), "PostgreSQL") / "postgres")
            return [postgres, "-D", str(postgres_place(instance) / server)]
        case "redis":
            redis = str(tools.need(tools.redis_server(), "Redis"))
            return [sys.executable, "-SE", start_redis.__file__, redis, str(instance.conf / "redis.conf")]
        case "kafka":
            properties = str(instance.conf / "kafka.properties")
            gate = [sys.executable, "-SE", start_kafka.__file__, str(KAFKA_ROOM_MB), properties]
            return [*gate, java(), options, "kafka.Kafka", properties]
        case "connect" | "sink":
            main = "org.apache.kafka.connect.cli.ConnectDistributed"
            return [java(), options, main, str(instance.conf / f"{server}.properties")]
        case "docstore":
            store = str(instance.data / "docstore" / "history.mv")
            return [java(), options, "Main", store, str(instance.port(PROCESSES[DOCSTORE].port))]
        case _:
            raise ValueError(f"{server} is not a server")

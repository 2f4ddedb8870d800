"""The one table of what runs: processes, ports, dependencies, readiness, and the servers' settings.

The native supervisor's configuration is rendered from it; ``compose.yml`` is held against it by a test.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class Probe(StrEnum):
    """How a process says that it serves."""

    POSTGRES = "postgres"
    REDIS = "redis"
    KAFKA = "kafka"
    CONNECT = "connect"
    TCP = "tcp"
    HTTP = "http"


class Part(StrEnum):
    """Which half of the system a process belongs to. An instance may do without the platform."""

    SHOP = "shop"
    PLATFORM = "platform"


class Priority(StrEnum):
    """Who goes first when the machine is full.

    A rush is answered before its orders are carried on, and those before what may lag behind them. With it a flash sale
    of 10,000 customers had a p99 of 88 to 277 ms in three of three, without of 1.9 to 5.5 s in four of four, and its
    orders came to PROCESSING within 2.9 to 3.1 s (p99) instead of 2.5 to 2.7.
    """

    ANSWERS = "answers"
    """A customer waits for it."""
    ORDERS = "orders"
    """Carries what was accepted: a sixtieth of the first one's share."""
    LATER = "later"
    """Runs when no other wants to (``SCHED_IDLE``)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One supervised process.

    ``ports`` are offsets from the instance's port base, the one that readiness asks first. ``after`` names the
    processes and the steps (``migrations``, ``topics``, ``seed``, ``raw``) that must be done before it starts.
    ``module`` is run by Python with the services' settings; a process without it is a server, whose command
    ``stack.servers`` knows. ``part``: one of the data platform's is started after the shop's, or left away.
    ``groups`` are the Kafka consumer groups that it reads in. ``entrance``: its copies take connections at one more
    port, which the kernel spreads over them. ``copy_of`` is the role of a second or later process of it. ``page`` is
    the path that people open in a browser.
    """

    name: str
    purpose: str
    ports: Mapping[str, int]
    probe: Probe
    module: str | None = None
    after: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    stop_signal: str = "TERM"
    stop_seconds: int = 15
    entrance: int | None = None
    copy_of: str = ""
    priority: Priority = Priority.ANSWERS
    part: Part = Part.SHOP
    page: str = ""

    @property
    def port(self) -> int:
        return next(iter(self.ports.values()))

    @property
    def role(self) -> str:
        return self.copy_of or self.name

    @property
    def is_service(self) -> bool:
        return self.module is not None


MIGRATIONS: Final = "migrations"
TOPICS: Final = "topics"
SEED: Final = "seed"
RAW: Final = "raw"
"""The warehouse's roles and its ``raw`` tables are there, and the shop's changes flow into them."""

GATEWAY: Final = "gateway"
POSTGRES: Final = "postgres"
REDIS: Final = "redis"
KAFKA: Final = "kafka"
CONNECT: Final = "connect"
DOCSTORE: Final = "docstore"
WAREHOUSE: Final = "warehouse"
SINK: Final = "sink"
DAGSTER_CODE: Final = "dagster-code"
DAGSTER_WEB: Final = "dagster-web"
DAGSTER_DAEMON: Final = "dagster-daemon"

_SERVERS: Final = (
    Process(
        name=POSTGRES,
        purpose="orders, stock, payments: the arbiter",
        ports={"sql": 1},
        probe=Probe.POSTGRES,
        stop_signal="INT",
        stop_seconds=30,
    ),
    Process(name=REDIS, purpose="carts, admission, the stock gate", ports={"redis": 2}, probe=Probe.REDIS),
    Process(
        name=KAFKA,
        purpose="commands and events",
        ports={"kafka": 3, "controller": 4},
        probe=Probe.KAFKA,
        stop_seconds=30,
    ),
    Process(
        name=CONNECT,
        purpose="Debezium: outbox to Kafka",
        ports={"http": 5},
        probe=Probe.CONNECT,
        after=(KAFKA,),
        priority=Priority.ORDERS,
    ),
    # a write costs the stand-in about 1 ms of CPU, as much as everything else an order needs of a service
    Process(
        name=DOCSTORE,
        purpose="order history",
        ports={"mongo": 6},
        probe=Probe.TCP,
        priority=Priority.LATER,
    ),
)

_SIMULATORS: Final = (
    Process(
        name="mailsink",
        purpose="receives the emails, shows them",
        ports={"http": 8, "smtp": 7},
        probe=Probe.HTTP,
        module="stack.simulators.mailsink",
        page="/",
        priority=Priority.LATER,
    ),
    Process(
        name="payment-providers",
        purpose="speaks Stripe's and PayPal's protocols",
        ports={"http": 9},
        probe=Probe.HTTP,
        module="stack.simulators.payment_providers",
    ),
)

_NEEDS_STORES: Final = (MIGRATIONS, TOPICS, REDIS, SEED)

_SERVICES: Final = (
    Process(
        name=GATEWAY,
        purpose="the public API and WebSockets",
        ports={"http": 0},
        probe=Probe.HTTP,
        module="oltp.gateway",
        page="/docs",
        after=(*_NEEDS_STORES, DOCSTORE),
    ),
    Process(
        name="saga",
        purpose="carries each order to its end",
        ports={"http": 10},
        probe=Probe.HTTP,
        module="sagas",
        after=_NEEDS_STORES,
        groups=("order-saga",),
        priority=Priority.ORDERS,
    ),
    Process(
        name="inventory",
        purpose="reserves, releases, allocates stock",
        ports={"http": 11},
        probe=Probe.HTTP,
        module="oltp.inventory",
        after=_NEEDS_STORES,
        groups=("inventory", "inventory-observer"),
        priority=Priority.ORDERS,
    ),
    Process(
        name="payments",
        purpose="charges, voids, refunds",
        ports={"http": 12},
        probe=Probe.HTTP,
        module="oltp.payments",
        after=(*_NEEDS_STORES, "payment-providers"),
        groups=("payments",),
        priority=Priority.ORDERS,
    ),
    Process(
        name="shipping",
        purpose="shipments and carriers",
        ports={"http": 13},
        probe=Probe.HTTP,
        module="oltp.shipping",
        after=_NEEDS_STORES,
        groups=("shipping",),
        priority=Priority.ORDERS,
    ),
    Process(
        name="notifications",
        purpose="email, SMS, push",
        ports={"http": 14},
        probe=Probe.HTTP,
        module="oltp.notifications",
        after=(*_NEEDS_STORES, "mailsink"),
        groups=("notifications",),
        priority=Priority.LATER,
    ),
    Process(
        name="projector",
        purpose="order history into the document store",
        ports={"http": 15},
        probe=Probe.HTTP,
        module="oltp.orders.projector",
        after=(*_NEEDS_STORES, DOCSTORE),
        groups=("projector", "live-parcels"),
        priority=Priority.LATER,
    ),
)

_KEEPERS: Final = (
    Process(
        name="watchdog",
        purpose="restarts failed connector tasks",
        ports={"http": 16},
        probe=Probe.HTTP,
        module="stack.watchdog",
        after=(POSTGRES,),
        priority=Priority.ORDERS,
    ),
)

_PLATFORM: Final = (
    Process(
        name=WAREHOUSE,
        purpose="raw tables and marts: what analysts ask",
        ports={"sql": 160},
        probe=Probe.POSTGRES,
        stop_signal="INT",
        stop_seconds=30,
        part=Part.PLATFORM,
        priority=Priority.LATER,
    ),
    Process(
        name=SINK,
        purpose="Kafka to the warehouse's raw tables",
        ports={"http": 161},
        probe=Probe.CONNECT,
        after=(KAFKA, WAREHOUSE),
        groups=("connect-warehouse-tables", "connect-warehouse-events"),
        part=Part.PLATFORM,
        priority=Priority.LATER,
    ),
    # it takes some 8 µs an event; with the least priority it would be behind the rush that it is to show
    Process(
        name="live-metrics",
        purpose="what the shop does right now, in windows",
        ports={"http": 162},
        probe=Probe.HTTP,
        module="oltp.metrics",
        after=(TOPICS, REDIS),
        groups=("live-metrics",),
        part=Part.PLATFORM,
        priority=Priority.ORDERS,
    ),
    Process(
        name="docs",
        purpose="what is written about the data: models, tests, lineage",
        ports={"http": 165},
        probe=Probe.HTTP,
        module="stack.docs",
        page="/",
        part=Part.PLATFORM,
        priority=Priority.LATER,
    ),
    # last: each takes seconds of CPU to start
    Process(
        name=DAGSTER_CODE,
        purpose="Dagster: loads the graph, starts the runs",
        ports={"grpc": 164},
        probe=Probe.TCP,
        module="orchestration.code",
        after=(RAW,),
        stop_seconds=30,
        part=Part.PLATFORM,
        priority=Priority.LATER,
    ),
    Process(
        name=DAGSTER_DAEMON,
        purpose="Dagster: schedules, sensors, the queue of runs",
        ports={"http": 166},
        probe=Probe.HTTP,
        module="orchestration.daemon",
        after=(DAGSTER_CODE,),
        part=Part.PLATFORM,
        priority=Priority.LATER,
    ),
    Process(
        name=DAGSTER_WEB,
        purpose="Dagster: the graph and its runs, to look at",
        ports={"http": 163},
        probe=Probe.HTTP,
        module="orchestration.web",
        page="/",
        after=(DAGSTER_CODE,),
        part=Part.PLATFORM,
        priority=Priority.LATER,
    ),
)

PROCESSES: Final[Mapping[str, Process]] = {
    process.name: process for process in (*_SERVERS, *_SIMULATORS, *_SERVICES, *_KEEPERS, *_PLATFORM)
}
SHOP: Final = tuple(process.name for process in PROCESSES.values() if process.part is Part.SHOP)
PLATFORM: Final = tuple(process.name for process in PROCESSES.values() if process.part is Part.PLATFORM)
SERVERS: Final = tuple(process.name for process in _SERVERS)
"""The shop's servers."""

PORTS: Final[Mapping[str, int]] = {
    (process.name if index == 0 else f"{process.name} {role}"): offset
    for process in PROCESSES.values()
    for index, (role, offset) in enumerate(process.ports.items())
}


SCALABLE: Final = tuple(process.name for process in _SERVICES)
"""Roles that an instance may run several processes of."""

MOST_REPLICAS: Final = 8
PORT_SPAN: Final = 20
"""Ports of one set of the shop's processes: a role's second one listens this much higher, the third twice as much."""

PLATFORM_PORTS: Final = range(PORT_SPAN * MOST_REPLICAS, PORT_SPAN * MOST_REPLICAS + 20)
"""Above all of the shop's sets."""

_OWN_PORT_OF_FIRST: Final = PORT_SPAN - 1


def replicated(counts: Mapping[str, int]) -> dict[str, Process]:
    """What an instance runs by name: each process, and ``counts`` of a role as ``saga``, ``saga-2``, ``saga-3``, ….

    Several gateways share the gateway's port; each has one of its own besides, where it says whether it is ready.
    """
    named: dict[str, Process] = {}
    for process in PROCESSES.values():
        count = counts.get(process.name, 1)
        first = process
        if process.name == GATEWAY and count > 1:
            first = replace(process, ports={**process.ports, "http": _OWN_PORT_OF_FIRST}, entrance=process.port)
        named[process.name] = first
        for number in range(2, count + 1):
            higher = {role: offset + PORT_SPAN * (number - 1) for role, offset in process.ports.items()}
            name = f"{process.name}-{number}"
            named[name] = replace(first, name=name, ports=higher, copy_of=process.name, page="")
    return named


def stop_waves() -> list[list[str]]:
    """Roles in the order they stop: whatever depends on a process stops before it."""
    depth: dict[str, int] = {}

    def measure(name: str) -> int:
        if name not in depth:
            needed = [other for other in PROCESSES[name].after if other in PROCESSES]
            implied = [POSTGRES, KAFKA] if PROCESSES[name].is_service and needed else []
            depth[name] = 1 + max((measure(other) for other in (*needed, *implied)), default=-1)
        return depth[name]

    for name in PROCESSES:
        measure(name)
    return [[name for name in PROCESSES if depth[name] == level] for level in range(max(depth.values()), -1, -1)]


POSTGRES_SETTINGS: Final[Mapping[str, str]] = {
    "wal_level": "logical",
    "max_wal_senders": "10",
    "max_replication_slots": "10",
    "max_slot_wal_keep_size": "4GB",
    "max_connections": "200",
    "shared_buffers": "512MB",
    "effective_cache_size": "4GB",
    "work_mem": "8MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    "wal_sender_timeout": "10s",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    "idle_in_transaction_session_timeout": "60s",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}

WAREHOUSE_SETTINGS: Final[Mapping[str, str]] = {
    # nobody replicates it: with the minimal log, a table that is truncated and copied anew is not logged at all
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "100",
    "shared_buffers": "1GB",
    "effective_cache_size": "4GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "lz4",
    # the sink's progress is committed in Kafka after its rows are here: they must outlive a kill
    "synchronous_commit": "on",
    # when a raw row was committed, against when the shop committed it: `surge bench cdc`
    "track_commit_timestamp": "on",
    "random_page_cost": "1.1",
    "idle_in_transaction_session_timeout": "10min",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}

POSTGRES_LOADING: Final[Mapping[str, str]] = {
    "wal_level": "minimal",  # an index that is built goes to disk once, not twice
    "max_wal_senders": "0",
    "max_wal_size": "3GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
"""What differs while a large shop is loaded (`surge seed`): nobody else is connected, and nothing is replicated."""

REDIS_SETTINGS: Final[Mapping[str, str]] = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    "maxmemory": "4gb",  # a day of idempotency keys and acceptance records, some 10 KB an order
    "maxmemory-policy": "noeviction",
    "maxclients": "2000",
    "tcp-backlog": "511",
}


@dataclass(frozen=True, slots=True)
class KafkaListen:
    """Where the broker binds, and the name by which clients reach it; ``dialled`` is their port, if another."""

    bind: str
    host: str
    port: int
    controller_port: int
    data: str
    dialled: int | None = None


def kafka_settings(listen: KafkaListen) -> dict[str, str]:
    """The broker's properties: one node that is broker and controller. Topics are ours to create."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{listen.host}:{listen.controller_port}",
        "listeners": f"PLAINTEXT://{listen.bind}:{listen.port},CONTROLLER://{listen.bind}:{listen.controller_port}",
        "advertised.listeners": (
            f"PLAINTEXT://{listen.host}:{listen.dialled or listen.port},CONTROLLER://{listen.host}:{listen.controller_port}"
        ),
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": listen.data,
        # a broker that was killed may not register again before its old registration is given up
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "1000",
        "auto.create.topics.enable": "false",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "num.partitions": "6",
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "5",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "5",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "log.segment.bytes": "134217728",
        "log.index.size.max.bytes": "1048576",
        "log.cleaner.dedupe.buffer.size": "16777216",
    }


def connect_settings(*, group: str, bind: str, host: str, port: int, bootstrap: str, plugins: str) -> dict[str, str]:
    """A Connect worker's properties; its group is a cluster with connectors of its own.

    Short session timeouts: a killed worker is given up after 6 s, not 45 s.
    """
    return {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "listeners": f"http://{bind}:{port}",
        "rest.advertised.host.name": host,
        "plugin.path": plugins,
        "plugin.discovery": "service_load",
        "key.converter": "org.apache.kafka.connect.json.JsonConverter",
        "key.converter.schemas.enable": "false",
        "value.converter": "org.apache.kafka.connect.json.JsonConverter",
        "value.converter.schemas.enable": "false",
        "config.storage.topic": f"{group}-configs",
        "config.storage.replication.factor": "1",
        "offset.storage.topic": f"{group}-offsets",
        "offset.storage.replication.factor": "1",
        "offset.storage.partitions": "3",
        "status.storage.topic": f"{group}-status",
        "status.storage.replication.factor": "1",
        "status.storage.partitions": "1",
        "offset.flush.interval.ms": "2000",
        "connector.client.config.override.policy": "All",
        "exactly.once.source.support": "disabled",
        "scheduled.rebalance.max.delay.ms": "0",
        "session.timeout.ms": "6000",
        "heartbeat.interval.ms": "2000",
        "consumer.session.timeout.ms": "6000",
        "consumer.heartbeat.interval.ms": "2000",
    }


TOPIC_SETTINGS: Final[Mapping[str, str]] = {"retention.ms": "-1", "min.insync.replicas": "1"}
"""Of every topic in ``contracts.topics`` that names no days of its own: an order's messages are kept for good."""


_SERIAL: Final = "-XX:+UseSerialGC"
_FIRST_COMPILER: Final = "-XX:TieredStopAtLevel=1"
"""The second costs a server that has little to do more in its first minute than it saves."""


@dataclass(frozen=True, slots=True)
class JavaHeap:
    """Memory of a server that runs on the JVM, and its options."""

    maximum_mb: int
    options: tuple[str, ...] = (_SERIAL, _FIRST_COMPILER)


HEAPS: Final[Mapping[str, JavaHeap]] = {
    KAFKA: JavaHeap(512),
    # a change passes some hundred small methods: with the second compiler they carry twice as many (`surge bench cdc`)
    CONNECT: JavaHeap(512, (_SERIAL,)),
    SINK: JavaHeap(512, (_SERIAL,)),
    DOCSTORE: JavaHeap(384),
}

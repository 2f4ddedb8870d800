"""An instance: one set of processes with its own directory and ports. The shop is one, the test stack another."""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stack.definitions import MOST_REPLICAS, PLATFORM_PORTS, SCALABLE, Part, Process, replicated
from stack.errors import StackError
from stack.variables import read_variables

ROOT: Final = Path(__file__).resolve().parent.parent
SHARED: Final = ROOT / ".surge"
"""Downloads that every instance uses: venv, uv, jars, cds."""

SHOP_PORT_BASE: Final = 18000
TEST_PORT_BASE: Final = 19000
CHAOS_PORT_BASE: Final = 20000
LANE_PORTS: Final = 400
"""Between the stacks of tests that run side by side: what an instance reserves, and what its tests start besides."""
PORTS_IN_USE: Final = PLATFORM_PORTS.stop
"""An instance owns the ports base … base+179: the shop uses the first twenty, its replicas those up to 159, the data
platform the rest.

One that faults are injected into owns as many again for its proxies."""

REPLICAS: Final = "SURGE_REPLICAS"
"""The setting that says how many processes of a role run, as ``gateway=2,saga=3``. Unnamed roles have one."""


@dataclass(frozen=True, slots=True)
class Instance:
    """Where an instance lives, and how many processes of which role. ``home`` is absolute.

    Nothing is created until ``create``.

    ``faults``: its processes are started so that faults can be injected: they reach each other through proxies, and
    each service's clock can be set wrong (see ``stack.chaos``). ``platform``: the data platform is part of it.
    """

    name: str
    home: Path
    port_base: int
    faults: bool = False
    replicas: Mapping[str, int] = field(default_factory=dict, hash=False)
    platform: bool = False

    @property
    def processes(self) -> dict[str, Process]:
        """Its processes by name."""
        return {
            name: process
            for name, process in replicated(self.replicas).items()
            if self.platform or process.part is Part.SHOP
        }

    def names(self, part: Part) -> tuple[str, ...]:
        """The names of its processes of one part."""
        return tuple(name for name, process in self.processes.items() if process.part is part)

    @property
    def data(self) -> Path:
        return self.home / "data"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def conf(self) -> Path:
        return self.home / "conf"

    @property
    def secrets_file(self) -> Path:
        return self.home / "secrets.env"

    @property
    def mark(self) -> str:
        """Identifies this instance's processes among all others (``SURGE_SUPERVISED_BY`` in their environment)."""
        return hashlib.sha256(str(self.home).encode()).hexdigest()[:12]

    def port(self, offset: int) -> int:
        return self.port_base + offset

    def page(self, process: Process) -> str:
        """The URL of what people open of a process; empty if there is nothing to open."""
        return f"http://127.0.0.1:{self.port(process.entrance or process.port)}{process.page}" if process.page else ""

    @property
    def dial_base(self) -> int:
        """The port base by which the processes reach each other: their own, or that of their proxies."""
        return self.port_base + (PORTS_IN_USE if self.faults else 0)

    def clock_file(self, process: str) -> Path:
        """Holds by how many seconds a process's clock is wrong, if faults are injected."""
        return self.run / f"{process}.clock"

    def log_file(self, process: str) -> Path:
        return self.logs / f"{process}.log"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While the block runs, no other command changes this instance.

        Raises:
            StackError: if one does already; says which.
        """
        folder = SHARED / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / self.mark).open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StackError(
                    f"another command is at work on '{self.name}' (pid {lock.read().strip() or 'unknown'})",
                    "Wait for it, or use another SURGE_HOME (for tests: SURGE_TEST_HOME) and its own ports.",
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def create(self) -> None:
        for directory in (self.home, self.data, self.logs, self.run, self.conf):
            directory.mkdir(parents=True, exist_ok=True)
        (self.home / "instance.json").write_text(
            json.dumps(
                {
                    "name": self.name,
                    "port_base": self.port_base,
                    "faults": self.faults,
                    "replicas": dict(self.replicas),
                    "platform": self.platform,
                },
                indent=2,
            )
            + "\n"
        )


def _stored(home: Path) -> dict[str, object]:
    file = home / "instance.json"
    if not file.exists():
        return {}
    stored = json.loads(file.read_text())
    return stored if isinstance(stored, dict) else {}


def parse_replicas(text: str) -> dict[str, int]:
    """``gateway=2,saga=3`` as role → processes.

    Raises:
        StackError: if it says anything else.
    """
    counts: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        role, _, number = (word.strip() for word in part.partition("="))
        if role not in SCALABLE:
            raise StackError(f"{REPLICAS}: there is no role {role!r} to run several of", f"There are: {_ROLES}")
        if not number.isdecimal() or not 1 <= int(number) <= MOST_REPLICAS:
            raise StackError(f"{REPLICAS}: {role} may have 1 to {MOST_REPLICAS} processes, not {number or 'none'!r}")
        counts[role] = int(number)
    return {role: count for role, count in counts.items() if count > 1}


_ROLES: Final = ", ".join(SCALABLE)


def _replicas(home: Path, stored: Mapping[str, object]) -> dict[str, int]:
    asked = os.environ.get(REPLICAS) or read_variables(home / "settings.env").get(REPLICAS)
    if asked:
        return parse_replicas(asked)
    known = stored.get("replicas")
    return {str(role): int(count) for role, count in known.items()} if isinstance(known, dict) else {}


def current() -> Instance:
    """The instance that ``SURGE_HOME`` and ``SURGE_PORT_BASE`` name; without them, the shop in ``.surge/``.

    ``SURGE_REPLICAS`` counts from the next ``surge up`` on, and is remembered until it is given again. An instance has
    the data platform unless it was made without.
    """
    home = Path(os.environ.get("SURGE_HOME") or SHARED).expanduser().resolve()
    stored = _stored(home)
    name = "shop" if home == SHARED else str(stored.get("name") or home.name)
    asked = os.environ.get("SURGE_PORT_BASE")
    base = int(asked) if asked and asked.isdigit() else int(str(stored.get("port_base") or SHOP_PORT_BASE))
    if not 1024 <= base <= 65535 - PORTS_IN_USE:
        raise StackError(f"SURGE_PORT_BASE must lie between 1024 and {65535 - PORTS_IN_USE}, not {asked}")
    return Instance(
        name=name,
        home=home,
        port_base=base,
        faults=bool(stored.get("faults")),
        replicas=_replicas(home, stored),
        platform=bool(stored.get("platform", True)),
    )


def chaos_instance() -> Instance:
    """The isolated stack of ``surge chaos`` (``SURGE_CHAOS_HOME``, ``SURGE_CHAOS_PORT_BASE``)."""
    home = Path(os.environ.get("SURGE_CHAOS_HOME") or SHARED / "chaos").expanduser().resolve()
    base = int(os.environ.get("SURGE_CHAOS_PORT_BASE") or CHAOS_PORT_BASE)
    return Instance(name="chaos", home=home, port_base=base, faults=True)


def test_instance(*, platform: bool = False) -> Instance:  # noqa: PT028  no test
    """The isolated stack of ``surge test``, without the data platform unless asked for.

    ``SURGE_TEST_HOME``, ``SURGE_TEST_PORT_BASE`` and ``SURGE_TEST_REPLICAS`` are for it what the same without ``TEST``
    are for the shop.
    """
    home = Path(os.environ.get("SURGE_TEST_HOME") or SHARED / "test").expanduser().resolve()
    return Instance(
        name="test",
        home=home,
        port_base=int(os.environ.get("SURGE_TEST_PORT_BASE") or TEST_PORT_BASE),
        replicas=parse_replicas(os.environ.get("SURGE_TEST_REPLICAS", "")),
        platform=platform,
    )

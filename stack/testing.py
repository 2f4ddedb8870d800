"""`surge test`: each kind of test on the stack it needs, which is its own, fresh, and gone afterwards.

The whole run keeps two cores busy: kinds that mostly wait for servers run side by side, each lane as a command of its
own on its own ports; the tests that hurt a shop under load, with a time by which it is well again, have the machine to
themselves. The unit tests, which compute and wait for nobody, take what all of them leave idle.
"""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stack import environment
from stack.definitions import SERVERS, SHOP, SINK, WAREHOUSE, Part
from stack.display import Progress, console
from stack.errors import StackError
from stack.instance import LANE_PORTS, ROOT, Instance, test_instance
from stack.supervision import Supervisor

NO_TESTS: Final = 5
PURE_CORE: Final = ("sagas/engine.py", "sagas/order.py", "oltp/*/domain.py", "oltp/*/domain/*.py")
TEST_SETTINGS: Final = {"SURGE_DEMO_ORDERS": "0", "SURGE_DEMO_CUSTOMERS": "200", "SURGE_DEMO_PRODUCTS": "200"}
"""How the test stack differs from a shop: small, and without a history."""

_LOWEST: Final = 19

_FAST_PARCELS: Final = {"SURGE_SHIPPING_CLOCK_SPEED": "100000"}
"""Parcels arrive within six seconds: an order is followed to its very end, and nobody waits for a carrier."""

PURE_CORE_BRANCHES: Final = 95.0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of test and the roles that it needs.

    Args:
        seeded: With the demo's shop in it.
        settings: Of its stack, besides :data:`TEST_SETTINGS`.
    """

    name: str
    roles: tuple[str, ...]
    seeded: bool = False
    platform: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)


KINDS: Final = (
    Kind("unit", ()),
    Kind("integration", SERVERS),
    Kind("e2e", SHOP, seeded=True),
    Kind("faults", SHOP, seeded=True, settings=_FAST_PARCELS),
    Kind("platform", (*SHOP, WAREHOUSE, SINK), seeded=True, platform=True),
    Kind("chaos", ()),
)
"""``chaos`` makes its own stack."""

SIDE_BY_SIDE: Final = (("integration",), ("e2e", "chaos"))
"""Lanes of the whole run: together they leave two cores little rest, alone each of them leaves half."""

IN_IDLE_TIME: Final = ("unit",)
"""Beside everything, and behind it: only with the time that nobody else wants."""

AFTERWARDS: Final = ("faults", "platform")


def select(arguments: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Splits arguments into what to run, by kind, and pytest's own.

    Raises:
        StackError: if a path lies outside tests/.
    """
    names = {kind.name for kind in KINDS}
    chosen: dict[str, list[str]] = {}
    rest: list[str] = []
    for argument in arguments:
        path = argument.split("::")[0]
        if argument in names:
            chosen.setdefault(argument, []).append(f"tests/{argument}")
        elif not argument.startswith("-") and (ROOT / path).exists() and not (rest and rest[-1] in _VALUED):
            relative = (ROOT / path).resolve().relative_to(ROOT).parts
            if relative == ("tests",):
                for name in names:
                    chosen.setdefault(name, []).append(f"tests/{name}")
            elif len(relative) < 2 or relative[0] != "tests" or relative[1] not in names:
                raise StackError(f"{path} is no test", f"Kinds: {', '.join(kind.name for kind in KINDS)}")
            else:
                chosen.setdefault(relative[1], []).append(argument)
        else:
            rest.append(argument)
    if not chosen:
        chosen = {kind.name: [f"tests/{kind.name}"] for kind in KINDS if (ROOT / "tests" / kind.name).is_dir()}
    return chosen, rest


_VALUED: Final = ("-k", "-m", "-n", "-p", "-W", "-o", "-c", "--timeout", "--seed", "--tb", "--maxfail", "--durations")


def run(arguments: Sequence[str]) -> int:
    """Runs the tests that the arguments name and returns pytest's exit code (the first that is not 0)."""
    if "--help" in arguments or "-h" in arguments:
        console.print(__doc__)
        console.print("surge test [unit|integration|e2e|faults|platform|chaos|PATH]... [pytest arguments]")
        return 0
    if not arguments:
        return _whole()
    chosen, rest = select(arguments)
    coverage = Path(test_instance().home) / "coverage"
    coverage.mkdir(parents=True, exist_ok=True)
    for file in coverage.glob(".coverage*"):
        file.unlink()
    codes: dict[str, int] = {}
    for kind in KINDS:
        if kind.name not in chosen:
            continue
        began = time.monotonic()
        console.rule(f"{kind.name} tests")
        _set({**TEST_SETTINGS, **kind.settings})
        codes[kind.name] = _run_kind(test_instance(platform=kind.platform), kind, [*chosen[kind.name], *rest], coverage)
        console.print(f"{kind.name}: exit {codes[kind.name]} after {time.monotonic() - began:.0f} s")
        if codes[kind.name] not in (0, NO_TESTS) and "-x" in rest:
            break
    failed = [code for code in codes.values() if code not in (0, NO_TESTS)]
    result = failed[0] if failed else NO_TESTS if all(code == NO_TESTS for code in codes.values()) else 0
    if "unit" in codes and not rest and chosen["unit"] == ["tests/unit"]:
        covered = _report_coverage(coverage)
        if covered < PURE_CORE_BRANCHES:
            console.print(f"branch coverage of the pure core is {covered:.1f} %, less than {PURE_CORE_BRANCHES} %")
            result = result or 1
    return result


def _set(settings: Mapping[str, str]) -> None:
    """Makes these the only settings of the shop in the environment."""
    for name in [name for name in os.environ if name.startswith("SURGE_") and not name.startswith("SURGE_TEST_")]:
        del os.environ[name]
    os.environ.update(settings)


def _whole() -> int:
    """Every kind: the lanes side by side, then the others, and one beside all. The first exit code that is not 0."""
    idle = _Lane(IN_IDLE_TIME, _apart(len(SIDE_BY_SIDE)), last=True)
    lanes = [_Lane(kinds, _apart(number)) for number, kinds in enumerate(SIDE_BY_SIDE)]
    try:
        codes = [lane.wait() for lane in lanes]
        codes += [run(AFTERWARDS), idle.wait()]
    finally:
        for lane in (*lanes, idle):
            lane.stop()
    return next((code for code in codes if code), 0)


def _apart(number: int) -> dict[str, str]:
    """Home and ports of a lane's stack."""
    first = test_instance()
    if not number:
        return {}
    home, base = first.home.with_name(f"{first.home.name}-{number + 1}"), first.port_base + number * LANE_PORTS
    return {"SURGE_TEST_HOME": str(home), "SURGE_TEST_PORT_BASE": str(base)}


class _Lane:
    """Kinds under test by a `surge test` of their own, whose lines are shown with the kinds before them.

    ``last``: everybody else's work comes before theirs.
    """

    def __init__(self, kinds: Sequence[str], variables: Mapping[str, str], *, last: bool = False) -> None:
        self._name = "+".join(kinds)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "stack", "test", *kinds],
            cwd=ROOT,
            env={**os.environ, **variables, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=last,
        )
        if last:
            _yield_to_all(self._process.pid)
        self._shown = threading.Thread(target=self._show)
        self._shown.start()

    def _show(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print(f"{self._name} │ {line}", end="", flush=True)

    def stop(self) -> None:
        """Ends the command, if it still runs; it takes its stack with it."""
        if self._process.poll() is None:
            self._process.terminate()
        self.wait()

    def wait(self) -> int:
        """The command's exit code, once it has ended and all that it said is shown."""
        code = self._process.wait()
        self._shown.join()
        return code


def _yield_to_all(session: int) -> None:
    """Gives a session the lowest priority. Where Linux schedules by session first, a process's own counts within it."""
    os.setpriority(os.PRIO_PGRP, session, _LOWEST)
    group = Path(f"/proc/{session}/autogroup")
    if group.exists():
        group.write_text(str(_LOWEST))


def _run_kind(instance: Instance, kind: Kind, arguments: list[str], coverage: Path) -> int:
    variables = dict(os.environ)
    if not kind.roles:
        return _pytest(arguments, variables, kind, coverage)
    with instance.alone():
        return _run_on_stack(instance, kind, arguments, variables, coverage)


def _run_on_stack(
    instance: Instance, kind: Kind, arguments: list[str], variables: dict[str, str], coverage: Path
) -> int:
    _fresh(instance)
    try:
        with Progress(f"test stack ({kind.name}, ports {instance.port_base}…)") as progress:
            from stack.up import Start

            for part in Part:  # the platform after the shop, as `surge up` does
                names = [name for name in instance.names(part) if instance.processes[name].role in kind.roles]
                if names:
                    seeded = kind.seeded and part is Part.SHOP
                    asyncio.run(Start(instance, progress, names, seeded=seeded).run())
        code = _pytest(arguments, {**variables, **_settings(instance)}, kind, coverage)
        if code not in (0, NO_TESTS):
            kept = _keep_logs(instance, kind)
            console.print(f"logs of the test stack: {kept}")
        return code
    finally:
        _fresh(instance)


def _settings(instance: Instance) -> dict[str, str]:
    own = {"SURGE_PROCESS": "tests", "SURGE_PORT_BASE": str(instance.port_base), "SURGE_LOG_JSON": "false"}
    return {**environment.build(instance), **environment.ensure_secrets(instance), **own}


def _fresh(instance: Instance) -> None:
    from stack.up import down, wipe

    if Supervisor(instance).alive() or instance.data.exists():
        down(instance)
        wipe(instance)


def _keep_logs(instance: Instance, kind: Kind) -> Path:
    kept = instance.home / "failed" / kind.name
    subprocess.run(["rm", "-rf", str(kept)], check=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-r", str(instance.logs), str(kept)], check=True)
    return kept


def _pytest(arguments: list[str], variables: dict[str, str], kind: Kind, coverage: Path) -> int:
    # of the pure core alone: with all the code traced they took 228 s beside the end-to-end tests, and 188 s so
    measured = ["coverage", "run", f"--data-file={coverage}/.coverage", f"--include={','.join(PURE_CORE)}", "-m"]
    command = [
        sys.executable,
        "-m",
        *(measured if kind.name == "unit" else []),
        "pytest",
        *arguments,
    ]
    return subprocess.run(
        command, cwd=ROOT, env={**variables, "PYTHONPATH": str(ROOT)}, stdin=subprocess.DEVNULL, check=False
    ).returncode


def _report_coverage(folder: Path) -> float:
    """Prints the coverage of the pure core, and returns the percentage of its branches that ran."""
    base = [sys.executable, "-m", "coverage"]
    data = f"--data-file={folder}/.coverage"
    target = folder / "pure-core.json"
    target.unlink(missing_ok=True)
    subprocess.run([*base, "report", data, "--skip-covered", "--sort=cover"], cwd=ROOT, check=False)
    subprocess.run([*base, "json", data, "-o", str(target)], cwd=ROOT, capture_output=True, check=False)
    if not target.exists():
        raise StackError(f"the coverage of the unit tests can't be read: {folder}")
    document = json.loads(target.read_text())
    core = {str(file.relative_to(ROOT)) for pattern in PURE_CORE for file in ROOT.glob(pattern)}
    if unseen := core - set(document["files"]):
        raise StackError(f"no unit test so much as imports {', '.join(sorted(unseen))}")
    totals = document["totals"]
    return 100.0 * int(totals["covered_branches"]) / int(totals["num_branches"])

"""`surge chaos`, briefly: the whole way from an empty machine to a verdict."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.chaos.history import Outcome, read
from stack.chaos.proxies import go
from stack.chaos.schedule import Kind, plan
from stack.instance import PORTS_IN_USE, ROOT, test_instance

SEED = 12
MINUTES = 0.4
RATE = 8


@pytest.mark.skipif(go() is None, reason="Toxiproxy is built with Go, which this machine lacks")
@pytest.mark.timeout(300)
def test_a_short_storm_is_weathered(tmp_path: Path) -> None:
    tests = test_instance()
    home = tests.home / "chaos"
    ports = {"SURGE_CHAOS_HOME": str(home), "SURGE_CHAOS_PORT_BASE": str(tests.port_base + 2 * PORTS_IN_USE)}
    verdict_file = tmp_path / "verdict.json"
    arguments = ["--minutes", str(MINUTES), "--seed", str(SEED), "--rate", str(RATE), "--json", str(verdict_file)]

    result = subprocess.run(
        [sys.executable, "-m", "stack", "chaos", *arguments],
        cwd=ROOT,
        env={**os.environ, **ports, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = json.loads(verdict_file.read_text())
    assert verdict["sound"]
    assert verdict["violations"] == 0
    assert verdict["audit_clean"]
    assert verdict["faults"] == len(plan(SEED, MINUTES * 60, [Kind(name) for name in verdict["kinds"]]))
    assert 0 < verdict["customers_arrived"] <= round(MINUTES * 60 * RATE)
    folder = max((home / "runs").iterdir())
    history = list(read(folder / "history.jsonl"))
    accepted = {entry.order for entry in history if entry.outcome is Outcome.ACCEPTED}
    assert len(accepted) == sum(count for name, count in verdict.items() if name.startswith("orders_"))
    assert len((folder / "faults.jsonl").read_text().splitlines()) >= verdict["faults"]

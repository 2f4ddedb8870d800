"""`surge test` sends each path to the stack that its kind needs."""

import os
import subprocess
from pathlib import Path

import pytest

from stack import instance as instances
from stack.errors import StackError
from stack.instance import CHAOS_PORT_BASE, LANE_PORTS, PORTS_IN_USE
from stack.testing import AFTERWARDS, IN_IDLE_TIME, KINDS, SIDE_BY_SIDE, _apart, _yield_to_all, select


def test_kinds_become_folders() -> None:
    assert select(["unit", "integration"]) == ({"unit": ["tests/unit"], "integration": ["tests/integration"]}, [])


def test_a_path_goes_with_its_kind_and_the_rest_to_pytest() -> None:
    path = "tests/unit/stack/test_selection.py"

    assert select([path, "-k", "kinds", "-x"]) == ({"unit": [path]}, ["-k", "kinds", "-x"])


def test_a_single_test_is_a_path_too() -> None:
    node = "tests/unit/stack/test_selection.py::test_kinds_become_folders"

    assert select([node]) == ({"unit": [node]}, [])


def test_an_options_value_is_no_path() -> None:
    chosen, rest = select(["unit", "-k", "tests"])

    assert chosen == {"unit": ["tests/unit"]}
    assert rest == ["-k", "tests"]


def test_nothing_means_everything_there_is() -> None:
    chosen, _ = select([])

    assert "unit" in chosen
    assert set(chosen) <= {kind.name for kind in KINDS}


def test_a_path_elsewhere_is_refused() -> None:
    with pytest.raises(StackError, match="is no test"):
        select(["stack/cli.py"])


def test_the_whole_run_leaves_no_kind_out() -> None:
    run = [kind for lane in (*SIDE_BY_SIDE, AFTERWARDS, IN_IDLE_TIME) for kind in lane]

    assert sorted(run) == sorted(kind.name for kind in KINDS)


def test_lanes_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SURGE_TEST_PORT_BASE", raising=False)
    first, second, idle = instances.test_instance(), _apart(1), _apart(len(SIDE_BY_SIDE))

    assert _apart(0) == {}
    assert len({str(first.home), second["SURGE_TEST_HOME"], idle["SURGE_TEST_HOME"]}) == 3
    assert int(second["SURGE_TEST_PORT_BASE"]) >= first.port_base + 2 * PORTS_IN_USE
    assert first.port_base + len(SIDE_BY_SIDE) * LANE_PORTS <= CHAOS_PORT_BASE


def test_what_may_wait_runs_with_nobody_elses_time() -> None:
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        _yield_to_all(process.pid)

        assert os.getpriority(os.PRIO_PROCESS, process.pid) == 19
        group = Path(f"/proc/{process.pid}/autogroup")
        assert not group.exists() or group.read_text().endswith(" nice 19\n")
    finally:
        process.kill()
        process.wait()

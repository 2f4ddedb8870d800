import os
import subprocess
import sys
from pathlib import Path

import pytest

from stack.definitions import Priority
from stack.instance import ROOT

_TELL = "import os; print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0))"


@pytest.mark.skipif(sys.platform != "linux", reason="the scheduler's classes are Linux's")
@pytest.mark.parametrize(
    ("priority", "niceness", "policy"),
    [
        (Priority.ANSWERS, os.getpriority(os.PRIO_PROCESS, 0), os.SCHED_OTHER),
        (Priority.ORDERS, 19, os.SCHED_OTHER),
        (Priority.LATER, 19, os.SCHED_IDLE),
    ],
)
def test_a_process_gives_way_by_its_priority(priority: Priority, niceness: int, policy: int) -> None:
    command = [sys.executable, "-I", str(Path(ROOT) / "stack" / "run.py"), "--priority", priority, "--signal", "TERM"]
    told = subprocess.run([*command, "--", sys.executable, "-c", _TELL], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(niceness), str(policy)]

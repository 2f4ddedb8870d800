"""supervisord with a bounded back-off, and with each process's restarts told over its control socket.

supervisor itself waits one second longer after every failed start, without an end, and forgets how often a process
had to be started again.
"""

import time
from typing import Any, Final

from supervisor import process as supervisor_process
from supervisor.states import ProcessStates
from supervisor.supervisord import main

MOST_SECONDS_BETWEEN_STARTS: Final = 5
RPC_NAMESPACE: Final = "surge"


class Subprocess(supervisor_process.Subprocess):  # type: ignore[misc]  # supervisor has no types
    """A process that is started again for ever, after 1, 2, … 5, 5 seconds."""

    delay: float
    spawned = 0
    asked = 0
    last_exit = ""

    def change_state(self, new_state: int, expected: bool = True) -> Any:
        """Bounds the delay that supervisor sets when a start failed."""
        result = super().change_state(new_state, expected)
        if new_state == ProcessStates.BACKOFF:
            self.delay = min(self.delay, time.time() + MOST_SECONDS_BETWEEN_STARTS)
        return result

    def spawn(self) -> Any:
        """Counts the starts. One of a process that was stopped by request is not a restart."""
        if self.state == ProcessStates.STOPPED or self.administrative_stop:
            self.asked = self.spawned
        self.spawned += 1
        return super().spawn()

    def finish(self, pid: int, sts: int) -> None:
        """Remembers how the process ended."""
        super().finish(pid, sts)
        self.last_exit = f"signal {sts & 0x7F}" if sts & 0x7F else f"exit {sts >> 8}"


class Restarts:
    """``surge.restarts()`` over the control socket."""

    def __init__(self, supervisord: Any) -> None:
        self._supervisord = supervisord

    def restarts(self) -> list[dict[str, Any]]:
        """For each process: how often it was started again unasked, how it last ended, the wait before the next."""
        now = time.time()
        return [
            {
                "name": process.config.name,
                "restarts": max(0, process.spawned - process.asked - 1),
                "last_exit": process.last_exit,
                "next_start_in": max(0.0, process.delay - now) if process.state == ProcessStates.BACKOFF else 0.0,
            }
            for group in self._supervisord.process_groups.values()
            for process in group.processes.values()
        ]


def make_rpcinterface(supervisord: Any) -> Restarts:
    """The factory for ``[rpcinterface:surge]``."""
    return Restarts(supervisord)


if __name__ == "__main__":
    supervisor_process.Subprocess = Subprocess
    main()

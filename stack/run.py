"""Starts one process so that it can't outlive the supervisor, then becomes it.

``python -I run.py [--user NAME] [--environment FILE] [--set NAME=VALUE]... [--priority answers|orders|later]
--signal NAME -- COMMAND...``

Standard library only: it runs before every process, so its start must cost nothing.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def become(user: str) -> None:
    """Takes on the user and groups of ``user``. A death signal set before is cleared by this."""
    import pwd

    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)


def give_way(priority: str) -> None:
    """Takes a priority of :class:`stack.definitions.Priority`; children inherit it."""
    if priority != "answers":
        os.nice(19)
    if priority == "later" and sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def main(arguments: list[str]) -> None:
    """Parses, prepares, execs; returns only by raising."""
    parent = os.getppid()
    split = arguments.index("--")
    options, command = arguments[:split], arguments[split + 1 :]
    death_signal = signal.SIGTERM
    while options:
        option, value, *options = options
        if option == "--environment":
            with open(value) as lines:  # noqa: PTH123  pathlib would double this program's start
                for line in lines:
                    name, equals, text = line.rstrip("\n").partition("=")
                    if equals:
                        os.environ[name] = text
        elif option == "--set":
            name, _, text = value.partition("=")
            os.environ[name] = text
        elif option == "--priority":
            give_way(value)
        elif option == "--user":
            become(value)
        elif option == "--signal":
            death_signal = signal.Signals[f"SIG{value}"]
        else:
            raise SystemExit(f"run.py: unknown option {option}")
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:
            raise SystemExit("run.py: the supervisor is gone")
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])

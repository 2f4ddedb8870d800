"""supervisord's configuration and the services' environment, rendered from the definitions."""

import os
import resource
import shlex
import sys
from pathlib import Path

from stack import servers
from stack.definitions import Part, Probe, Process
from stack.environment import build, for_services, of_process
from stack.instance import ROOT, Instance
from stack.supervision import socket_path
from stack.supervisord import RPC_NAMESPACE
from stack.variables import write_private

_NEVER_GIVE_UP = 1_000_000


def command(instance: Instance, process: Process) -> list[str]:
    """The command as supervisord runs it: through the wrapper that ties its life to supervisord's."""
    wrapper = [sys.executable, "-I", str(ROOT / "stack" / "run.py")]
    if process.module is not None:
        own = of_process(process, port_base=instance.port_base, listen="127.0.0.1")
        if instance.faults:
            own["SURGE_CLOCK_OFFSET_FILE"] = str(instance.clock_file(process.name))
        settings = [part for name, value in own.items() for part in ("--set", f"{name}={value}")]
        program = [sys.executable, "-m", process.module]
        wrapper += ["--environment", str(_environment_file(instance, process.part)), *settings]
    else:
        program = servers.command(instance, process.name)
        if process.probe is Probe.POSTGRES and (user := servers.postgres_user()):
            wrapper += ["--user", user]
    wrapper += ["--priority", process.priority]
    return [*wrapper, "--signal", process.stop_signal, "--", *program]


def _environment_file(instance: Instance, part: Part) -> Path:
    return instance.conf / ("environment" if part is Part.SHOP else f"environment-{part}")


def write_environment(instance: Instance) -> None:
    """Writes what the services of each part are given, for the wrapper to read at each start."""
    for part, settings in ((Part.SHOP, for_services(instance)), (Part.PLATFORM, build(instance))):
        values = {
            **settings,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        lines = "".join(f"{key}={value}\n" for key, value in values.items())
        write_private(_environment_file(instance, part), lines)


def write_supervisor(instance: Instance) -> None:
    """Writes ``supervisord.conf``. Nothing starts by itself: the order is ours."""
    files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    sections = [
        f"""[unix_http_server]
file={_escaped(socket_path(instance))}
chmod=0700
""",
        f"""[supervisord]
logfile={_escaped(str(instance.log_file("supervisord")))}
logfile_maxbytes=5MB
logfile_backups=1
pidfile={_escaped(str(instance.run / "supervisord.pid"))}
directory={_escaped(str(ROOT))}
minfds={files}
minprocs=200
nocleanup=true
{"user=root" if os.geteuid() == 0 else ""}
""",
        """[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
""",
        f"""[rpcinterface:{RPC_NAMESPACE}]
supervisor.rpcinterface_factory=stack.supervisord:make_rpcinterface
""",
    ]
    sections += [_program(instance, process) for process in instance.processes.values()]
    (instance.conf / "supervisord.conf").write_text("\n".join(sections))


def _program(instance: Instance, process: Process) -> str:
    return f"""[program:{process.name}]
command={_escaped(shlex.join(command(instance, process)))}
directory={"/" if process.probe is Probe.POSTGRES else _escaped(str(ROOT))}
autostart=false
autorestart=true
startsecs=2
startretries={_NEVER_GIVE_UP}
stopsignal={process.stop_signal}
stopwaitsecs={process.stop_seconds}
killasgroup=true
redirect_stderr=true
stdout_logfile={_escaped(str(instance.log_file(process.name)))}
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


def _escaped(text: str) -> str:
    return text.replace("%", "%%")

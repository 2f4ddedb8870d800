"""``start_kafka.py MEGABYTES PROPERTIES COMMAND...``: becomes Kafka, once its disk has room.

A broker that ended uncleanly goes through its logs when it starts, and writes a little for each. Kafka 4.3.1 takes an
IOException meanwhile, "No space left on device" as well, for corruption, and empties the newest segment of that log
(``LogLoader.recoverLog``). A full disk stops a broker; started again on it, one lost its ``__cluster_metadata``, and
with that every topic. So it is not started before there is room: what it holds is whole until then.
"""

import os
import re
import sys
import time
from pathlib import Path
from shutil import disk_usage
from typing import Final

_LOG_DIRS: Final = re.compile(r"^log\.dirs=(.+)$", re.MULTILINE)
_PAUSE: Final = 0.5


def main(megabytes: str, properties: str, *command: str) -> None:
    """Waits for room in each of the configured log directories, then becomes the command."""
    [dirs] = _LOG_DIRS.findall(Path(properties).read_text())
    waiting = False
    while lacking := [name for name in dirs.split(",") if disk_usage(name).free < int(megabytes) * 2**20]:
        if not waiting:
            print(f"Kafka waits for {megabytes} MB of room in {', '.join(lacking)}", flush=True)
            waiting = True
        time.sleep(_PAUSE)
    os.execvp(command[0], command)  # noqa: S606  it becomes the server, under the process id that is known


if __name__ == "__main__":
    main(*sys.argv[1:])

"""``start_redis.py SERVER CONFIGURATION``: becomes Redis, on its append-only file if that can be read.

A full disk may leave damage in the middle of the file (seen on ext4: 434 zeros between two commands, as many bytes as
Redis had just taken back of a write that was cut short). Redis then refuses to start, for good. All that it holds comes
back from Postgres and the log (``docs/runbooks/redis-lost-its-data.md``), so a damaged file is set aside, the last one
of them kept, and Redis starts empty. It is not cut off where the damage begins: that would pass for whole, and lack
what was promised later. A file that merely ends within a command is Redis' own business, which drops that command.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

_GOOD_UP_TO: Final = re.compile(r"filename=(\S+), size=\d+, ok_up_to=(\d+)")
_HEAD: Final = re.compile(rb"([*$])(\d{1,9})\r\n")
_PARTIAL_HEAD: Final = re.compile(rb"[*$]\d{0,9}\r?")


def cut_off(tail: bytes) -> bool:
    """Whether bytes are commands of an append-only file of which the last one is not complete, and nothing else."""
    at = 0
    while at < len(tail):
        count, at = _head(tail, at, b"*")
        if count is None:
            return at == len(tail)
        for _ in range(count):
            size, at = _head(tail, at, b"$")
            if size is None:
                return at == len(tail)
            if at + size + 2 > len(tail):
                return tail[at + size :] in (b"", b"\r")
            if tail[at + size : at + size + 2] != b"\r\n":
                return False
            at += size + 2
    return True


def _head(tail: bytes, at: int, kind: bytes) -> tuple[int | None, int]:
    """A number behind its sign and where it ends; None and the end of ``tail`` if that is cut off, else None and -1."""
    found = _HEAD.match(tail, at)
    if found is not None and found[1] == kind:
        return int(found[2]), found.end()
    rest = tail[at:]
    partial = not rest or (rest[:1] == kind and _PARTIAL_HEAD.fullmatch(rest) is not None)
    return None, len(tail) if partial else -1


def damaged(folder: Path, checker: str) -> bool:
    """Whether Redis would refuse the append-only file in a folder. ``checker`` is ``redis-check-aof``."""
    answer = subprocess.run(
        [checker, *map(str, folder.glob("*.manifest"))], capture_output=True, text=True, check=False
    )
    if answer.returncode == 0:
        return False
    *_, (name, good) = _GOOD_UP_TO.findall(answer.stdout) or [("", "0")]
    if not name:
        return True
    with (folder / Path(name).name).open("rb") as file:
        file.seek(int(good))
        return not cut_off(file.read())


def _folder(configuration: Path) -> Path:
    """Where the append-only file lies: Redis' default name, in the configured directory or else in the working one."""
    configured = re.search(r'^dir "(.*)"$', configuration.read_text(), re.MULTILINE)
    return Path(configured[1] if configured else ".") / "appendonlydir"


def main(server: str, configuration: str) -> None:
    """Sets a damaged file aside and becomes Redis."""
    folder = _folder(Path(configuration))
    checker = shutil.which("redis-check-aof", path=f"{Path(server).parent}:{os.environ.get('PATH', os.defpath)}")
    if checker is not None and any(folder.glob("*.manifest")) and damaged(folder, checker):
        aside = folder.with_name(f"{folder.name}.damaged")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
        print(f"the append-only file is damaged: it was set aside in {aside}, Redis starts empty", flush=True)
    os.execv(server, [server, configuration])  # noqa: S606  it becomes the server, under the process id that is known


if __name__ == "__main__":
    main(*sys.argv[1:])

"""File systems of their own, in files, for the servers' data: so that a disk can be full, and be empty again.

A loop device, an ext4 without reserved blocks, mounted where the server keeps its data. It needs root and loop devices.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stack.chaos.schedule import TARGETS, Kind
from stack.definitions import POSTGRES
from stack.errors import StackError
from stack.instance import Instance
from stack.servers import postgres_place

SIZE: Final = 12 * 2**30
"""Bytes of each file system; its file takes only what is used."""

_BALLAST: Final = ".ballast"
_SMALLEST: Final = 4096


def possible() -> bool:
    """Whether this machine lets us mount files."""
    return os.geteuid() == 0 and Path("/dev/loop-control").exists() and shutil.which("mkfs.ext4") is not None


class Disks:
    """The servers' file systems, mounted."""

    def __init__(self, places: dict[str, Path]) -> None:
        self._places = places

    def fill(self, server: str) -> None:
        """Takes every byte that is left.

        Raises:
            StackError: if some are left nevertheless.
        """
        place = self._places[server]
        handle = os.open(place / _BALLAST, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            end, piece = 0, shutil.disk_usage(place).free
            while piece >= _SMALLEST:
                try:
                    os.posix_fallocate(handle, end, piece)
                    end += piece
                    piece = shutil.disk_usage(place).free
                except OSError:
                    piece //= 2
        finally:
            os.close(handle)
        if (left := shutil.disk_usage(place).free) > 16 * _SMALLEST:
            raise StackError(f"{server}'s disk still has {left} bytes")

    def empty(self, server: str) -> None:
        """Gives them back."""
        (self._places[server] / _BALLAST).unlink(missing_ok=True)


def _places(instance: Instance) -> dict[str, Path]:
    folders = {server: instance.data / server for server in TARGETS[Kind.FULL_DISK]}
    return {**folders, POSTGRES: postgres_place(instance) / POSTGRES}


@contextmanager
def mounted(instance: Instance) -> Iterator[Disks]:
    """Fresh file systems for as long as the block runs; nothing may use them at its end.

    Raises:
        StackError: if one can't be made or mounted.
    """
    release(instance)
    images = instance.home / "disks"
    images.mkdir(parents=True, exist_ok=True)
    places = _places(instance)
    try:
        for server, place in places.items():
            image = images / f"{server}.img"
            image.unlink(missing_ok=True)
            with image.open("wb") as stream:
                stream.truncate(SIZE)
            _run("mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", str(image))
            place.mkdir(parents=True, exist_ok=True)
            _run("mount", "-o", "loop", str(image), str(place))
            shutil.rmtree(place / "lost+found")
        yield Disks(places)
    finally:
        release(instance)


def release(instance: Instance) -> None:
    """Unmounts what an earlier run may have left, and deletes its files."""
    for place in _places(instance).values():
        if place.is_mount():
            _run("umount", "--lazy", str(place))
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(instance.home / "disks")


def _run(*command: str) -> None:
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise StackError(f"`{' '.join(command)}` failed", (result.stdout + result.stderr).strip())

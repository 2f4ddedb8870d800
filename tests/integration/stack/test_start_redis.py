"""Redis starts on what its append-only file holds, and empty where that file is damaged."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisAway

from stack import start_redis, tools
from stack.start_redis import cut_off

COMMAND = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nva\r\nl\r\n"
TEXTS = {8, 9, 10, 17, *range(24, 29)}
"""Where any byte may be."""


@contextmanager
def served(folder: Path) -> Iterator[Redis]:
    """Redis on a folder's append-only file, started as the stack starts it; ended by SIGTERM."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / "redis.conf"
    settings = {
        "port": port,
        "bind": "127.0.0.1",
        "dir": folder,
        "appendonly": "yes",
        "save": "",
        "appendfsync": "always",
    }
    configuration.write_text("".join(f'{name} "{value}"\n' for name, value in settings.items()))
    server = str(tools.need(tools.redis_server(), "Redis"))
    process = subprocess.Popen(
        [sys.executable, "-SE", start_redis.__file__, server, str(configuration)], stdout=subprocess.DEVNULL
    )
    client = Redis(port=port, decode_responses=True)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                client.ping()
                break
            except RedisAway:
                assert process.poll() is None, "Redis has ended"
                assert time.monotonic() < deadline, "Redis does not answer"
                time.sleep(0.02)
        yield client
    finally:
        client.close()
        process.terminate()
        process.wait(20)


def _file(folder: Path) -> Path:
    [file] = (folder / "appendonlydir").glob("*.incr.aof")
    return file


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A folder in which Redis has written a hundred keys."""
    with served(tmp_path) as redis:
        for number in range(100):
            redis.set(f"key:{number}", "value")
    return tmp_path


def test_what_was_written_is_there_again(written: Path) -> None:
    with served(written) as redis:
        assert redis.dbsize() == 100
    assert not (written / "appendonlydir.damaged").exists()


def test_a_file_that_ends_within_a_command_loses_that_command(written: Path) -> None:
    file = _file(written)
    file.write_bytes(file.read_bytes()[:-7])

    with served(written) as redis:
        assert redis.dbsize() == 99
    assert not (written / "appendonlydir.damaged").exists()


@pytest.mark.parametrize("hole", [b"\0" * 300, b"*1\r\n$4\r\nFL", b"*3\r\n$3\r\nSET\r\n$2\r\nabc\r\n"])
def test_a_hole_in_the_file_sets_it_aside_and_redis_starts_empty(written: Path, hole: bytes) -> None:
    file = _file(written)
    whole = file.read_bytes()
    middle = whole.index(b"*3", len(whole) // 2)
    damaged = whole[:middle] + hole + whole[middle + len(hole) :]
    file.write_bytes(damaged)

    with served(written) as redis:
        assert redis.dbsize() == 0
        redis.set("later", "value")
    assert (written / "appendonlydir.damaged" / file.name).read_bytes() == damaged
    with served(written) as redis:
        assert redis.keys() == ["later"]


def test_the_last_damaged_file_alone_is_kept(written: Path) -> None:
    for mark in (b"\0" * 20, b"\1" * 20):
        file = _file(written)
        file.write_bytes(mark + file.read_bytes())
        with served(written) as redis:
            redis.set("k", "v")
    assert _file_in_damaged(written).startswith(b"\1" * 20)


def _file_in_damaged(folder: Path) -> bytes:
    [file] = (folder / "appendonlydir.damaged").glob("*.incr.aof")
    return file.read_bytes()


@pytest.mark.parametrize("length", range(len(COMMAND) + 1))
def test_a_command_cut_off_anywhere_is_no_damage(length: int) -> None:
    assert cut_off(COMMAND + COMMAND[:length])


@pytest.mark.parametrize("at", sorted(set(range(len(COMMAND))) - TEXTS))
def test_a_byte_that_no_command_has_there_is_damage(at: int) -> None:
    assert not cut_off(COMMAND[:at] + b"\0" + COMMAND[at + 1 :] + COMMAND)

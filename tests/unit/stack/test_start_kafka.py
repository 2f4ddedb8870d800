"""Kafka is not started on a disk without room."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stack import start_kafka

MORE_THAN_ANY_DISK = 10**12


@pytest.fixture
def properties(tmp_path: Path) -> Path:
    """A broker's configuration whose log directories are here."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    file = tmp_path / "kafka.properties"
    file.write_text(f"node.id=1\nlog.dirs={tmp_path / 'a'},{tmp_path / 'b'}\nnum.partitions=6\n")
    return file


def begun(properties: Path, megabytes: int) -> subprocess.Popen[str]:
    """The start, of a program that says that it runs."""
    program = (sys.executable, "-c", "print('serving', flush=True)")
    return subprocess.Popen(
        [sys.executable, "-SE", start_kafka.__file__, str(megabytes), str(properties), *program],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_with_room_it_becomes_the_server(properties: Path) -> None:
    with begun(properties, 1) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "serving\n"
    assert process.returncode == 0


def test_without_room_it_waits_and_says_for_what(properties: Path) -> None:
    with begun(properties, MORE_THAN_ANY_DISK) as process:
        assert process.stdout is not None
        folders = ", ".join(str(properties.parent / name) for name in ("a", "b"))
        assert process.stdout.readline() == f"Kafka waits for {MORE_THAN_ANY_DISK} MB of room in {folders}\n"
        process.terminate()
        assert process.stdout.read() == ""
    assert process.returncode != 0


def test_it_goes_on_once_there_is_room(properties: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms = iter([0, 2**30, 2**30, 2**30])
    became: list[tuple[str, ...]] = []
    monkeypatch.setattr(start_kafka, "disk_usage", lambda _: SimpleNamespace(free=next(rooms)))
    monkeypatch.setattr(start_kafka.time, "sleep", lambda _: None)
    monkeypatch.setattr(start_kafka.os, "execvp", lambda _, command: became.append(command))

    start_kafka.main("128", str(properties), "java", "kafka.Kafka")

    assert became == [("java", "kafka.Kafka")]
    assert next(rooms, None) is None

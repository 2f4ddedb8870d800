"""Downloads and class-data archives."""

from pathlib import Path

import pytest

from stack import jars


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    """The only jar that the servers run on."""
    file = tmp_path / "server.jar"
    file.write_text("classes")
    return file


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, jar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "CDS", tmp_path / "cds")
    monkeypatch.setattr(jars, "classpath", lambda _: str(jar))
    monkeypatch.setattr("stack.tools.java_version", lambda: 17)
    monkeypatch.setattr("stack.tools.java_build", lambda: "17.0.15+6")
    (tmp_path / "cds").mkdir()


def test_the_first_start_leaves_an_archive_and_the_next_ones_use_it(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.jsa"
    assert f"-XX:ArchiveClassesAtExit={fresh}" in jars.archive_options("kafka", fresh)
    fresh.write_text("archive")

    jars.keep_archive("kafka", fresh, uptime=60)

    [archive] = (tmp_path / "cds").iterdir()
    assert f"-XX:SharedArchiveFile={archive}" in jars.archive_options("kafka", fresh)


@pytest.mark.parametrize("changed", ["build", "jar"])
def test_an_archive_of_another_build_or_of_other_jars_is_made_anew(
    tmp_path: Path, jar: Path, changed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = tmp_path / "fresh.jsa"
    fresh.write_text("archive")
    jars.keep_archive("kafka", fresh, uptime=60)
    if changed == "build":
        monkeypatch.setattr("stack.tools.java_build", lambda: "17.0.16+8")
    else:
        jar.write_text("other classes")

    assert f"-XX:ArchiveClassesAtExit={fresh}" in jars.archive_options("kafka", fresh)
    assert not list((tmp_path / "cds").iterdir())


def test_an_archive_of_half_a_start_is_thrown_away(tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.jsa"
    fresh.write_text("half")

    jars.keep_archive("kafka", fresh, uptime=2)

    assert not fresh.exists()
    assert not list((tmp_path / "cds").iterdir())


def test_newer_java_keeps_the_archive_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stack.tools.java_version", lambda: 21)

    assert "-XX:+AutoCreateSharedArchive" in jars.archive_options("kafka", tmp_path / "fresh.jsa")

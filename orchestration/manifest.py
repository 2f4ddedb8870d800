"""dbt's manifest, from which the graph is made: parsed once for each state of the project, not at each load."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parent.parent / "dbt_project"
DBT: Final = str(Path(sys.executable).with_name("dbt"))

_FILES: Final = ("*.sql", "*.yml", "*.yaml", "*.csv", "*.md")
_NOWHERE: Final = {
    "SURGE_WAREHOUSE_HOST": "127.0.0.1",
    "SURGE_WAREHOUSE_PORT": "1",
    "SURGE_TRANSFORMER_PASSWORD": "unused",
}
"""Parsing connects to nothing, but the profile asks for its variables."""


class ManifestError(Exception):
    """dbt could not read its project; the message is what it said."""


def digest() -> str:
    """Changes whenever a file of the project does."""
    found = hashlib.sha256()
    for file in sorted({file for pattern in _FILES for file in PROJECT.rglob(pattern)}):
        found.update(file.relative_to(PROJECT).as_posix().encode() + b"\0" + file.read_bytes())
    return found.hexdigest()


def ensure(folder: Path) -> Path:
    """The manifest of the project as it is now, in ``folder``; parses only if the one there is of another state.

    Raises:
        ManifestError: if dbt can't parse the project.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest, stamp = folder / "manifest.json", folder / "manifest.digest"
    with (folder / "manifest.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wanted = digest()
        if not manifest.exists() or not stamp.exists() or stamp.read_text() != wanted:
            _parse(folder)
            stamp.write_text(wanted)
    return manifest


def _parse(folder: Path) -> None:
    paths = {
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_TARGET_PATH": str(folder),
        "DBT_LOG_PATH": str(folder),
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
    }
    done = subprocess.run(
        [DBT, "parse"],
        env={**_NOWHERE, **os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ManifestError(done.stdout + done.stderr)

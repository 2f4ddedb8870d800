"""Files of ``NAME=value`` lines."""

import os
from pathlib import Path


def read_variables(file: Path) -> dict[str, str]:
    """The ``NAME=value`` lines of a file; empty if there is none."""
    if not file.exists():
        return {}
    pairs = (line.split("=", 1) for line in file.read_text().splitlines() if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip() for name, value in pairs}


def write_private(file: Path, text: str) -> None:
    """Replaces a file that only its owner may read; its folder is made if there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(file.name + ".new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    fresh.replace(file)
